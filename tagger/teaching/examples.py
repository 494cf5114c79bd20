"""What a landmark is learned from: photos that a person names, and verdicts on images with an embedding."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from blake3 import blake3
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    exists,
    false,
    func,
    or_,
    select,
    true,
)

from tagger.database.connection import Database
from tagger.database.enums import TagReason, TagState, VerdictKind
from tagger.database.statements import among, unindexed
from tagger.database.tables import PRESENT, effective_tags, embeddings, model_labels, photos, tags, verdicts
from tagger.errors import PhotoNotFound
from tagger.landmarks.landmarks import landmarks_by_id
from tagger.photos.paths import absolute_path
from tagger.query.details import photo_id_in
from tagger.query.photo_conditions import path_ranges
from tagger.query.tagged_photos import DAMAGED, NameCache, select_photos
from tagger.registry.registered_models import RegisteredModel
from tagger.roots.roots import RootPaths, list_roots
from tagger.teaching.classifiers import Embeddings, restore


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
        return _examples(connection, model, list(ids), root_paths)


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
    photos_of = Counter(each.content_id for each in examples if each.content_id is not None)
    found = Counter[int]()
    tag = effective_tags.c
    is_other = among(tag.content_id, photos_of), tag.landmark_id != landmark_id, tag.source == "model"
    is_named = or_(tag.state == TagState.ACCEPTED, tag.reason.in_(_OF_OTHERS))
    query = select(tag.content_id, tag.landmark_id).where(*is_other, is_named)
    with database.read() as connection:
        for row in connection.execute(query):
            found[row.landmark_id] += photos_of[row.content_id]
        return _named(connection, found)


# Why a landmark is doubtful because of another one.
_OF_OTHERS = TagReason.CONFIRMED_OTHER, TagReason.TAUGHT_OTHER, TagReason.SCORED_OTHER


def doubtful_otherwise(connection: Connection, landmark_id: int) -> list[NamedOtherwise]:
    """The other landmarks that are doubtful because a photo has a tag of this one."""
    own = effective_tags.alias()
    is_doubtful = own.c.accepted == true(), effective_tags.c.reason.in_(_OF_OTHERS)
    return _photos_of_others(connection, own, landmark_id, *is_doubtful)


def kept_otherwise(connection: Connection, landmark_id: int) -> list[NamedOtherwise]:
    """The other landmarks of which the model is nearly certain, so that this one is only suggested."""
    own = effective_tags.alias()
    is_kept = own.c.reason == TagReason.CERTAIN_OTHER, effective_tags.c.accepted == true()
    return _photos_of_others(connection, own, landmark_id, *is_kept)


def _photos_of_others(
    connection: Connection, own: FromClause, landmark_id: int, *conditions: ColumnElement[bool]
) -> list[NamedOtherwise]:
    """The other landmarks with their number of photos, by conditions on their tags and the `own` ones."""
    other = effective_tags
    rows = connection.execute(
        select(other.c.landmark_id, func.count().label("photos"))
        .join(own, and_(own.c.content_id == other.c.content_id, other.c.landmark_id != landmark_id))
        .join(photos, and_(photos.c.content_id == other.c.content_id, photos.c.gone_since.is_(None)))
        .where(own.c.landmark_id == landmark_id, *conditions)
        .group_by(other.c.landmark_id)
    )
    return _named(connection, {row.landmark_id: row.photos for row in rows})


def _named(connection: Connection, found: Mapping[int, int]) -> list[NamedOtherwise]:
    """Landmarks by id with their number of photos, those of most photos first."""
    landmarks = landmarks_by_id(connection, found)
    named = [
        NamedOtherwise(landmarks[key].slug, landmarks[key].display_name, number)
        for key, number in found.items()
    ]
    return sorted(named, key=lambda each: (-each.photos, each.landmark))


def paths_to_tag(
    database: Database, model: RegisteredModel, paths: Iterable[Path], root_paths: RootPaths
) -> list[Path]:
    """All folders that exist, and the files of which no photo with an embedding of the model is stored."""
    named = list(paths)
    folders = [path for path in named if path.is_dir()]
    of_model = and_(embeddings.c.content_id == photos.c.content_id, embeddings.c.model_id == model.id)
    query = select(photos.c.id).outerjoin(embeddings, of_model).where(embeddings.c.content_id.is_(None))
    with database.read() as connection:
        ids_of = _ids_by_path(connection, [path for path in named if path not in folders], root_paths)
        stored = among(photos.c.id, chain.from_iterable(ids_of.values()))
        without = set(connection.scalars(query.where(stored)))
    files = [path for path, ids in ids_of.items() if not ids or not without.isdisjoint(ids)]
    return [*folders, *files]


# A landmark of the model is taught once this many confirmed images are among those that the model
# missed.
LEAST_MISSED = 3


# If this changes, `tagger backfill taught` learns all landmarks again.
METHOD = "nearest example"


@dataclass(frozen=True)
class Evidence:
    """Content ids of the images on which a landmark is confirmed, and is rejected, in order."""

    confirmed: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def digest(self) -> str:
        """Identifies these verdicts, and how landmarks are learned from them."""
        return blake3(repr((METHOD, self.confirmed, self.rejected)).encode()).hexdigest()


def find_evidence(
    connection: Connection, model_id: int, landmark_ids: Collection[int] | None = None
) -> dict[int, Evidence]:
    """The evidence of each landmark that can be taught, by its id: of these landmarks, or of all.

    A landmark of people's own is taught from its first confirmed image on, a model's if the model misses it.
    """
    is_tagged = exists().where(
        tags.c.content_id == verdicts.c.content_id,
        tags.c.landmark_id == verdicts.c.landmark_id,
        tags.c.counts == true(),
        tags.c.enough == true(),
    )
    query = (
        select(verdicts.c.landmark_id, verdicts.c.content_id, verdicts.c.verdict, is_tagged)
        .join(embeddings, embeddings.c.content_id == verdicts.c.content_id)
        .where(embeddings.c.model_id == model_id)
        .order_by(verdicts.c.landmark_id, verdicts.c.content_id)
    )
    labels = select(model_labels.c.landmark_id).where(model_labels.c.model_id == model_id)
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
        landmark_id: Evidence(tuple(confirmed[landmark_id]), tuple(rejected[landmark_id]))
        for landmark_id, number in missed.items()
        if number >= least.get(landmark_id, 1)
    }


def load_embeddings(
    connection: Connection, model_id: int, content_ids: Sequence[int], dimension: int
) -> Embeddings:
    """The embeddings (N, D) of these images by a model, in their order."""
    of_images = among(embeddings.c.content_id, content_ids), unindexed(embeddings.c.model_id) == model_id
    rows = connection.execute(select(embeddings.c.content_id, embeddings.c.data).where(*of_images))
    stored = {row.content_id: row.data for row in rows}
    return restore([stored[content_id] for content_id in content_ids if content_id in stored], dimension)


def _ids_by_path(
    connection: Connection, paths: Iterable[Path], root_paths: RootPaths
) -> dict[Path, Sequence[int]]:
    """The ids of the photo at each path, or of the photos below it that are present."""
    roots = list_roots(connection, root_paths)
    found: dict[Path, Sequence[int]] = {}
    for path in paths:
        photo_id = photo_id_in(connection, path, roots)
        found[path] = _ids_below(connection, path, root_paths) if photo_id is None else [photo_id]
    return found


def _ids_below(connection: Connection, folder: Path, root_paths: RootPaths) -> Sequence[int]:
    below = or_(false(), *(range_.condition for range_ in path_ranges(connection, [folder], root_paths)))
    query = select(photos.c.id).where(below, PRESENT).order_by(photos.c.path)
    return connection.scalars(query).all()


def _examples(
    connection: Connection, model: RegisteredModel, ids: Sequence[int], root_paths: RootPaths
) -> list[Example]:
    names = NameCache(connection, root_paths)
    of_model = and_(embeddings.c.content_id == photos.c.content_id, embeddings.c.model_id == model.id)
    found = {}
    query = (
        select_photos()
        .add_columns(photos.c.failure_text, embeddings.c.content_id.label("embedded"))
        .outerjoin(embeddings, of_model)
        .where(among(photos.c.id, ids))
    )
    for row in connection.execute(query).all():
        failure = DAMAGED if row.damaged else row.failure_text
        found[row.id] = Example(row.id, names.path(connection, row), row.embedded, failure)
    return [found[photo_id] for photo_id in ids if photo_id in found]
