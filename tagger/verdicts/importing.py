"""Import of verdicts from another database: images match by digest, landmarks by slug, and the newer verdict wins.

The file is a JSON list, or has one document on each line. An entry that is not a verdict is refused with its number.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO

from sqlalchemy import Connection

from tagger.database.audit_log import AuditAction, record_action, update_details
from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.statements import insert_missing, pages
from tagger.database.tables import contents
from tagger.errors import ImportRefused
from tagger.landmarks.landmarks import landmarks_by_slug
from tagger.tags.contents import lock_contents, lock_contents_shared
from tagger.verdicts.store import (
    NOT_A_LANDMARK,
    NewDismissal,
    NewVerdict,
    confirmed_contents,
    hold_landmarks,
    stored_dismissals,
    stored_verdicts,
    write_dismissals,
    write_verdicts,
)

_DIGEST = re.compile(r"\d+-[0-9a-f]{64}")


@dataclass(frozen=True)
class VerdictEntry:
    """A verdict about an image, by digest, and a landmark, by slug. `path` is a photo of it in the other database.

    Without a landmark and a kind: the image is not a landmark.
    """

    digest: str
    landmark: str | None
    kind: VerdictKind | None
    by: str | None
    at: datetime
    path: str | None


_REMEDY = "correct the file, or create it again with `tagger review export`"


def read_entries(source: IO[bytes], name: str) -> list[VerdictEntry]:
    """The verdicts in a file. `name` is its name in error messages.

    Raises:
        ImportRefused: it is no JSON, or an entry is not a verdict.
    """
    entries: list[VerdictEntry] = []
    try:
        for document in _documents(source.read().decode("utf-8-sig")):
            entries.append(_entry(document))  # noqa: PERF401 - the message counts them
    except UnicodeDecodeError as error:
        raise ImportRefused(file=name, reason="it is not UTF-8 text", remedy=_REMEDY) from error
    except json.JSONDecodeError as error:
        reason = f"line {error.lineno}: it is not JSON, or ends early ({error.msg})"
        raise ImportRefused(file=name, reason=reason, remedy=_REMEDY) from error
    except _EntryInvalid as error:
        reason = f"entry {len(entries) + 1}: {error}"
        raise ImportRefused(file=name, reason=reason, remedy=_REMEDY) from error
    return entries


class _EntryInvalid(ValueError):
    """An entry is not a verdict."""


def _documents(text: str) -> Sequence[object]:
    """The values of a list, or those of lines with one each, which are a list without its marks."""
    if not text.lstrip().startswith("["):
        text = "[" + ",\n".join(filter(str.strip, text.split("\n"))) + "]"
    found: Sequence[object] = json.loads(text)
    return found


def _entry(document: object) -> VerdictEntry:
    if not isinstance(document, dict):
        raise _EntryInvalid("it is not a JSON object")
    digest, landmark, verdict, by, path = map(document.get, ("digest", "landmark", "verdict", "by", "path"))
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise _EntryInvalid(f"digest is not that of an image: {digest!r}")
    if not (isinstance(by, str | None) and isinstance(path, str | None)):
        raise _EntryInvalid("by and path must be text or null")
    if verdict == NOT_A_LANDMARK:
        if landmark is not None:
            raise _EntryInvalid(f"{NOT_A_LANDMARK} is a verdict without a landmark, not on {landmark!r}")
        return VerdictEntry(digest, None, None, by, _time(document.get("at")), path)
    if not (isinstance(landmark, str) and landmark):
        raise _EntryInvalid(f"landmark is not a slug: {landmark!r}")
    if verdict not in list(VerdictKind):
        kinds = f"confirmed, rejected or {NOT_A_LANDMARK}"
        raise _EntryInvalid(f"verdict is none of {kinds}: {verdict!r}")
    return VerdictEntry(digest, landmark, VerdictKind(verdict), by, _time(document.get("at")), path)


def _time(text: object) -> datetime:
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise _EntryInvalid(f"at is not a date with a time zone: {text!r}")
    return time


_KindAndTime = tuple[VerdictKind | None, datetime]
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

    def count(self, new: _KindAndTime, stored: _KindAndTime | None) -> None:
        """Count a verdict by what it does to the stored one."""
        if stored is None:
            self.added += 1
        elif stored == new:
            self.unchanged += 1
        elif stored[1] < new[1]:
            self.replaced += 1
        else:
            self.older += 1


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
            known = lock_contents_shared(connection, {entry.digest for entry in page})
            lock_contents(connection, known.values())
            hold_landmarks(connection)
            new, away = _count_page(connection, page, report, add=True)
            write_verdicts(connection, new, newer_only=True)
            write_dismissals(connection, away)
            if audit_entry is None:
                audit_entry = record_action(connection, AuditAction.VERDICTS_IMPORT)
            update_details(connection, audit_entry, added=report.added, replaced=report.replaced)
    return report


def _count_page(
    connection: Connection, page: Sequence[VerdictEntry], report: ImportedVerdicts, *, add: bool
) -> tuple[list[NewVerdict], list[NewDismissal]]:
    """Count in the report what a page changes; returns its verdicts and dismissals. With `add`, unknown images get rows."""
    known = landmarks_by_slug(connection, {entry.landmark for entry in page if entry.landmark})
    usable = []
    for entry in page:
        if entry.landmark is None or entry.landmark in known:
            usable.append(entry)
        else:
            report.unknown_landmarks[entry.landmark] += 1
    content_ids = _content_ids(connection, usable, report, add=add)
    new, away = [], []
    for entry in usable:
        content_id = content_ids.get(entry.digest, 0)
        if entry.landmark is not None and entry.kind is not None:
            landmark_id = known[entry.landmark].id
            new.append(NewVerdict(content_id, landmark_id, entry.kind, entry.by, entry.at))
        else:
            away.append(NewDismissal(content_id, entry.by, entry.at))
    stored = stored_verdicts(connection, {verdict.key for verdict in new if verdict.content_id})
    for verdict in new:
        report.count((verdict.verdict, verdict.given_at), stored.get(verdict.key))
    # A confirmed landmark outranks a dismissal, which then counts as older.
    away_ids = {dismissal.content_id for dismissal in away}
    confirmed = confirmed_contents(connection, away_ids)
    confirmed |= {verdict.content_id for verdict in new if verdict.verdict is VerdictKind.CONFIRMED}
    dismissed = stored_dismissals(connection, away_ids)
    for dismissal in away:
        at = dismissed.get(dismissal.content_id)
        if dismissal.content_id and dismissal.content_id in confirmed:
            report.older += 1
        else:
            report.count((None, dismissal.given_at), None if at is None else (None, at))
    return new, away


def _content_ids(
    connection: Connection, page: Sequence[VerdictEntry], report: ImportedVerdicts, *, add: bool
) -> dict[str, int]:
    """Ids of the images of a page, by digest; unknown images are counted, and get rows with `add`."""
    digests = {entry.digest for entry in page}
    content_ids = lock_contents_shared(connection, digests)
    missing = digests - content_ids.keys()
    unknown = [entry.path or entry.digest for entry in page if entry.digest in missing]
    report.unknown_images += len(unknown)
    report.unknown_paths = (report.unknown_paths + unknown)[:MOST_PATHS]
    if not (add and missing):
        return content_ids
    insert_missing(connection, contents, [{"digest": digest} for digest in sorted(missing)])
    return lock_contents_shared(connection, digests)
