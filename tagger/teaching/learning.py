"""Learns the taught landmarks of a model from their examples, and stores the classifiers.

A classifier follows from the verdicts alone: `learn_landmarks` runs after they change (see
Database.after_decisions), in any order and as often as one likes. Then all images that have an embedding are
compared with what is new (see comparison).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    true,
)

from tagger.database import TagReason, TagState, VerdictKind
from tagger.database.connection import Database
from tagger.database.statements import among, unindexed
from tagger.database.tables import (
    PRESENT,
    classifiers,
    contents,
    effective_tags,
    embeddings,
    landmarks,
    model_labels,
    models,
    photos,
    tags,
    taught_tags,
    verdicts,
)
from tagger.errors import EmbeddingsMissing, ModelRefused, PhotoNotFound
from tagger.landmarks import Landmark, landmarks_by_id
from tagger.model.artifact import Embedding, read_background
from tagger.photos.paths import absolute_path
from tagger.query.details import photo_id_in
from tagger.query.photo_conditions import path_ranges
from tagger.query.tagged_photos import DAMAGED, NameCache, select_photos
from tagger.registry import RegisteredModel
from tagger.roots import RootPaths, list_roots
from tagger.tags import has_photo, is_classified_by
from tagger.tags.causes import TaughtTags, replace_taught_tags
from tagger.teaching.classifiers import (
    Classifier,
    Embeddings,
    EmbeddingSpace,
    calibrate,
    fit_direction,
    restore,
    share_of,
)
from tagger.teaching.comparison import CountProgress, compare_all, next_version

# The number of images that show what else is in the library.
LIBRARY_SAMPLE = 4000


def learn_landmarks(
    database: Database,
    model: RegisteredModel,
    landmark_ids: Collection[int] | None = None,
) -> frozenset[int]:
    """Learn the landmarks whose verdicts have changed: of these, or of all. Returns their ids.

    A landmark that no confirmed image with an embedding shows any more loses its classifier and its tags.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
        ModelFileNotFound, ModelRefused: the model's file cannot be read, or its embeddings cannot be used.
    """
    learner = Learner(database, model)
    with database.read() as connection:
        changed = changed_landmarks(connection, model.id, landmark_ids)
    for landmark_id in sorted(changed):
        learner.learn(landmark_id)
    return changed


def changed_landmarks(
    connection: Connection, model_id: int, landmark_ids: Collection[int] | None = None
) -> frozenset[int]:
    """The ids of landmarks whose verdicts have changed since they were learned: of these, or of all."""
    evidence = find_evidence(connection, model_id, landmark_ids)
    stored = {
        row.landmark_id: row.evidence
        for row in connection.execute(
            select(classifiers.c.landmark_id, classifiers.c.evidence).where(
                *_of_landmarks(model_id, landmark_ids)
            )
        )
    }
    stale = {key for key, each in evidence.items() if stored.get(key) != each.digest}
    return frozenset(stale | (stored.keys() - evidence.keys()))


def unfinished_landmarks(
    database: Database, model_id: int, *, is_taught: bool
) -> Sequence[str]:
    """The slugs of landmarks not learned from all verdicts, if the model `is_taught`, or not yet compared."""
    with database.read() as connection:
        ids = {
            *connection.scalars(
                select(classifiers.c.landmark_id).where(
                    classifiers.c.model_id == model_id, ~classifiers.c.applied
                )
            ),
            *(changed_landmarks(connection, model_id) if is_taught else ()),
        }
        return connection.scalars(
            select(landmarks.c.slug)
            .where(among(landmarks.c.id, ids))
            .order_by(landmarks.c.slug)
        ).all()


def embedding_of(model: RegisteredModel) -> Embedding:
    """What the manifest says of the model's embeddings.

    Raises:
        EmbeddingsMissing: it gives none.
    """
    embedding = model.manifest.embedding
    if embedding is None:
        raise EmbeddingsMissing(name=model.name)
    return embedding


@dataclass(frozen=True)
class LibrarySample:
    """Random images of a library: their content ids (M,), and their transformed embeddings (M, D)."""

    content_ids: npt.NDArray[np.int64]
    embeddings: Embeddings

    def is_other(self, content_ids: Collection[int]) -> npt.NDArray[np.bool_]:
        """Which images of the sample are none of these, (M,)."""
        return np.isin(self.content_ids, list(content_ids), invert=True)


class Learner:
    """Learns landmarks of one model one after the other. The library's sample is read once.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
    """

    def __init__(self, database: Database, model: RegisteredModel) -> None:
        self._database = database
        self._model = model
        self._embedding = embedding_of(model)
        self._sample: LibrarySample | None = None

    @cached_property
    def space(self) -> EmbeddingSpace:
        """The space of the model's embeddings.

        Raises:
            ModelFileNotFound, ModelRefused: the model's file cannot be read.
        """
        return EmbeddingSpace.of(
            read_background(self._model.file, self._model.digest, self._embedding)
        )

    def sample(self, connection: Connection) -> LibrarySample:
        """Random images: the same ones each time, unless images are added."""
        if self._sample is None:
            last = connection.scalar(select(func.max(embeddings.c.content_id))) or 0
            number = min(last, LIBRARY_SAMPLE)
            draws = np.random.default_rng(0).choice(last, number, replace=False) + 1
            query = select(embeddings.c.content_id).where(
                among(embeddings.c.content_id, draws.tolist()),
                # Otherwise, SQLite reads all images of the model along another index.
                unindexed(embeddings.c.model_id) == self._model.id,
            )
            content_ids = connection.scalars(
                query.order_by(embeddings.c.content_id)
            ).all()
            transformed = self.transformed(connection, content_ids)
            self._sample = LibrarySample(np.array(content_ids, np.int64), transformed)
        return self._sample

    def transformed(
        self, connection: Connection, content_ids: Sequence[int]
    ) -> Embeddings:
        """The transformed embeddings (N, D) of these images, in their order."""
        dimension = self._embedding.dimension
        stored = load_embeddings(connection, self._model.id, content_ids, dimension)
        return self.space.transform(stored)

    def learn(self, landmark_id: int) -> None:
        """Learn a landmark from its current verdicts and store it, and again if they change meanwhile."""
        while True:
            with self._database.read() as connection:
                evidence = self._evidence(connection, landmark_id)
                classifier = (
                    None if evidence is None else self._classifier(connection, evidence)
                )
            with self._database.write() as connection:
                # Others who learn the landmark, merge it or remove it wait from here on.
                version = next_version(connection, self._model.id)
                if self._evidence(connection, landmark_id) == evidence:
                    self._store(connection, landmark_id, version, evidence, classifier)
                    return

    def _evidence(self, connection: Connection, landmark_id: int) -> Evidence | None:
        return find_evidence(connection, self._model.id, [landmark_id]).get(landmark_id)

    def _classifier(
        self, connection: Connection, evidence: Evidence
    ) -> tuple[Classifier, float]:
        # The landmark's classifier, at its share of the library's photos.
        try:
            confirmed = self.transformed(connection, evidence.confirmed)
            rejected = self.transformed(connection, evidence.rejected)
            sample = self.sample(connection)
            is_other = sample.is_other({*evidence.confirmed, *evidence.rejected})
            direction = fit_direction(self.space, confirmed, rejected)
            resemblances = sample.embeddings @ direction.weights
            classifier = calibrate(direction, resemblances[is_other])
            share = share_of(classifier.logits(sample.embeddings)[is_other])
        except ValueError as error:  # also numpy's LinAlgError
            reason = f"no landmark can be learned from its embeddings ({error})"
            raise ModelRefused(path=self._model.file, reason=reason) from error
        classifier = classifier.at_share(share)
        of_embeddings = self.space.untransformed(classifier.weights, classifier.bias)
        return Classifier(*of_embeddings), share

    def _store(
        self,
        connection: Connection,
        landmark_id: int,
        version: int,
        evidence: Evidence | None,
        classifier: tuple[Classifier, float] | None,
    ) -> None:
        # Replace the landmark's classifier. Without one, its tags go too.
        model_id = self._model.id
        connection.execute(
            delete(classifiers).where(*_of_landmarks(model_id, [landmark_id]))
        )
        if evidence is None or classifier is None:
            is_landmark = taught_tags.c.landmark_id == landmark_id
            tagged = select(taught_tags.c.content_id).where(
                is_landmark, taught_tags.c.model_id == model_id
            )
            without: TaughtTags = {
                content_id: {} for content_id in connection.scalars(tagged)
            }
            replace_taught_tags(connection, model_id, without, is_landmark)
            return
        connection.execute(
            insert(classifiers).values(
                landmark_id=landmark_id,
                model_id=model_id,
                version=version,
                examples=len(evidence.confirmed),
                rejected=len(evidence.rejected),
                evidence=evidence.digest,
                data=classifier[0].to_bytes(),
                share=classifier[1],
                applied=False,
                learned_at=datetime.now(UTC),
            )
        )


def _of_landmarks(
    model_id: int, landmark_ids: Collection[int] | None
) -> Iterator[ColumnElement[bool]]:
    # The conditions on `classifiers` for a model: of these landmarks, or of all.
    yield classifiers.c.model_id == model_id
    if landmark_ids is not None:
        yield classifiers.c.landmark_id.in_(landmark_ids)


@dataclass(frozen=True)
class TaughtState:
    """What is known of a taught landmark, in photos.

    `examples` and `rejected` are the images that its classifier was learned from; both are 0 if there is
    none. `tagged` counts photos, and `suggested` images, without a verdict that the model itself does not
    tag. `precision` is the part of the tagged ones that is probably right, by their scores; None without any.
    `is_label`: the model knows the landmark itself. `doubtful`: the other landmarks whose tags are doubtful
    because of it; `kept`: those of which the model is nearly certain, so that the landmark is only suggested.
    """

    examples: int
    rejected: int
    tagged: int
    suggested: int
    precision: float | None
    is_label: bool
    doubtful: Sequence[NamedOtherwise] = ()
    kept: Sequence[NamedOtherwise] = ()


def undo_command(landmark: Landmark, state: TaughtState) -> str:
    """The command that takes back what was taught. A landmark of the model stays."""
    if state.is_label:
        return f"tagger confirm --withdraw {landmark.slug} PHOTO…"
    return f"tagger landmark remove {landmark.slug} --with-verdicts"


@dataclass(frozen=True)
class Lessons:
    """The landmarks that a model has learned again, by their ids, and how many images were compared."""

    model: RegisteredModel
    learned: frozenset[int]
    compared: int


def update_taught(
    database: Database,
    model: RegisteredModel,
    landmark_ids: Collection[int] | None = None,
    on_progress: CountProgress = lambda _count: None,
) -> Lessons:
    """Learn the landmarks whose verdicts have changed (of these, or all), and compare all embeddings.

    Raises:
        EmbeddingsMissing: the model gives no embeddings.
        ModelFileNotFound, ModelRefused: the model's file cannot be read.
    """
    learned = learn_landmarks(database, model, landmark_ids)
    return Lessons(model, learned, compare_all(database, model.id, on_progress))


def taught_state(
    database: Database, model: RegisteredModel, landmark: Landmark
) -> TaughtState:
    examples = select(classifiers.c.examples, classifiers.c.rejected)
    label = select(model_labels.c.position).where(
        model_labels.c.model_id == model.id,
        model_labels.c.landmark_id == landmark.id,
    )
    # Numbers of photos and images, and their mean score, by state, where teaching finds the landmark.
    counted = (
        select(
            effective_tags.c.state,
            func.count().label("photos"),
            func.count(effective_tags.c.content_id.distinct()).label("images"),
            func.avg(effective_tags.c.score).label("score"),
        )
        .join(
            photos,
            and_(
                photos.c.content_id == effective_tags.c.content_id,
                photos.c.gone_since.is_(None),
            ),
        )
        .where(
            effective_tags.c.landmark_id == landmark.id,
            effective_tags.c.source == "taught",
            effective_tags.c.state.in_((TagState.ACCEPTED, TagState.SUGGESTED)),
        )
        .group_by(effective_tags.c.state)
    )
    own, other = effective_tags.alias(), effective_tags.c
    is_doubtful = own.c.accepted == true(), other.reason.in_(_OF_OTHERS)
    is_kept = own.c.reason == TagReason.CERTAIN_OTHER, other.accepted == true()
    with database.read() as connection:
        learned = connection.execute(
            examples.where(*_of_landmarks(model.id, [landmark.id]))
        ).one_or_none()
        is_label = connection.scalar(label) is not None
        counts = {row.state: row for row in connection.execute(counted)}
        doubtful, kept = (
            tuple(_photos_of_others(connection, own, landmark.id, *conditions))
            for conditions in (is_doubtful, is_kept)
        )
    tagged, suggested = counts.get(TagState.ACCEPTED), counts.get(TagState.SUGGESTED)
    return TaughtState(
        examples=learned.examples if learned else 0,
        rejected=learned.rejected if learned else 0,
        tagged=tagged.photos if tagged else 0,
        suggested=suggested.images if suggested else 0,
        precision=float(tagged.score) if tagged else None,
        is_label=is_label,
        doubtful=doubtful,
        kept=kept,
    )


def images_without_embedding(database: Database, model: RegisteredModel) -> int:
    """The number of images that only other models have classified: they have no embedding to compare."""
    with database.read() as connection:
        return int(
            connection.execute(
                select(func.count())
                .select_from(contents)
                .where(
                    contents.c.model_id.is_not(None),
                    ~is_classified_by(model.id),
                    has_photo(contents.c.id),
                )
            ).scalar_one()
        )


def landmarks_of_other_models(
    database: Database, model_ids: Collection[int]
) -> Mapping[str, list[str]]:
    """Landmarks that other models have learned, and these cannot, without an example. Slugs by model."""
    examples = exists().where(
        verdicts.c.landmark_id == landmarks.c.id,
        verdicts.c.verdict == VerdictKind.CONFIRMED,
    )
    query = (
        select(models.c.name, landmarks.c.slug)
        .join(classifiers, classifiers.c.model_id == models.c.id)
        .join(landmarks, landmarks.c.id == classifiers.c.landmark_id)
        .where(models.c.id.not_in(model_ids))
        .where(
            examples.where(has_photo(verdicts.c.content_id)),
            ~examples.where(
                embeddings.c.content_id == verdicts.c.content_id,
                among(embeddings.c.model_id, model_ids),
            ),
        )
        .order_by(models.c.id, landmarks.c.slug)
    )
    slugs = defaultdict[str, list[str]](list)
    with database.read() as connection:
        for name, slug in connection.execute(query):
            slugs[name].append(slug)
    return slugs


# What a landmark is learned from: photos that a person names, and verdicts on images with an
# embedding.


@dataclass(frozen=True)
class Example:
    """A photo. `content_id` None: its image has no embedding of the model; `failure`: why it fails."""

    photo_id: int
    path: str
    content_id: int | None
    failure: str | None


def find_examples(
    database: Database,
    model: RegisteredModel,
    paths: Iterable[Path],
    root_paths: RootPaths,
    *,
    only_stored: bool = False,
) -> list[Example]:
    """The stored photos at these paths, and below folders, each once, in the order of the paths.

    Raises:
        PhotoNotFound: there is no stored photo at a path, and `only_stored` is not set, which leaves it out.
    """
    with database.read() as connection:
        ids = dict[int, None]()
        for path, photo_ids in _ids_by_path(connection, paths, root_paths).items():
            if not photo_ids and not only_stored:
                raise PhotoNotFound(path=absolute_path(path))
            ids |= dict.fromkeys(photo_ids)
        query = (
            select_photos()
            .add_columns(
                photos.c.failure_text, embeddings.c.content_id.label("embedded")
            )
            .outerjoin(
                embeddings,
                and_(
                    embeddings.c.content_id == photos.c.content_id,
                    embeddings.c.model_id == model.id,
                ),
            )
            .where(among(photos.c.id, ids))
        )
        names = NameCache(connection, root_paths)
        examples = {}
        for row in connection.execute(query).all():
            failure = DAMAGED if row.damaged else row.failure_text
            path_text = names.path(connection, row)
            examples[row.id] = Example(row.id, path_text, row.embedded, failure)
    return [examples[photo_id] for photo_id in ids if photo_id in examples]


@dataclass(frozen=True)
class NamedOtherwise:
    """A landmark by slug and name, and the number of photos of another one that have a tag of it."""

    landmark: str
    name: str
    photos: int


def named_otherwise(
    database: Database, landmark_id: int, examples: Iterable[Example]
) -> list[NamedOtherwise]:
    """The other landmarks that the model gives these examples without a verdict, those of most first."""
    photos_of = Counter(
        example.content_id for example in examples if example.content_id is not None
    )
    photos_named = Counter[int]()
    tag = effective_tags.c
    with database.read() as connection:
        for row in connection.execute(
            select(tag.content_id, tag.landmark_id).where(
                among(tag.content_id, photos_of),
                tag.landmark_id != landmark_id,
                tag.source == "model",
                or_(tag.state == TagState.ACCEPTED, tag.reason.in_(_OF_OTHERS)),
            )
        ):
            photos_named[row.landmark_id] += photos_of[row.content_id]
        return _named(connection, photos_named)


# Why a landmark is doubtful because of another one.
_OF_OTHERS = TagReason.CONFIRMED_OTHER, TagReason.TAUGHT_OTHER, TagReason.SCORED_OTHER


def _photos_of_others(
    connection: Connection,
    own: FromClause,
    landmark_id: int,
    *conditions: ColumnElement[bool],
) -> list[NamedOtherwise]:
    # The other landmarks with their number of photos, by conditions on their tags and the `own` ones.
    other = effective_tags
    rows = connection.execute(
        select(other.c.landmark_id, func.count().label("photos"))
        .join(
            own,
            and_(
                own.c.content_id == other.c.content_id,
                other.c.landmark_id != landmark_id,
            ),
        )
        .join(
            photos,
            and_(
                photos.c.content_id == other.c.content_id, photos.c.gone_since.is_(None)
            ),
        )
        .where(own.c.landmark_id == landmark_id, *conditions)
        .group_by(other.c.landmark_id)
    )
    return _named(connection, {row.landmark_id: row.photos for row in rows})


def _named(connection: Connection, found: Mapping[int, int]) -> list[NamedOtherwise]:
    # Landmarks by id with their number of photos, those of most photos first.
    landmarks = landmarks_by_id(connection, found)
    return sorted(
        (
            NamedOtherwise(landmarks[key].slug, landmarks[key].display_name, number)
            for key, number in found.items()
        ),
        key=lambda each: (-each.photos, each.landmark),
    )


def paths_to_tag(
    database: Database,
    model: RegisteredModel,
    paths: Iterable[Path],
    root_paths: RootPaths,
) -> list[Path]:
    """All folders that exist, and the files of which no photo with an embedding of the model is stored."""
    named = list(paths)
    folders = [path for path in named if path.is_dir()]
    with database.read() as connection:
        ids_of = _ids_by_path(
            connection, [path for path in named if path not in folders], root_paths
        )
        without = set(
            connection.scalars(
                select(photos.c.id)
                .outerjoin(
                    embeddings,
                    and_(
                        embeddings.c.content_id == photos.c.content_id,
                        embeddings.c.model_id == model.id,
                    ),
                )
                .where(
                    embeddings.c.content_id.is_(None),
                    among(photos.c.id, chain.from_iterable(ids_of.values())),
                )
            )
        )
    files = (
        path for path, ids in ids_of.items() if not ids or not without.isdisjoint(ids)
    )
    return [*folders, *files]


# A landmark of the model is taught once this many confirmed images are among those that the model
# missed.
LEAST_MISSED = 3


# If this changes, `tagger backfill taught` learns all landmarks again.
METHOD = "nearest example, by place"


@dataclass(frozen=True)
class Evidence:
    """Content ids of the images on which a landmark is confirmed, and is rejected, in order."""

    confirmed: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def digest(self) -> str:
        """Identifies these verdicts, and how landmarks are learned from them."""
        return blake3(
            repr((METHOD, self.confirmed, self.rejected)).encode()
        ).hexdigest()


def find_evidence(
    connection: Connection, model_id: int, landmark_ids: Collection[int] | None = None
) -> dict[int, Evidence]:
    """The evidence of each landmark that can be taught, by its id: of these landmarks, or of all.

    A landmark of people's own is taught from its first confirmed image on, a model's if the model misses it.
    """
    query = (
        select(
            verdicts.c.landmark_id,
            verdicts.c.content_id,
            verdicts.c.verdict,
            exists().where(
                tags.c.content_id == verdicts.c.content_id,
                tags.c.landmark_id == verdicts.c.landmark_id,
                tags.c.counts == true(),
                tags.c.enough == true(),
            ),
        )
        .join(embeddings, embeddings.c.content_id == verdicts.c.content_id)
        .where(embeddings.c.model_id == model_id)
        .order_by(verdicts.c.landmark_id, verdicts.c.content_id)
    )
    labels = select(model_labels.c.landmark_id).where(
        model_labels.c.model_id == model_id
    )
    if landmark_ids is not None:
        query = query.where(verdicts.c.landmark_id.in_(landmark_ids))
        labels = labels.where(model_labels.c.landmark_id.in_(landmark_ids))
    confirmed = defaultdict[int, list[int]](list)
    rejected = defaultdict[int, list[int]](list)
    missed = Counter[int]()
    for landmark_id, content_id, verdict, has_tag in connection.execute(query):
        if verdict != VerdictKind.CONFIRMED:
            rejected[landmark_id].append(content_id)
            continue
        confirmed[landmark_id].append(content_id)
        missed[landmark_id] += not has_tag
    least = dict.fromkeys(connection.scalars(labels), LEAST_MISSED)
    return {
        landmark_id: Evidence(
            tuple(confirmed[landmark_id]), tuple(rejected[landmark_id])
        )
        for landmark_id, number in missed.items()
        if number >= least.get(landmark_id, 1)
    }


def load_embeddings(
    connection: Connection, model_id: int, content_ids: Sequence[int], dimension: int
) -> Embeddings:
    """The embeddings (N, D) of these images by a model, in their order."""
    stored = {
        row.content_id: row.data
        for row in connection.execute(
            select(embeddings.c.content_id, embeddings.c.data).where(
                among(embeddings.c.content_id, content_ids),
                unindexed(embeddings.c.model_id) == model_id,
            )
        )
    }
    return restore(
        [stored[content_id] for content_id in content_ids if content_id in stored],
        dimension,
    )


def _ids_by_path(
    connection: Connection, paths: Iterable[Path], root_paths: RootPaths
) -> dict[Path, Sequence[int]]:
    # The ids of the photo at each path, or of the photos below it that are present.
    roots = list_roots(connection, root_paths)
    ids_of: dict[Path, Sequence[int]] = {}
    for path in paths:
        photo_id = photo_id_in(connection, path, roots)
        if photo_id is not None:
            ids_of[path] = [photo_id]
            continue
        ranges = path_ranges(connection, [path], root_paths)
        query = (
            select(photos.c.id)
            .where(or_(false(), *(range_.condition() for range_ in ranges)), PRESENT)
            .order_by(photos.c.path)
        )
        ids_of[path] = connection.scalars(query).all()
    return ids_of
