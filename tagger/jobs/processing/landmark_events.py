"""Events of landmarks of which a classification finds the first photo, for webhooks."""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, exists, select, true

from tagger.database.tables import landmarks, tags, taught_tags, verdicts
from tagger.webhook_receivers import Event
from tagger.webhooks.messages import has_receivers, record_event


class LandmarkEvents:
    """Remembers which landmarks have photos, so that each is looked up once. One per process and model."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def before(self, connection: Connection, content_ids: Collection[int]) -> set[int] | None:
        """The accepted landmarks of these contents, before their tags are replaced. None: nobody receives such events."""
        if not has_receivers(connection, Event.LANDMARK_FOUND):
            return None
        query = select(tags.c.landmark_id).where(
            tags.c.content_id.in_(content_ids), tags.c.accepted == true()
        )
        return set(connection.scalars(query.distinct()))

    def record(
        self,
        connection: Connection,
        accepted: Collection[int],
        content_ids: Collection[int],
        before: Collection[int],
        job_id: int,
    ) -> None:
        """Record those of the accepted landmarks of these contents that had no photo before this transaction.

        Call it last in the transaction: it may wait for another one that finds the same landmark.
        """
        for landmark_id in sorted(set(accepted) - self._known - set(before)):
            if not _has_others(connection, landmark_id, content_ids):
                _record(connection, landmark_id, job_id)

    def remember(self, landmark_ids: Iterable[int]) -> None:
        """Remember that these have photos, after the transaction has committed."""
        self._known.update(landmark_ids)


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
