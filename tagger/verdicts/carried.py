"""Verdicts from another database: pictures are matched by digest, landmarks by slug, and the newer word holds."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from tagger.database import Database, insert_missing
from tagger.landmarks import all_landmarks
from tagger.tables import contents
from tagger.verdicts.entries import Entry
from tagger.verdicts.kept import NewVerdict, hold_contents, pages, verdicts_before, write_verdicts

NAMED = 20
"""Pictures that are named where they are not known here."""


@dataclass
class ImportedVerdicts:
    """How many verdicts were given or replaced others, how many were known already or are older than those here.

    `landmarks` (by slug) are verdicts that were left out, as no model here knows the place. `pictures` are verdicts that
    were kept for photos which are not here yet; `seen_at` names some of them as the other database did.
    """

    given: int = 0
    replaced: int = 0
    unchanged: int = 0
    older: int = 0
    landmarks: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    seen_at: list[str] = field(default_factory=list)


def import_verdicts(
    database: Database, entries: Iterable[Entry], *, dry_run: bool = False
) -> ImportedVerdicts:
    """Take over verdicts, a transaction per page; the same ones once more change nothing."""
    imported = ImportedVerdicts()
    with database.read() as connection:
        landmark_ids = {landmark.slug: landmark.id for landmark in all_landmarks(connection)}
    for page in pages(entries):
        known = [entry for entry in page if entry.landmark in landmark_ids]
        imported.landmarks.update(entry.landmark for entry in page if entry.landmark not in landmark_ids)
        if dry_run:
            with database.read() as connection:
                _count_page(connection, known, landmark_ids, imported)
        else:
            with database.write() as connection:
                write_verdicts(
                    connection,
                    _count_page(connection, known, landmark_ids, imported, make=True),
                    newer_only=True,
                )
    return imported


def _count_page(
    connection: Connection,
    page: Sequence[Entry],
    landmark_ids: Mapping[str, int],
    imported: ImportedVerdicts,
    *,
    make: bool = False,
) -> list[NewVerdict]:
    """Count what becomes of a page's entries; with `make`, pictures that are not known get rows. Returns what to write."""
    digests = {entry.digest for entry in page}
    content_ids = hold_contents(connection, digests)
    missing = digests - content_ids.keys()
    for entry in page:
        if entry.digest in missing:
            imported.pictures += 1
            if len(imported.seen_at) < NAMED:
                imported.seen_at.append(entry.path or entry.digest)
    if make and missing:
        insert_missing(connection, contents, [{"digest": digest} for digest in sorted(missing)])
        content_ids = hold_contents(connection, digests)
    news = [
        NewVerdict(
            content_ids.get(entry.digest, 0), landmark_ids[entry.landmark], entry.word, entry.by, entry.at
        )
        for entry in page
    ]
    before = verdicts_before(connection, {new.key for new in news if new.content_id})
    for new in news:
        imported_as = _becomes(new, before)
        setattr(imported, imported_as, getattr(imported, imported_as) + 1)
    return news


def _becomes(new: NewVerdict, before: Mapping[tuple[int, int], tuple[object, object]]) -> str:
    word, at = before.get(new.key, (None, None))
    if word is None:
        return "given"
    if at == new.at and word == new.word:
        return "unchanged"
    return "replaced" if at < new.at else "older"  # type: ignore[operator]
