"""Photos of a scan as rows of the database, and the facts in them: when and where they were taken.

A scan asks which photos are new, changed, classified before, or no longer found.

Of several statements about a fact, the photo's own file comes first (EXIF, then XMP and IPTC), then its
sidecars, then the JSON file of Google Takeout; the day in the file's name comes last. A file beside a photo
comes before it where a person may have corrected the photo there. Dates and positions are independent.
Workers read side files with photos. A scan reads those that changed beside photos that no job reads again.
"""

from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    func,
    or_,
    select,
    update,
)

from tagger.database import FactProblem, FactSource
from tagger.database.connection import Database
from tagger.database.statements import among, insert_page
from tagger.database.tables import NO_FAILURE, contents, job_items, photos
from tagger.errors import FailureKind
from tagger.ledger import InferenceOptions
from tagger.metadata.stated_facts import (
    SideFacts,
    StatedFacts,
    day_in_name,
    is_same_place,
    read_side_facts,
)
from tagger.photos import (
    FIRST_FACTS,
    LARGEST_OFFSET_S,
    LEAST_OFFSET_S,
    PHOTO_FACTS,
    PhotoFacts,
    merge_facts,
)
from tagger.photos.files import PhotoVersion
from tagger.photos.folders import FoundPhoto
from tagger.photos.paths import path_from_text
from tagger.photos.side_files import SideFile, side_files_from_text, side_files_to_text
from tagger.photos.source import PhotoSource
from tagger.positions.cities import time_zone
from tagger.raw_pairs import separate_files
from tagger.roots import Root
from tagger.roots.availability import UnavailableFolder, unavailable_below
from tagger.tags import is_classified_by_all, record_photos

# The two path columns of a photo: text, and bytes if the name is not UTF-8.
PathKey = tuple[str, bytes]

_OF_PHOTO = (
    "id",
    "path",
    "path_bytes",
    "size_bytes",
    "mtime_ns",
    "gone_since",
    "primary_id",
    "classified_size_bytes",
    "classified_mtime_ns",
    "failure_kind",
    "retry_at",
    "side_files",
    "camera_id",
    "taken_at",
    "unread_facts",
)


def photo_rows(
    connection: Connection,
    root: Root,
    keys: Collection[PathKey],
    inference: InferenceOptions,
) -> dict[PathKey, Any]:
    """The stored photos with these paths, and whether they were classified with these options.

    Their rows cannot be deleted until the transaction ends.
    """
    of_root = (
        photos.c.root_id == root.id,
        among(photos.c.path, [path for path, _ in keys]),
    )
    rows = connection.execute(_rows(inference, *of_root)).all() if keys else ()
    return {(row.path, row.path_bytes): row for row in rows}


def rows_by_id(
    connection: Connection, photo_ids: Collection[int], inference: InferenceOptions
) -> dict[int, Any]:
    of_ids = among(photos.c.id, photo_ids)
    rows = connection.execute(_rows(inference, of_ids)).all() if photo_ids else ()
    return {row.id: row for row in rows}


def _rows(inference: InferenceOptions, *conditions: ColumnElement[bool]) -> Select[Any]:
    is_classified = is_classified_by_all(inference.thresholds, inference.top_k)
    return (
        select(
            *(photos.c[name] for name in _OF_PHOTO),
            is_classified.label("is_classified"),
        )
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .where(*conditions)
        .order_by(photos.c.id)
        .with_for_update(read=True, key_share=True, of=photos)
    )


def present_photos(
    database: Database,
    root: Root,
    condition: ColumnElement[bool],
    page_size: int,
    *,
    without: AbstractSet[PathKey] = frozenset(),
) -> Iterator[Sequence[Any]]:
    """Pages of stored photos of the root that are not gone, `without` these, in the order of their paths.

    Photos that a job did not find count as present: a scan decides whether they are gone.
    """
    is_present = or_(
        photos.c.gone_since.is_(None), photos.c.failure_kind == FailureKind.GONE
    )
    key = photos.c.path, photos.c.path_bytes
    present = select(photos.c.id, *key).where(
        photos.c.root_id == root.id, condition, is_present
    )
    if without:  # most of these rows; names that are not UTF-8 can read alike
        texts = [path for path, path_bytes in without if not path_bytes]
        present = present.where(
            ~(among(photos.c.path, texts) & (photos.c.path_bytes == b""))
        )
    for rows in database.row_pages(present, *key, size=page_size):
        yield [row for row in rows if (row.path, row.path_bytes) not in without]


def gone_ids(source: PhotoSource, rows: Iterable[Row[Any]]) -> list[int]:
    ids = {path_from_text(row.path, row.path_bytes): row.id for row in rows}
    return sorted(ids[path] for path in source.missing(ids))


def insert_photos(
    connection: Connection,
    root: Root,
    new: Mapping[PathKey, FoundPhoto],
    inference: InferenceOptions,
) -> dict[PathKey, Any]:
    """Add photos that nobody has added meanwhile. Returns the rows of all, like `photo_rows`."""
    rows = (
        (root.id, *key, photo.size_bytes, photo.mtime_ns) for key, photo in new.items()
    )
    names = ("root_id", "path", "path_bytes", "size_bytes", "mtime_ns")
    inserted = insert_page(
        connection,
        photos,
        names,
        rows,
        skip_existing=True,
        # They have no image yet.
        returning=", ".join((*_OF_PHOTO, "NULL AS is_classified")),
    )
    rows_by_path = {(row.path, row.path_bytes): row for row in inserted}
    others = [key for key in new if key not in rows_by_path]
    return rows_by_path | photo_rows(connection, root, others, inference)


def update_photos(
    connection: Connection, changed: Iterable[tuple[int, FoundPhoto]]
) -> None:
    """Store the size and time of photos, by id, which exist. Failures of the earlier files are over."""
    statement = (
        update(photos)
        .where(photos.c.id == bindparam("photo"))
        .values(
            size_bytes=bindparam("size"),
            mtime_ns=bindparam("mtime"),
            gone_since=None,
            **NO_FAILURE,
        )
    )
    rows = [
        {"photo": photo_id, "size": photo.size_bytes, "mtime": photo.mtime_ns}
        for photo_id, photo in changed
    ]
    if rows:
        connection.execute(statement, rows)


def store_gone(
    database: Database,
    root: Root,
    folder: Path,
    photo_ids: Sequence[int],
    unavailable: Collection[UnavailableFolder] = (),
) -> None:
    """Mark photos in a folder of the root as gone, none of them below those that were `unavailable` before.

    Raises:
        RootUnavailable: the folder, or one in it, was unmounted since they were looked for.
    """
    since = func.coalesce(photos.c.gone_since, datetime.now(UTC))
    statement = (
        update(photos)
        .where(photos.c.id == bindparam("photo"))
        .values(gone_since=since, **NO_FAILURE)
    )
    # Before the transaction: a share may answer slowly, and others wait for the locks.
    known_folders = {unavailable_folder.folder for unavailable_folder in unavailable}
    with database.read() as connection:
        for unavailable_folder in unavailable_below(connection, root, folder):
            if unavailable_folder.folder not in known_folders:
                raise unavailable_folder.error(connection)
    with database.write() as connection:
        connection.execute(statement, [{"photo": photo_id} for photo_id in photo_ids])
        joined = select(photos.c.id).where(photos.c.primary_id.in_(photo_ids))
        separate_files(connection, connection.scalars(joined).all())


def is_changed(row: Row[Any], photo: FoundPhoto) -> bool:
    """Whether the file differs from the stored photo, or was gone before."""
    same_file = (row.size_bytes, row.mtime_ns) == (photo.size_bytes, photo.mtime_ns)
    return not same_file or row.gone_since is not None


def can_skip(
    row: Row[Any], version: PhotoVersion | FoundPhoto, inference: InferenceOptions
) -> bool:
    """Whether this version of the file was classified with the same options, so that it is skipped."""
    classified = row.classified_size_bytes, row.classified_mtime_ns
    same_file = classified == (version.size_bytes, version.mtime_ns)
    return (
        same_file
        and bool(row.is_classified)
        and row.failure_kind is None
        and not inference.reprocess
    )


PARALLEL_READS = 16


def fact_columns(own: PhotoFacts, side_facts: SideFacts, path: str) -> dict[str, Any]:
    """The columns of a photo by its own facts, those of its side files in their order, and its path."""
    beside: list[tuple[FactSource, StatedFacts]] = [
        (FactSource.SIDECAR if stated.is_sidecar else FactSource.TAKEOUT, stated)
        for _, stated in side_facts
    ]
    # What people corrected comes before what is embedded.
    corrected = _corrected_facts(own, beside)
    own_facts = {}  # as JSON
    for name in corrected:
        value = getattr(own, name)
        if value is not None:
            own_facts[name] = (
                value.isoformat() if isinstance(value, datetime) else value
            )
    nothing: dict[str, Any] = dict.fromkeys(corrected)
    in_name = PhotoFacts(taken_at=day_in_name(path))
    statements: list[tuple[FactSource, PhotoFacts]] = [
        (FactSource.CAMERA, replace(own, **nothing)),
        *beside,
        (FactSource.NAME, in_name),
    ]
    facts = merge_facts(statements)
    if facts["taken_source"] == FactSource.TAKEOUT:  # its times are UTC
        facts["utc_offset_s"] = _utc_offset_s(
            facts["taken_at"], facts["latitude"], facts["longitude"]
        )
        facts["taken_at"] += timedelta(seconds=facts["utc_offset_s"])
    has_date = (
        facts["taken_at"] is not None and facts["taken_source"] != FactSource.NAME
    )
    is_date_unread = own.is_date_unread or any(
        stated.is_date_unread for _, stated in beside
    )
    date_problem = FactProblem.DATE if is_date_unread and not has_date else None
    is_broken = any(stated.is_broken for _, stated in side_facts)
    return facts | {
        "unread_facts": FactProblem.SIDE_FILE if is_broken else date_problem,
        "own_facts": own_facts or None,
    }


# A time of Takeout within this span of the camera's is the same moment in UTC, with the camera in any zone.
_SAME_MOMENT = timedelta(hours=26)
_SAME_MINUTE = timedelta(minutes=1)


def _corrected_facts(
    own: PhotoFacts, beside: Sequence[tuple[FactSource, StatedFacts]]
) -> Sequence[str]:
    # The facts of the photo's own file that the first file beside it that states them corrects.
    corrected: list[str] = []
    for source, first in FIRST_FACTS.items():
        stating = [
            (by, stated) for by, stated in beside if getattr(stated, first) is not None
        ]
        if getattr(own, first) is None or not stating:
            continue
        by, stated = stating[0]
        if first not in stated.may_correct:
            continue
        if first == "latitude":
            is_same = is_same_place(vars(own), vars(stated))
        else:
            is_same = _is_same_time(own, stated, is_utc=by == FactSource.TAKEOUT)
        if not is_same:
            corrected += [
                name for name, fact in PHOTO_FACTS.items() if fact.source == source
            ]
    return corrected


def _is_same_time(own: PhotoFacts, stated: PhotoFacts, *, is_utc: bool) -> bool:
    # Whether a file beside a photo repeats its time, as far as formats keep it.
    if own.taken_at is None or stated.taken_at is None:
        return False
    ahead = own.taken_at - stated.taken_at
    if is_utc:
        return abs(ahead) <= _SAME_MOMENT
    is_day_alone = stated.taken_at == datetime.combine(own.taken_at, time.min)
    if abs(ahead) < _SAME_MINUTE or is_day_alone:
        return True
    if own.utc_offset_s is not None and stated.utc_offset_s is not None:
        between_zones = timedelta(seconds=own.utc_offset_s - stated.utc_offset_s)
        return abs(ahead - between_zones) < _SAME_MINUTE
    # Programs write UTC where they know the camera's zone.
    is_zone = LEAST_OFFSET_S <= ahead.total_seconds() <= LARGEST_OFFSET_S
    return stated.utc_offset_s == 0 and is_zone and not ahead % timedelta(minutes=15)


def _utc_offset_s(at: datetime, latitude: float | None, longitude: float | None) -> int:
    # How far local time is ahead of UTC at a moment in UTC; 0 without a position.
    zone = (
        None
        if latitude is None or longitude is None
        else time_zone(latitude, longitude)
    )
    try:
        offset = (
            at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).utcoffset()
            if zone
            else None
        )
    except (ZoneInfoNotFoundError, OverflowError):
        offset = None
    return int(offset.total_seconds()) if offset else 0


def unread_photos(
    connection: Connection, job_id: int
) -> Mapping[FactProblem, Sequence[str]]:
    """The paths, in their roots, of the job's photos with facts that cannot be read, by what that is."""
    query = (
        select(photos.c.unread_facts, photos.c.path)
        .join(job_items, job_items.c.photo_id == photos.c.id)
        .where(job_items.c.job_id == job_id, photos.c.unread_facts.is_not(None))
        .order_by(photos.c.path)
    )
    paths: dict[FactProblem, list[str]] = {}
    for problem, path in connection.execute(query):
        paths.setdefault(FactProblem(problem), []).append(path)
    return paths


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


def store_side_files(
    connection: Connection, side_files: Mapping[int, Sequence[SideFile]]
) -> None:
    rows = [
        {"photo": photo_id, "files": side_files_to_text(files)}
        for photo_id, files in side_files.items()
    ]
    if rows:
        statement = update(photos).where(photos.c.id == bindparam("photo"))
        connection.execute(statement.values(side_files=bindparam("files")), rows)


def refresh_facts(
    database: Database,
    source: PhotoSource,
    side_files: Mapping[int, Sequence[SideFile]],
) -> None:
    """Read side files of photos of one source that were read before, and store the facts that follow.

    Call it outside of a transaction: reading takes time.
    """
    if not side_files:
        return

    # The side files of each photo: those of its own file, then those of its RAW files.
    of_photo = func.coalesce(photos.c.primary_id, photos.c.id)
    names = ("id", "primary_id", "path", "path_bytes", "side_files")
    in_order = (photos.c.primary_id.is_not(None), photos.c.path)
    paths: dict[int, str] = {}
    files: dict[int, list[SideFile]] = {}
    with database.read() as connection:
        photo_ids = connection.scalars(
            select(of_photo).where(among(photos.c.id, side_files))
        ).all()
        is_raw_file = among(photos.c.primary_id, photo_ids) & photos.c.gone_since.is_(
            None
        )
        is_file = among(photos.c.id, photo_ids) | is_raw_file
        query = select(*(photos.c[name] for name in names)).where(is_file)
        for row in connection.execute(query.order_by(*in_order)):
            photo_id = row.primary_id or row.id
            paths.setdefault(photo_id, path_from_text(row.path, row.path_bytes))
            of_file = side_files.get(row.id, stored_side_files(row.side_files))
            files.setdefault(photo_id, []).extend(of_file)

    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        read = partial(read_side_facts, source)
        facts_read = pool.map(read, paths.values(), files.values())
        stated = dict(zip(paths, facts_read, strict=True))

    # Store the facts that these files give now. Facts of the photos' own files stay.
    stored = (
        select(photos)
        .where(among(photos.c.id, stated))
        .order_by(photos.c.id)
        .with_for_update(key_share=True)
    )
    changed = {}
    with database.write() as connection:
        store_side_files(connection, side_files)
        for row in connection.execute(stored):
            facts = fact_columns(_own_facts(row), stated[row.id], row.path)
            if any(getattr(row, name) != value for name, value in facts.items()):
                changed[row.id] = facts
        record_photos(connection, changed)
        for photo_id, facts in changed.items():
            connection.execute(
                update(photos).where(photos.c.id == photo_id).values(facts)
            )


def _own_facts(row: Row[Any]) -> PhotoFacts:
    # What the photo's own file said, as far as it counts.
    sources = {
        name: fact.source and getattr(row, fact.source)
        for name, fact in PHOTO_FACTS.items()
    }
    own = {
        name: getattr(row, name)
        for name, by in sources.items()
        if by in (None, FactSource.CAMERA)
    }
    own |= row.own_facts or {}
    if isinstance(own.get("taken_at"), str):
        own["taken_at"] = datetime.fromisoformat(own["taken_at"])
    return PhotoFacts(**own, is_date_unread=row.unread_facts == FactProblem.DATE)


def stored_side_files(text: str | None) -> tuple[SideFile, ...]:
    """Stored side files; none if an import has brought something else."""
    try:
        return side_files_from_text(text)
    except ValueError:
        return ()
