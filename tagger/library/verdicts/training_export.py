"""Images with verdicts, for training: the confirmed and rejected landmarks of each, and the paths of its photos."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from sqlalchemy import Connection, select

from tagger.database.connection import Database, open_database
from tagger.database.enums import VerdictKind
from tagger.database.statements import pages
from tagger.database.tables import contents, model_labels, models, photos, verdicts
from tagger.library.catalog.landmarks import Landmark, all_landmarks
from tagger.library.catalog.roots import Root, RootPaths, list_roots, unavailable_roots
from tagger.library.query.tagged_photos import tag_rows
from tagger.photos.paths import ObjectPath
from tagger.settings import Settings


@dataclass(frozen=True)
class LabelledImage:
    """An image with at least one verdict; landmarks are slugs.

    `has_unreviewed_tag`: the image has an accepted tag without a verdict. `paths`: its photos that are not gone, those on
    available roots first, and files before objects in buckets. `is_unavailable`: all its photos are on unavailable roots.
    """

    digest: str
    confirmed: tuple[str, ...]
    rejected: tuple[str, ...]
    has_unreviewed_tag: bool
    paths: tuple[Path, ...]
    is_unavailable: bool


@contextmanager
def open_training_export(settings: Settings) -> "Iterator[TrainingExport]":
    """Open the database of the settings for export.

    Raises:
        DatabaseUnavailable, SchemaOutdated, SchemaNewer: the database cannot be used.
    """
    database = open_database(settings.effective_database_url)
    try:
        yield TrainingExport(database, settings.roots)
    finally:
        database.close()


class TrainingExport:
    """The landmarks, labels and images with verdicts of one database."""

    def __init__(self, database: Database, root_paths: RootPaths) -> None:
        self._database = database
        self._root_paths = root_paths
        self.redacted_url = database.redacted_url

    def landmarks(self) -> dict[str, Landmark]:
        """Every landmark, by its slug and by the slugs of landmarks that were merged into it."""
        with self._database.read() as connection:
            return {slug: landmark for landmark in all_landmarks(connection) for slug in landmark.all_slugs}

    def labels(self) -> dict[str, str]:
        """The label of each landmark, by slug: of the model in use, else of the newest model with one."""
        query = (
            select(model_labels.c.label, model_labels.c.landmark_id)
            .join(models, models.c.id == model_labels.c.model_id)
            .order_by(models.c.in_use, models.c.registered_at, models.c.id)
        )
        with self._database.read() as connection:
            slugs = {landmark.id: landmark.slug for landmark in all_landmarks(connection)}
            return {slugs[row.landmark_id]: row.label for row in connection.execute(query)}

    def images(self) -> Iterator[LabelledImage]:
        """Yield the images with verdicts in the order in which they were added, page by page."""
        slugs = {landmark.id: landmark.slug for landmark in self.landmarks().values()}
        with self._database.read() as connection:
            roots = {root.id: root for root in list_roots(connection, self._root_paths)}
            unavailable = {root.id for root in unavailable_roots(connection, list(roots.values()))}
            ids = connection.scalars(select(verdicts.c.content_id).distinct().order_by(verdicts.c.content_id))
            of_verdicts = pages(ids.all())
        for page in of_verdicts:
            with self._database.read() as connection:
                images = _images(connection, page, slugs, roots, unavailable)
            yield from images


def _images(
    connection: Connection,
    ids: Sequence[int],
    slugs: dict[int, str],
    roots: dict[int, Root],
    unavailable: set[int],
) -> list[LabelledImage]:
    digests = {
        row.id: row.digest for row in connection.execute(select(contents).where(contents.c.id.in_(ids)))
    }
    by_kind: dict[tuple[int, str], list[str]] = defaultdict(list)
    query = select(verdicts).where(verdicts.c.content_id.in_(ids)).order_by(verdicts.c.landmark_id)
    for row in connection.execute(query):
        by_kind[row.content_id, row.verdict].append(slugs[row.landmark_id])
    tags = tag_rows(connection, ids)
    paths: dict[int, list[tuple[bool, bool, Path]]] = defaultdict(list)
    present = select(photos).where(photos.c.content_id.in_(ids), photos.c.gone_since.is_(None))
    for row in connection.execute(present.order_by(photos.c.id)):
        path = roots[row.root_id].path_of(row.path, row.path_bytes)
        paths[row.content_id].append((row.root_id in unavailable, isinstance(path, ObjectPath), path))
    return [
        LabelledImage(
            digest=digests[content_id],
            confirmed=tuple(by_kind[content_id, VerdictKind.CONFIRMED]),
            rejected=tuple(by_kind[content_id, VerdictKind.REJECTED]),
            has_unreviewed_tag=any(tag.accepted and tag.verdict is None for tag in tags.get(content_id, ())),
            paths=tuple(path for *_, path in sorted(paths[content_id], key=itemgetter(0, 1))),
            is_unavailable=bool(paths[content_id]) and all(is_away for is_away, *_ in paths[content_id]),
        )
        for content_id in ids
        if content_id in digests
    ]
