"""What else happens in the transaction that stores a batch: hooks of rooms, and the event that a landmark has its first photo."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from sqlalchemy import Connection, exists, select, true

from tagger.composition import parts
from tagger.database.tables import landmarks, tags, taught_tags, verdicts
from tagger.events import Event, has_receivers, record_event
from tagger.model.backends.protocol import Embeddings as Embedding

Embeddings = Mapping[int, Embedding | None]
"""The contents that a batch classified, by id, with their embeddings; None: the model gives none."""


class AddedTag(Protocol):
    """A tag that a hook adds to those of the model. `source`: where it comes from, in one word."""

    @property
    def landmark_id(self) -> int: ...
    @property
    def score(self) -> float: ...
    @property
    def accepted(self) -> bool: ...
    @property
    def source(self) -> str: ...


class StoreStep(Protocol):
    """What a hook does in one transaction."""

    @property
    def tags(self) -> Mapping[int, Sequence[AddedTag]]:
        """The tags that the hook adds, by content id. An accepted one makes the outcome of its photos `tagged`."""
        ...

    def on_stored(self, connection: Connection, landmark_ids: Collection[int]) -> None:
        """The batch is stored; `landmark_ids` are the landmarks that the model has given it."""
        ...

    def on_committed(self) -> None:
        """The transaction has committed."""
        ...


class StoreHook(Protocol):
    """Takes part in the transactions that store the batches of one model, in several threads."""

    def begin(self, connection: Connection, job_id: int, embeddings: Embeddings) -> StoreStep:
        """Begin with the contents of a batch, which are locked and not changed yet."""
        ...


def store_hooks(model_id: int) -> Sequence[StoreHook]:
    """The hooks for a model, in the order in which they act."""
    hooks: list[StoreHook] = [hook(model_id) for hook in parts("store_hook").values()]
    # Last, because it may wait for another transaction that finds the same landmark.
    return [*hooks, LandmarkEvents()]


class LandmarkEvents:
    """Records which landmarks have their first photo. Remembers those that have photos, so that each is looked up once."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def begin(self, connection: Connection, job_id: int, embeddings: Embeddings) -> "_LandmarkStep":
        return _LandmarkStep(connection, job_id, embeddings.keys(), self._known)


class _LandmarkStep:
    tags: Mapping[int, Sequence[AddedTag]] = {}

    def __init__(
        self, connection: Connection, job_id: int, content_ids: Collection[int], known: set[int]
    ) -> None:
        self._job_id = job_id
        self._content_ids = content_ids
        self._known = known
        self._found: set[int] = set()
        self._before: set[int] | None = None
        """The accepted landmarks before the tags are replaced. None: nobody receives such events."""
        if has_receivers(connection, Event.LANDMARK_FOUND):
            query = select(tags.c.landmark_id).where(
                tags.c.content_id.in_(content_ids), tags.c.accepted == true()
            )
            self._before = set(connection.scalars(query.distinct()))

    def on_stored(self, connection: Connection, landmark_ids: Collection[int]) -> None:
        """Record those of the landmarks that had no photo before this transaction."""
        self._found = set(landmark_ids)
        if self._before is None:
            return
        for landmark_id in sorted(self._found - self._known - self._before):
            if not _has_others(connection, landmark_id, self._content_ids):
                _record(connection, landmark_id, self._job_id)

    def on_committed(self) -> None:
        self._known.update(self._found)


def _has_others(connection: Connection, landmark_id: int, content_ids: Collection[int]) -> bool:
    """Whether contents other than these show the landmark, or a person said that one does."""
    by_model = exists().where(
        tags.c.landmark_id == landmark_id, tags.c.accepted == true(), tags.c.content_id.not_in(content_ids)
    )
    taught = exists().where(taught_tags.c.landmark_id == landmark_id, taught_tags.c.accepted == true())
    by_person = exists().where(verdicts.c.landmark_id == landmark_id, verdicts.c.verdict == "confirmed")
    return bool(connection.scalar(select(by_model | taught | by_person)))


def _record(connection: Connection, landmark_id: int, job_id: int) -> None:
    landmark = connection.execute(
        select(landmarks.c.slug, landmarks.c.name).where(landmarks.c.id == landmark_id)
    ).one()
    data = {"landmark": landmark.slug, "name": landmark.name, "job": job_id}
    record_event(connection, Event.LANDMARK_FOUND, landmark.slug, data)
