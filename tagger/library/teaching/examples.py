"""The photos that a person names as examples of a landmark, as the database has them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, and_, false, or_, select

from tagger.database.connection import Database
from tagger.database.statements import pages
from tagger.database.tables import PRESENT, embeddings, photos
from tagger.errors import PhotoNotFound
from tagger.library.catalog.registered_models import RegisteredModel
from tagger.library.catalog.roots import RootPaths, list_roots
from tagger.library.query.details import photo_id_in
from tagger.library.query.path_ranges import path_ranges
from tagger.library.query.tagged_photos import NameCache, select_photos
from tagger.photos.paths import absolute_path


@dataclass(frozen=True)
class Example:
    """A photo. `content_id` is None if its image has no embedding of the model; `failure` says why, if the photo fails."""

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
    """The stored photos at these paths, and below those that are folders, each once, in the order of the paths.

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


def examples_by_id(
    database: Database, model: RegisteredModel, photo_ids: Iterable[int], root_paths: RootPaths
) -> list[Example]:
    """The stored photos with these ids, each once; ids of no photo are left out."""
    with database.read() as connection:
        return _examples(connection, model, list(dict.fromkeys(photo_ids)), root_paths)


def paths_without_embedding(
    database: Database, model: RegisteredModel, paths: Iterable[Path], root_paths: RootPaths
) -> list[Path]:
    """The paths at which no photo is stored, or one whose image has no embedding of the model."""
    with database.read() as connection:
        ids_by_path = _ids_by_path(connection, paths, root_paths)
        without = _without_embedding(
            connection, model.id, [each for ids in ids_by_path.values() for each in ids]
        )
    return [path for path, ids in ids_by_path.items() if not ids or not without.isdisjoint(ids)]


def _without_embedding(connection: Connection, model_id: int, photo_ids: Sequence[int]) -> set[int]:
    """The photos whose image has no embedding of the model."""
    of_model = and_(embeddings.c.content_id == photos.c.content_id, embeddings.c.model_id == model_id)
    found = set[int]()
    for page in pages(photo_ids):
        query = select(photos.c.id).outerjoin(embeddings, of_model).where(embeddings.c.content_id.is_(None))
        found.update(connection.scalars(query.where(photos.c.id.in_(page))))
    return found


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
    for page in pages(ids):
        query = (
            select_photos()
            .add_columns(photos.c.failure_text, embeddings.c.content_id.label("embedded"))
            .outerjoin(embeddings, of_model)
            .where(photos.c.id.in_(page))
        )
        for row in connection.execute(query):
            path = names.path(connection, row)
            found[row.id] = Example(row.id, path, row.embedded, row.failure_text)
    return [found[photo_id] for photo_id in ids if photo_id in found]
