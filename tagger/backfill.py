"""Jobs over photos already in the database: what was never tagged, what failed, what another model tagged, or all.

Knows nothing of schedules, which make such jobs too.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, false, func, or_, select

from tagger.database import Database
from tagger.landmarks import find_landmark
from tagger.ledger.filling import fill_job
from tagger.ledger.jobs import WRITE, NewJob, create_job, finish_scan, kept_alive
from tagger.looks import look_of
from tagger.query.wanted import path_ranges
from tagger.roots import Places
from tagger.scan import Scan, ScanReport, Selection, check_roots, select_paths
from tagger.settings import Settings
from tagger.tables import UNTAGGED, JobKind, Priority, Runner, contents, effective_tags, photos
from tagger.writing.asked import WriteAsked

OnFound = Callable[[int], None]


class What(StrEnum):
    """Which photos a backfill looks at.

    `untagged`: no model has looked at the file as it is now, and not for want of trying. `outdated`: another model
    than the job's looked last. `failed`: fails now. `all`: whatever has been said of it before.
    """

    UNTAGGED = "untagged"
    OUTDATED = "outdated"
    FAILED = "failed"
    ALL = "all"


@dataclass(frozen=True)
class Backfill:
    """What is wanted. `taken_after` is inclusive and `taken_before` is not, both in the camera's local time.

    `landmark`: photos that have its tag now. `scan`: folders brought up to date in the database before.
    """

    what: What
    under: tuple[Path, ...] = ()
    landmark: str | None = None
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    scan: tuple[Path, ...] = ()
    write: WriteAsked | None = None
    """What of the tags is written into metadata when all photos were looked at."""


def count_photos(database: Database, backfill: Backfill, model_id: int, places: Places) -> int:
    """How many photos in the database fit now; nothing is scanned.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: the landmark named is not known, or not one.
    """
    with database.read() as connection:
        source, conditions = _wanted(connection, backfill, model_id, places)
        return connection.scalar(select(func.count()).select_from(source).where(*conditions)) or 0


def new_job(database: Database, settings: Settings, backfill: Backfill, priority: Priority) -> NewJob:
    """A backfill with the model that new jobs get."""
    look = look_of(database, settings, again=backfill.what is What.ALL)
    return NewJob(
        model_id=look.model_id,
        top_k=look.top_k,
        threshold=look.threshold,
        again=look.again,
        runner=Runner.WORKERS,
        priority=priority,
        kind=JobKind.BACKFILL,
        options={"what": backfill.what, **options_of(backfill)},
    )


def record_backfill(
    database: Database,
    backfill: Backfill,
    new: NewJob,
    places: Places,
    on_found: OnFound = lambda _count: None,
) -> tuple[int, ScanReport]:
    """Make a job of the photos that fit; returns its number, and what the scan met. `on_found` is told how many so far.

    Raises:
        FolderNotFound, RootAway: a folder to scan is not there.
        LandmarkNotFound, LandmarkAmbiguous: the landmark named is not known, or not one.
        ScanEnded: the job was cancelled meanwhile.
    """
    selection = check(database, backfill, places)
    job_id = create_job(database, new)
    return job_id, fill_backfill(database, backfill, job_id, new.model_id, selection, places, on_found)


def check(database: Database, backfill: Backfill, places: Places) -> Selection:
    """Refuse, before a job is made, what cannot be done; returns what is to be scanned.

    Raises:
        As `record_backfill`.
    """
    selection = select_paths(backfill.scan)
    check_roots(database, selection, places)
    if backfill.landmark is not None:
        with database.read() as connection:
            find_landmark(connection, backfill.landmark)
    return selection


def fill_backfill(
    database: Database,
    backfill: Backfill,
    job_id: int,
    model_id: int,
    selection: Selection,
    places: Places,
    on_found: OnFound = lambda _count: None,
) -> ScanReport:
    """Scan, choose the photos of a job that was made, and let it go."""
    with kept_alive(database, job_id):
        report = Scan(database, job_id, None, places).run(selection, on_found)
        with database.read() as connection:
            source, conditions = _wanted(connection, backfill, model_id, places)
        fill_job(database, job_id, conditions, source, on_found)
    finish_scan(database, job_id)
    return report


def options_of(backfill: Backfill) -> dict[str, Any]:
    """What is wanted beside `what`, as JSON holds it."""
    given = {name: value for name, value in asdict(backfill).items() if value and name != "what"}
    for name in _FOLDERS & given.keys():
        given[name] = [os.fspath(folder) for folder in given[name]]
    for name in _TIMES & given.keys():
        given[name] = given[name].isoformat()
    return given


def backfill_of(what: str, options: Mapping[str, Any]) -> Backfill:
    """The backfill of which `options_of` made these."""
    given = dict(options)
    for name in _FOLDERS & given.keys():
        given[name] = tuple(Path(folder) for folder in given[name])
    for name in _TIMES & given.keys():
        given[name] = datetime.fromisoformat(given[name])
    if WRITE in given:
        given[WRITE] = WriteAsked.of_options(given)
    return Backfill(What(what), **given)


_FOLDERS = {"under", "scan"}
_TIMES = {"taken_after", "taken_before"}


def _wanted(
    connection: Connection, backfill: Backfill, model_id: int, places: Places
) -> tuple[FromClause, list[ColumnElement[bool]]]:
    conditions = [*_of_what(backfill.what, model_id), *_of_time(backfill)]
    if backfill.under:
        ranges = path_ranges(connection, backfill.under, places)
        conditions.append(or_(false(), *(each.condition for each in ranges)))
    if backfill.landmark is not None:
        landmark = find_landmark(connection, backfill.landmark)
        shows = select(effective_tags.c.content_id).where(
            effective_tags.c.landmark_id == landmark.id, effective_tags.c.accepted
        )
        conditions.append(photos.c.content_id.in_(shows))
    joined = backfill.what is What.OUTDATED
    source = photos.join(contents, contents.c.id == photos.c.content_id) if joined else photos
    return source, conditions


def _of_what(what: What, model_id: int) -> Iterator[ColumnElement[bool]]:
    match what:
        case What.UNTAGGED:
            yield UNTAGGED
        case What.FAILED:
            yield photos.c.failure_kind.is_not(None)
        case What.OUTDATED:
            yield photos.c.gone_since.is_(None)
            yield contents.c.model_id != model_id
        case What.ALL:
            yield photos.c.gone_since.is_(None)


def _of_time(backfill: Backfill) -> Iterator[ColumnElement[bool]]:
    if backfill.taken_after is not None:
        yield photos.c.taken_at >= backfill.taken_after
    if backfill.taken_before is not None:
        yield photos.c.taken_at < backfill.taken_before
