"""Backfills: jobs over photos that are in the database: never tagged, failed, tagged by another model, newly taught, or all.

Knows nothing of schedules, which make such jobs too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, false, func, or_, select

from tagger.database.connection import Database
from tagger.database.enums import JobKind, Priority, Runner
from tagger.database.tables import PRESENT, UNTAGGED, contents, effective_tags, embeddings, photos
from tagger.jobs.enqueue.job_options import MetadataOptions, inference_options
from tagger.jobs.enqueue.scan import ProgressCallback, Scan, ScanReport
from tagger.jobs.enqueue.selection import Selection, require_available_roots, select_paths
from tagger.ledger.items import fill_job
from tagger.ledger.jobs import NewJob, create_job, finish_scan
from tagger.ledger.ownership import job_heartbeat
from tagger.library.catalog.landmarks import find_landmark
from tagger.library.catalog.registered_models import model_by_id
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.path_ranges import path_ranges
from tagger.library.teaching.comparison import outdated
from tagger.library.teaching.learning import changed_landmarks, embedding_of, learn_landmarks
from tagger.photos.paths import path_from_json, path_to_json
from tagger.settings import Settings


class BackfillScope(StrEnum):
    """Which photos a backfill processes.

    `untagged`: no model has classified the current file, and it does not fail. `outdated`: another model than the job's
    classified the photo last. `failed`: the photo fails now. `all`: every photo. `taught`: its embedding was not compared with
    what was taught since; such a job compares embeddings, and reads no photo.
    """

    UNTAGGED = "untagged"
    OUTDATED = "outdated"
    FAILED = "failed"
    ALL = "all"
    TAUGHT = "taught"


@dataclass(frozen=True)
class Backfill:
    """A request for a backfill. `taken_after` is inclusive, `taken_before` exclusive, both in the camera's local time.

    `landmark`: photos that have its tag now. `scan`: folders to scan first. `write`: the metadata to write once all photos
    are classified; None: nothing is written.
    """

    scope: BackfillScope
    under: tuple[Path, ...] = ()
    landmark: str | None = None
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    scan: tuple[Path, ...] = ()
    write: MetadataOptions | None = None


def count_photos(database: Database, backfill: Backfill, model_id: int, root_paths: RootPaths) -> int:
    """The number of photos that match now, without a scan.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous: the landmark is not in the database, or the name has several.
    """
    with database.read() as connection:
        source, conditions = _photo_conditions(connection, backfill, model_id, root_paths)
        return connection.scalar(select(func.count()).select_from(source).where(*conditions)) or 0


def backfill_job(
    database: Database,
    settings: Settings,
    backfill: Backfill,
    priority: Priority,
    runner: Runner = Runner.WORKERS,
) -> NewJob:
    """The job of a backfill, with the model and options of new jobs.

    Raises:
        EmbeddingsMissing: it compares embeddings, and the model gives none.
        ModelNotFound, ModelNotSelected: there is no model.
    """
    inference = inference_options(database, settings, reprocess=backfill.scope is BackfillScope.ALL)
    options = {"what": backfill.scope, **backfill_options(backfill)}
    kind = JobKind.BACKFILL
    if backfill.scope is BackfillScope.TAUGHT:
        embedding_of(model_by_id(database, inference.model_id))
        kind = JobKind.COMPARE
    return inference.new_job(kind, priority, runner=runner, options=options)


def record_backfill(
    database: Database,
    backfill: Backfill,
    new: NewJob,
    root_paths: RootPaths,
    on_progress: ProgressCallback = lambda _count: None,
) -> tuple[int, ScanReport]:
    """Record the job and its photos; returns the job's number and the report of the scan.

    Raises:
        PathNotFound, RootUnavailable: a folder to scan does not exist, or its disk is not mounted.
        LandmarkNotFound, LandmarkAmbiguous: the landmark is not in the database, or the name has several.
        ScanInterrupted: the job was cancelled during the scan.
    """
    selection = validate_backfill(database, backfill, root_paths)
    job_id = create_job(database, new)
    report = fill_backfill(database, backfill, job_id, new.model_id, selection, root_paths, on_progress)
    return job_id, report


def validate_backfill(database: Database, backfill: Backfill, root_paths: RootPaths) -> Selection:
    """Check the backfill before its job is recorded; returns the folders to scan.

    Raises:
        PathNotFound, RootUnavailable, LandmarkNotFound, LandmarkAmbiguous: as `record_backfill`.
    """
    selection = select_paths(backfill.scan)
    require_available_roots(database, selection, root_paths)
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
    root_paths: RootPaths,
    on_progress: ProgressCallback = lambda _count: None,
) -> ScanReport:
    """Scan folders, add the matching photos to the recorded job, and queue it.

    Raises:
        RootUnavailable, ScanInterrupted: as `record_backfill`.
        ModelFileNotFound, ModelRefused: landmarks cannot be learned, because the model's file cannot be read.
    """
    with job_heartbeat(database, job_id):
        report = Scan(database, job_id, None, root_paths).run(selection, on_progress)
        if backfill.scope is BackfillScope.TAUGHT:
            learn_landmarks(database, model_by_id(database, model_id))
        with database.read() as connection:
            source, conditions = _photo_conditions(connection, backfill, model_id, root_paths)
        fill_job(database, job_id, conditions, source, on_progress)
    finish_scan(database, job_id, other_files=report.other_files.count)
    return report


_FOLDERS = {"under", "scan"}
_TIMES = {"taken_after", "taken_before"}


def backfill_options(backfill: Backfill) -> dict[str, Any]:
    """The backfill as JSON, without its scope."""
    options = {name: value for name, value in asdict(backfill).items() if value and name != "scope"}
    for name in _FOLDERS & options.keys():
        options[name] = [path_to_json(folder) for folder in options[name]]
    for name in _TIMES & options.keys():
        options[name] = options[name].isoformat()
    return options


def backfill_from_options(scope: str, options: Mapping[str, Any]) -> Backfill:
    """The backfill from which `backfill_options` made these options.

    Raises:
        ValueError: it made no such options.
    """
    names = {field.name for field in fields(Backfill)} - {"scope"}
    if unknown := options.keys() - names:
        raise ValueError(f"a backfill has no option {min(unknown)!r}")
    landmark = options.get("landmark")
    if not isinstance(landmark, str | None):
        raise ValueError("its landmark is not text")  # noqa: TRY004 - as for other invalid values
    return Backfill(
        BackfillScope(scope),
        under=_stored_folders(options, "under"),
        landmark=landmark,
        taken_after=_stored_time(options, "taken_after"),
        taken_before=_stored_time(options, "taken_before"),
        scan=_stored_folders(options, "scan"),
        write=MetadataOptions.from_job_options(options),
    )


def _stored_folders(options: Mapping[str, Any], name: str) -> tuple[Path, ...]:
    folders = options.get(name, [])
    if not isinstance(folders, list):
        raise ValueError(f"{name} is not a list of folders")  # noqa: TRY004
    return tuple(path_from_json(folder) for folder in folders)


def _stored_time(options: Mapping[str, Any], name: str) -> datetime | None:
    """A time in the camera's local time, without a zone."""
    text = options.get(name)
    if text is None:
        return None
    time = datetime.fromisoformat(text) if isinstance(text, str) else None
    if time is None or time.tzinfo is not None:
        raise ValueError(f"{name} is not a time without a time zone")
    return time


def _photo_conditions(
    connection: Connection, backfill: Backfill, model_id: int, root_paths: RootPaths
) -> tuple[FromClause, list[ColumnElement[bool]]]:
    conditions = [*_scope_conditions(backfill.scope, model_id), *_time_conditions(backfill)]
    if backfill.under:
        ranges = path_ranges(connection, backfill.under, root_paths)
        conditions.append(or_(false(), *(range_.condition for range_ in ranges)))
    if backfill.landmark is not None:
        landmark = find_landmark(connection, backfill.landmark)
        tagged = select(effective_tags.c.content_id).where(
            effective_tags.c.landmark_id == landmark.id, effective_tags.c.accepted
        )
        conditions.append(photos.c.content_id.in_(tagged))
    if backfill.scope is BackfillScope.OUTDATED:
        return photos.join(contents, contents.c.id == photos.c.content_id), conditions
    if backfill.scope is BackfillScope.TAUGHT:
        # Changed landmarks are learned anew, and then compared with all photos.
        is_changed = bool(changed_landmarks(connection, model_id))
        conditions.append(embeddings.c.model_id == model_id if is_changed else outdated(model_id))
        return photos.join(embeddings, embeddings.c.content_id == photos.c.content_id), conditions
    return photos, conditions


def _scope_conditions(scope: BackfillScope, model_id: int) -> Iterator[ColumnElement[bool]]:
    match scope:
        case BackfillScope.UNTAGGED:
            yield UNTAGGED
        case BackfillScope.FAILED:
            yield photos.c.failure_kind.is_not(None)
        case BackfillScope.OUTDATED:
            yield PRESENT
            yield contents.c.model_id != model_id
        case BackfillScope.ALL | BackfillScope.TAUGHT:
            yield PRESENT


def _time_conditions(backfill: Backfill) -> Iterator[ColumnElement[bool]]:
    if backfill.taken_after is not None:
        yield photos.c.taken_at >= backfill.taken_after
    if backfill.taken_before is not None:
        yield photos.c.taken_at < backfill.taken_before
