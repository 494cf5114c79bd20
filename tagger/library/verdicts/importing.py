"""Import of verdicts from another database: images match by digest, landmarks by slug, and the newer verdict wins."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from tagger.database.audit_log import AuditAction, record_action, update_details
from tagger.database.connection import Database
from tagger.database.statements import insert_missing, pages
from tagger.database.tables import contents
from tagger.library.catalog.content_locks import hold_contents
from tagger.library.catalog.landmarks import landmark_ids_by_slug
from tagger.library.verdicts.dismissals import (
    NewDismissal,
    confirmed_contents,
    stored_dismissals,
    write_dismissals,
)
from tagger.library.verdicts.import_entries import VerdictEntry
from tagger.library.verdicts.store import (
    NewVerdict,
    VerdictKind,
    hold_landmarks,
    stored_verdicts,
    write_verdicts,
)
from tagger.people.names import count_authors

MOST_PATHS = 20
"""Paths that are reported for images that are not in this database."""


@dataclass
class ImportedVerdicts:
    """How many verdicts were added, replaced an older one, were stored already, or are older than the stored ones.

    `unknown_landmarks` counts ignored verdicts by slug: no model here has the landmark. `unknown_images` counts verdicts
    on images without a photo here, which apply once such a photo is added; `unknown_paths` are paths of some of them in
    the other database.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    older: int = 0
    unknown_landmarks: Counter[str] = field(default_factory=Counter)
    unknown_images: int = 0
    unknown_paths: list[str] = field(default_factory=list)


def import_verdicts(
    database: Database, entries: Iterable[VerdictEntry], *, dry_run: bool = False
) -> ImportedVerdicts:
    """Store the verdicts, one transaction per page. Importing the same verdicts again changes nothing."""
    report = ImportedVerdicts()
    if dry_run:
        for page in pages(entries):
            with database.read() as connection:
                _count_page(connection, page, report, add=False)
        return report
    audit_entry: int | None = None
    for page in pages(entries):
        with database.write() as connection:
            hold_landmarks(connection)
            new, away = _count_page(connection, page, report, add=True)
            write_verdicts(connection, new, newer_only=True)
            write_dismissals(connection, away)
            count_authors(connection, [*(verdict.by for verdict in new), *(each.by for each in away)])
            if audit_entry is None:
                audit_entry = record_action(connection, AuditAction.VERDICTS_IMPORT)
            update_details(connection, audit_entry, added=report.added, replaced=report.replaced)
    return report


def _count_page(
    connection: Connection, page: Sequence[VerdictEntry], report: ImportedVerdicts, *, add: bool
) -> tuple[list[NewVerdict], list[NewDismissal]]:
    """Count in the report what a page changes; returns its verdicts and dismissals. With `add`, unknown images get rows."""
    landmark_ids = landmark_ids_by_slug(connection)
    usable = [entry for entry in page if entry.landmark is None or entry.landmark in landmark_ids]
    report.unknown_landmarks.update(
        entry.landmark for entry in page if entry.landmark and entry.landmark not in landmark_ids
    )
    content_ids = _content_ids(connection, usable, report, add=add)
    new = [
        NewVerdict(
            content_ids.get(entry.digest, 0), landmark_ids[entry.landmark], entry.kind, entry.by, entry.at
        )
        for entry in usable
        if entry.landmark is not None and entry.kind is not None
    ]
    away = [
        NewDismissal(content_ids.get(entry.digest, 0), entry.by, entry.at)
        for entry in usable
        if entry.landmark is None
    ]
    _count_results(connection, new, report)
    _count_dismissals(connection, away, new, report)
    return new, away


def _content_ids(
    connection: Connection, page: Sequence[VerdictEntry], report: ImportedVerdicts, *, add: bool
) -> dict[str, int]:
    """Ids of the images of a page, by digest; unknown images are counted, and get rows with `add`."""
    digests = {entry.digest for entry in page}
    content_ids = hold_contents(connection, digests)
    missing = digests - content_ids.keys()
    for entry in page:
        if entry.digest in missing:
            report.unknown_images += 1
            if len(report.unknown_paths) < MOST_PATHS:
                report.unknown_paths.append(entry.path or entry.digest)
    if not (add and missing):
        return content_ids
    insert_missing(connection, contents, [{"digest": digest} for digest in sorted(missing)])
    return hold_contents(connection, digests)


def _count_results(connection: Connection, new: Sequence[NewVerdict], report: ImportedVerdicts) -> None:
    stored = stored_verdicts(connection, {verdict.key for verdict in new if verdict.content_id})
    for verdict in new:
        result = _result(verdict, stored.get(verdict.key))
        setattr(report, result, getattr(report, result) + 1)


def _result(new: NewVerdict, stored: tuple[VerdictKind, datetime] | None) -> str:
    """The field of the report that counts this verdict."""
    if stored is None:
        return "added"
    if stored == (new.kind, new.at):
        return "unchanged"
    return "replaced" if stored[1] < new.at else "older"


def _count_dismissals(
    connection: Connection,
    away: Sequence[NewDismissal],
    imported: Iterable[NewVerdict],
    report: ImportedVerdicts,
) -> None:
    """A confirmed landmark outranks a dismissal, which then counts as older."""
    ids = {dismissal.content_id for dismissal in away}
    confirmed = confirmed_contents(connection, ids)
    confirmed |= {verdict.content_id for verdict in imported if verdict.kind is VerdictKind.CONFIRMED}
    stored = stored_dismissals(connection, ids)
    for dismissal in away:
        at = stored.get(dismissal.content_id)
        if dismissal.content_id and dismissal.content_id in confirmed:
            report.older += 1
        elif at is None:
            report.added += 1
        elif at == dismissal.at:
            report.unchanged += 1
        else:
            result = "replaced" if at < dismissal.at else "older"
            setattr(report, result, getattr(report, result) + 1)
