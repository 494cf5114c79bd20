"""Pictures that people have judged, for those who learn from their words: what each shows, and where it can be seen."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from tagger.database import Database, open_database
from tagger.landmarks import Landmark, all_landmarks
from tagger.query.tagged import tag_rows
from tagger.roots import Places, Root, is_away, list_roots
from tagger.settings import Settings
from tagger.tables import contents, model_labels, models, photos, verdicts
from tagger.verdicts.kept import Word

PAGE = 250


@dataclass(frozen=True)
class JudgedPicture:
    """A picture with a verdict or more, by slugs. `stands`: a landmark is accepted there that nobody has judged."""

    digest: str
    confirmed: tuple[str, ...]
    rejected: tuple[str, ...]
    stands: bool
    paths: tuple[Path, ...]
    """Photos of it that are not gone, those first whose root is not away."""
    is_away: bool
    """Whether all of these are in roots that are away."""


class Judged:
    """What people said in one database."""

    def __init__(self, database: Database, places: Places) -> None:
        self._database = database
        self._places = places
        self.shown_url = database.shown_url

    def landmarks(self) -> dict[str, Landmark]:
        """Every landmark, by slug."""
        with self._database.read() as connection:
            return {landmark.slug: landmark for landmark in all_landmarks(connection)}

    def labels(self) -> dict[str, str]:
        """The label of each landmark, by slug: that of the model in use, else of the newest that has one."""
        rows = (
            select(model_labels.c.label, model_labels.c.landmark_id)
            .join(models, models.c.id == model_labels.c.model_id)
            .order_by(models.c.in_use, models.c.registered_at, models.c.id)
        )
        with self._database.read() as connection:
            slugs = {landmark.id: landmark.slug for landmark in all_landmarks(connection)}
            return {slugs[row.landmark_id]: row.label for row in connection.execute(rows)}

    def pictures(self) -> Iterator[JudgedPicture]:
        """The pictures in the order in which they became known, page by page."""
        slugs = {landmark.id: slug for slug, landmark in self.landmarks().items()}
        with self._database.read() as connection:
            roots = {root.id: root for root in list_roots(connection, self._places)}
            away = {root.id for root in roots.values() if is_away(connection, root)}
        after = 0
        while True:
            with self._database.read() as connection:
                ids = _page_of_contents(connection, after)
                pictures = _pictures(connection, ids, slugs, roots, away)
            yield from pictures
            if len(ids) < PAGE:
                return
            after = ids[-1]


@contextmanager
def judged_by_people(settings: Settings) -> Iterator[Judged]:
    """What people said in the database that the settings name.

    Raises:
        DatabaseUnavailable, SchemaOutdated, SchemaNewer: it cannot be asked.
    """
    database = open_database(settings.effective_database_url)
    try:
        yield Judged(database, settings.roots)
    finally:
        database.close()


def _page_of_contents(connection: Connection, after: int) -> Sequence[int]:
    page = (
        select(verdicts.c.content_id)
        .where(verdicts.c.content_id > after)
        .distinct()
        .order_by(verdicts.c.content_id)
        .limit(PAGE)
    )
    return connection.scalars(page).all()


def _pictures(
    connection: Connection,
    ids: Sequence[int],
    slugs: dict[int, str],
    roots: dict[int, Root],
    away: set[int],
) -> list[JudgedPicture]:
    digests = {
        row.id: row.digest for row in connection.execute(select(contents).where(contents.c.id.in_(ids)))
    }
    said: dict[tuple[int, str], list[str]] = defaultdict(list)
    given = select(verdicts).where(verdicts.c.content_id.in_(ids)).order_by(verdicts.c.landmark_id)
    for row in connection.execute(given):
        said[row.content_id, row.verdict].append(slugs[row.landmark_id])
    tags = tag_rows(connection, ids)
    seen: dict[int, list[tuple[bool, Path]]] = defaultdict(list)
    here = select(photos).where(photos.c.content_id.in_(ids), photos.c.gone_since.is_(None))
    for row in connection.execute(here.order_by(photos.c.id)):
        path = roots[row.root_id].path_of(row.path, row.path_bytes)
        seen[row.content_id].append((row.root_id in away, path))
    return [
        JudgedPicture(
            digest=digests[number],
            confirmed=tuple(said[number, Word.CONFIRMED]),
            rejected=tuple(said[number, Word.REJECTED]),
            stands=any(tag.accepted and tag.verdict is None for tag in tags.get(number, ())),
            paths=tuple(path for _, path in sorted(seen[number], key=lambda place: place[0])),
            is_away=bool(seen[number]) and all(is_gone for is_gone, _ in seen[number]),
        )
        for number in ids
        if number in digests
    ]
