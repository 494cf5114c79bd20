"""The facts of a photo, when and where it was taken, and which of several statements counts.

The photo's own file comes first (EXIF, then XMP and IPTC), then its sidecars, then the JSON file of Google
Takeout; the day in the file's name comes last. Dates and positions are independent.

Workers read side files with photos. A scan reads those that changed beside photos that no job reads again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Connection, Row, bindparam, func, select, update

from tagger.database.enums import FactProblem, FactSource
from tagger.database.statements import among
from tagger.database.tables import job_items, photos
from tagger.metadata.stated_facts import SideFacts, day_in_name, read_side_facts
from tagger.photos.facts import PHOTO_FACTS, PhotoFacts, merge_facts
from tagger.photos.paths import path_from_text
from tagger.photos.side_files import SideFile, side_files_from_text, side_files_to_text
from tagger.positions.cities import time_zone
from tagger.tags.contents import record_photos

if TYPE_CHECKING:
    from tagger.database.connection import Database
    from tagger.photos.source import PhotoSource

PARALLEL_READS = 16


def fact_columns(own: PhotoFacts, side_facts: SideFacts, path: str) -> dict[str, Any]:
    """The columns of a photo by its own facts, those of its side files in their order, and its path."""
    statements: list[tuple[FactSource, PhotoFacts]] = [(FactSource.CAMERA, own)]
    for file, stated in side_facts:
        statements.append((FactSource.SIDECAR if file.is_sidecar else FactSource.TAKEOUT, stated))
    is_date_unread = any(stated.is_date_unread for _, stated in statements)
    statements.append((FactSource.NAME, PhotoFacts(taken_at=day_in_name(path))))
    facts = merge_facts(statements)
    if facts["taken_source"] == FactSource.TAKEOUT:  # its times are UTC
        facts["utc_offset_s"] = _utc_offset_s(facts["taken_at"], facts["latitude"], facts["longitude"])
        facts["taken_at"] += timedelta(seconds=facts["utc_offset_s"])
    has_date = facts["taken_at"] is not None and facts["taken_source"] != FactSource.NAME
    is_broken = any(stated.is_broken for _, stated in side_facts)
    date_problem = FactProblem.DATE if is_date_unread and not has_date else None
    return facts | {"unread_facts": FactProblem.SIDE_FILE if is_broken else date_problem}


def _utc_offset_s(at: datetime, latitude: float | None, longitude: float | None) -> int:
    """How far local time is ahead of UTC at a moment in UTC; 0 without a position."""
    zone = None if latitude is None or longitude is None else time_zone(latitude, longitude)
    try:
        offset = at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).utcoffset() if zone else None
    except (ZoneInfoNotFoundError, OverflowError):
        offset = None
    return int(offset.total_seconds()) if offset else 0


def unread_photos(connection: Connection, job_id: int) -> Mapping[FactProblem, Sequence[str]]:
    """The paths, in their roots, of the job's photos with facts that cannot be read, by what that is."""
    query = (
        select(photos.c.unread_facts, photos.c.path)
        .join(job_items, job_items.c.photo_id == photos.c.id)
        .where(job_items.c.job_id == job_id, photos.c.unread_facts.is_not(None))
        .order_by(photos.c.path)
    )
    found: dict[FactProblem, list[str]] = {}
    for problem, path in connection.execute(query):
        found.setdefault(FactProblem(problem), []).append(path)
    return found


def unread_counts(database: Database, job_id: int) -> Mapping[str, int]:
    """The numbers of the job's photos with facts that cannot be read, by what that is."""
    with database.read() as connection:
        return {str(problem): len(paths) for problem, paths in unread_photos(connection, job_id).items()}


def needs_refresh(row: Row[Any], found: Sequence[SideFile] | None) -> bool:
    """Whether a photo can have other facts now: by its side files, or by its name, once not read."""
    if has_other_side_files(row, found):
        return True
    if row.camera_id is None:
        return False
    is_broken = bool(row.unread_facts == FactProblem.SIDE_FILE)
    return is_broken or (row.taken_at is None and day_in_name(row.path) is not None)


def has_other_side_files(row: Row[Any], found: Sequence[SideFile] | None) -> bool:
    """Whether the side files of a stored photo have changed. False if its folder was not listed."""
    if not found:
        return found is not None and row.side_files is not None
    return bool(side_files_to_text(found) != row.side_files)


def store_side_files(connection: Connection, side_files: Mapping[int, Sequence[SideFile]]) -> None:
    """Store the side files of photos, by id."""
    rows = [{"photo": photo_id, "files": side_files_to_text(files)} for photo_id, files in side_files.items()]
    if rows:
        statement = update(photos).where(photos.c.id == bindparam("photo"))
        connection.execute(statement.values(side_files=bindparam("files")), rows)


def refresh_facts(
    database: Database, source: PhotoSource, side_files: Mapping[int, Sequence[SideFile]]
) -> None:
    """Read side files of photos of one source that were read before, and store the facts that follow.

    Call it outside of a transaction: reading takes time.
    """
    if not side_files:
        return
    with database.read() as connection:
        files = _files_of_photos(connection, side_files)
    found = {
        photo_id: (
            path,
            [file for row in rows for file in side_files.get(row.id, stored_side_files(row.side_files))],
        )
        for photo_id, rows in files.items()
        if (path := path_from_text(rows[0].path, rows[0].path_bytes))
    }
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        stated = dict(
            zip(found, pool.map(lambda each: read_side_facts(source, *each), found.values()), strict=True)
        )
    with database.write() as connection:
        store_side_files(connection, side_files)
        _store_facts(connection, stated)


def _files_of_photos(connection: Connection, file_ids: Collection[int]) -> Mapping[int, Sequence[Row[Any]]]:
    """The files of the photos of these files, by photo id: the photo's own, then its RAW files."""
    of_photo = func.coalesce(photos.c.primary_id, photos.c.id)
    ids = connection.scalars(select(of_photo).where(among(photos.c.id, file_ids))).all()
    columns = (photos.c.id, photos.c.primary_id, photos.c.path, photos.c.path_bytes, photos.c.side_files)
    is_file = among(photos.c.id, ids) | (among(photos.c.primary_id, ids) & photos.c.gone_since.is_(None))
    files: dict[int, list[Any]] = {}
    in_order = (photos.c.primary_id.is_not(None), photos.c.path)
    for row in connection.execute(select(*columns).where(is_file).order_by(*in_order)):
        files.setdefault(row.primary_id or row.id, []).append(row)
    return files


def _store_facts(connection: Connection, stated: Mapping[int, SideFacts]) -> None:
    """Store the facts that other files give now. Facts of the photos' own files stay."""
    query = (
        select(photos).where(among(photos.c.id, stated)).order_by(photos.c.id).with_for_update(key_share=True)
    )
    changed = {}
    for row in connection.execute(query):
        facts = fact_columns(_own_facts(row), stated[row.id], row.path)
        if any(getattr(row, name) != value for name, value in facts.items()):
            changed[row.id] = facts
    record_photos(connection, changed)
    for photo_id, facts in changed.items():
        connection.execute(update(photos).where(photos.c.id == photo_id).values(facts))


def _own_facts(row: Row[Any]) -> PhotoFacts:
    """What the photo's own file said, as far as it counts."""
    sources = {name: fact.source and getattr(row, fact.source) for name, fact in PHOTO_FACTS.items()}
    own = {name: getattr(row, name) for name, by in sources.items() if by in (None, FactSource.CAMERA)}
    return PhotoFacts(**own, is_date_unread=row.unread_facts == FactProblem.DATE)


def stored_side_files(text: str | None) -> tuple[SideFile, ...]:
    """Stored side files; none if an import has brought something else."""
    try:
        return side_files_from_text(text)
    except ValueError:
        return ()
