"""Submission: a request, which says what to do with which photos and with which options, becomes a job.

Requests here classify photos: tagging, retries and backfills, which schedules make too. Commands and Python
call `submit`. The page and schedules call its steps: the page adds the photos in a thread, and schedules
record a job in one transaction with their run. To wake workers, see worker.producer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self

from pydantic import ConfigDict, Field, StrictBool, TypeAdapter
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
)

from tagger.database import (
    METADATA_KINDS,
    JobKind,
    JobState,
    Priority,
    Runner,
    Target,
)
from tagger.database.connection import AuditAction, Database, withdraw_action
from tagger.database.statements import current_time
from tagger.database.tables import (
    PRESENT,
    UNTAGGED,
    contents,
    embeddings,
    job_items,
    jobs,
    photos,
    positions,
)
from tagger.errors import JobNotRetriable, QueryOptionInvalid
from tagger.jobs.enqueue.scan import ProgressCallback, Scan
from tagger.jobs.enqueue.selection import (
    ScanReport,
    Selection,
    require_available_roots,
    select_paths,
)
from tagger.ledger import (
    PATHS,
    WRITE,
    InferenceOptions,
    NewJob,
    create_job,
    finish_scan,
    job_heartbeat,
    other_models,
)
from tagger.ledger.items import FailureFilter, failure_conditions
from tagger.ledger.job_control import find_job
from tagger.photos import LARGEST_ERROR_M
from tagger.photos.paths import path_from_json, path_to_json
from tagger.photos.source import require_writable
from tagger.query.filters import ResolvedQuery
from tagger.query.options import PhotoQuery, options_used_by
from tagger.registry import (
    RegisteredModel,
    model_by_id,
    models_to_teach,
    resolve_models,
    verify_model,
    with_embeddings,
)
from tagger.roots import RootPaths
from tagger.settings import Settings
from tagger.tags import is_classified_by
from tagger.tags.models_in_use import THINGS
from tagger.teaching.comparison import has_unapplied, outdated
from tagger.teaching.learning import changed_landmarks, embedding_of, learn_landmarks
from tagger.texts.names import LANGUAGE_PATTERN
from tagger.texts.text_format import N_


def inference_options(
    database: Database, settings: Settings, *, reprocess: bool = False
) -> InferenceOptions:
    """The options of new jobs: those of the settings, else the models in use, each with its own threshold.

    A threshold of the settings is one of landmarks.

    Raises:
        ModelNotFound, ModelNotSelected: there is no such model.
    """
    given = settings.threshold
    (first, threshold), *others = [
        (
            each.id,
            each.manifest.threshold
            if given is None or each.manifest.kind == THINGS
            else given,
        )
        for each in resolve_models(database, settings.model)
    ]
    return InferenceOptions(
        first,
        settings.top_k,
        threshold,
        reprocess=reprocess,
        other_models=tuple(others),
    )


# The default of the largest error of estimated positions: most programs show no error.
MAX_ERROR_M = 5000
# The key, in the options of an undo job, of the one job whose writes are undone.
UNDO_JOB = "undo_job"


# The kinds of values that are written.
KEYWORDS, PLACE, POSITION, DESCRIPTION = (
    N_("keywords"),
    N_("place"),
    N_("position"),
    N_("description"),
)

# What jobs and schedules of version 1 store; now nothing is written into buckets.
_FOR_BUCKETS = "embed_objects"


@dataclass(frozen=True)
class MetadataOptions:
    """`gps` also writes the landmark's position, `description` a text; both only into empty fields.
    `things` also writes keywords for what else a photo shows.

    `language`: of the names; None: that of the models. `max_error_m`: estimated positions with at most this
    error are written too; None: none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    to: Target
    gps: StrictBool = False
    description: StrictBool = False
    language: Annotated[str, Field(pattern=LANGUAGE_PATTERN)] | None = None
    max_error_m: Annotated[int, Field(strict=True, gt=0, le=LARGEST_ERROR_M)] | None = (
        None
    )
    things: StrictBool = False

    @property
    def fields(self) -> list[str]:
        """The kinds of values that are written, where a photo has tags, or a position to write."""
        has_position = self.gps or self.max_error_m is not None
        optional = ((POSITION, has_position), (DESCRIPTION, self.description))
        return [KEYWORDS, PLACE, *(name for name, is_written in optional if is_written)]

    def to_job_options(self) -> dict[str, object]:
        return {
            WRITE: {
                name: value for name, value in asdict(self).items() if value is not None
            }
        }

    @classmethod
    def from_job_options(cls, options: Mapping[str, Any]) -> Self | None:
        """The options that a job stores; None if it writes no metadata.

        Raises:
            ValueError: these are not options that a job stores.
        """
        written = options.get(WRITE)
        if written is None:
            return None
        if isinstance(written, Mapping):
            written = {
                name: value for name, value in written.items() if name != _FOR_BUCKETS
            }
        return TypeAdapter(cls).validate_python(written)


# A job records at most this many of its paths; it still tags the photos of all of them.
MOST_PATHS = 100


class JobRequest(Protocol):
    def check(self, database: Database, root_paths: RootPaths) -> None:
        """Check the request before anything is recorded.

        Raises:
            TaggerError: no job can do it.
        """

    def new_job(self, database: Database, settings: Settings) -> NewJob:
        """The row of its job, with the model and the options of the settings.

        Raises:
            TaggerError: there is no model for it.
        """

    def add_photos(self, scan: Scan) -> None:
        """Add the photos to the recorded job.

        Raises:
            ScanInterrupted: the job was cancelled meanwhile.
            TaggerError: the photos cannot be found any more.
        """


def submit(
    database: Database,
    settings: Settings,
    request: JobRequest,
    priority: Priority = Priority.BULK,
    on_progress: ProgressCallback = lambda _count: None,
    *,
    local: bool = False,
) -> tuple[int, ScanReport]:
    """Record a job with its photos, and queue it. Returns its number and the report of the scan.

    `on_progress` receives the number of photos found so far. `local`: this process runs it, not workers.

    Raises:
        TaggerError: as the methods of the request. The job is recorded before its photos, and others cancel
        it if this process ends.
    """
    new = prepare_job(database, settings, request, priority, local=local)
    job = create_job(database, new)
    return job, queue_job(
        request, Scan(database, job, new, settings.roots, on_progress)
    )


def prepare_job(
    database: Database,
    settings: Settings,
    request: JobRequest,
    priority: Priority,
    *,
    local: bool = False,
) -> NewJob:
    """Check a request; returns its job, which is not recorded yet.

    Raises:
        TaggerError: the request is not possible.
    """
    request.check(database, settings.roots)
    runner = Runner.LOCAL if local else Runner.WORKERS
    return replace(
        request.new_job(database, settings), runner=runner, priority=priority
    )


def queue_job(request: JobRequest, scan: Scan) -> ScanReport:
    """Add the photos of a recorded job, and queue it.

    Raises:
        TaggerError: as `JobRequest.add_photos`.
    """
    with job_heartbeat(scan.database, scan.job_id):
        request.add_photos(scan)
    report = scan.report
    finish_scan(
        scan.database,
        scan.job_id,
        report.note(is_tagging=scan.new.kind is JobKind.TAG),
        other_files=report.other_files.count,
        skipped_folders=report.skipped_folders,
    )
    return report


@dataclass(frozen=True)
class Tagging:
    """Classify photos; `reprocess`: also known ones; `write`: then write tags to their metadata."""

    selection: Selection
    reprocess: bool = False
    write: MetadataOptions | None = None

    def check(self, database: Database, root_paths: RootPaths) -> None:
        """Raises:
        ObjectUnsupported: tags would be written into a bucket.
        RootUnavailable: the disk of a folder is not mounted.
        """
        if self.write is not None:
            require_writable(self._paths)
        require_available_roots(database, self.selection, root_paths)

    def new_job(self, database: Database, settings: Settings) -> NewJob:
        inference = inference_options(database, settings, reprocess=self.reprocess)
        paths = [path_to_json(path) for path in self._paths[:MOST_PATHS]]
        options = {PATHS: paths, **(self.write.to_job_options() if self.write else {})}
        return NewJob(**vars(inference), kind=JobKind.TAG, options=options)

    def add_photos(self, scan: Scan) -> None:
        scan.run(self.selection)

    @property
    def _paths(self) -> tuple[Any, ...]:
        return (*self.selection.folders, *self.selection.files)


@dataclass(frozen=True)
class Retry:
    """Classify photos that fail now, those of one job with its model and its metadata options."""

    failures: FailureFilter

    def check(self, database: Database, root_paths: RootPaths) -> None:  # noqa: ARG002
        """Raises:
        JobNotFound, JobNotRetriable: there is no such job, or it classifies no photos.
        """
        job = self.failures.job_id
        if job is not None and find_job(database, job).kind in METADATA_KINDS:
            raise JobNotRetriable(job=job)

    def new_job(self, database: Database, settings: Settings) -> NewJob:
        if self.failures.job_id is None:
            return NewJob(
                **vars(inference_options(database, settings)), kind=JobKind.RETRY
            )
        with database.read() as connection:
            job = connection.execute(
                select(jobs).where(jobs.c.id == self.failures.job_id)
            ).one()
            others = other_models(connection, job.id)
        for model_id in (job.model_id, *dict(others)):
            verify_model(model_by_id(database, model_id))
        options = {name: value for name, value in job.options.items() if name == WRITE}
        return NewJob(
            job.model_id,
            job.top_k,
            job.threshold,
            other_models=others,
            kind=JobKind.RETRY,
            options=options,
            parent_id=job.id,
        )

    def add_photos(self, scan: Scan) -> None:
        scan.select(failure_conditions(self.failures))


class BackfillScope(StrEnum):
    """Which photos a backfill processes: failing ones, all, or those below.

    `untagged`: no model has classified the photo; of failing ones, those that are due for another try.
    `outdated`: other models have classified it, and one of the job's has not. `taught`: its embedding was not
    compared with what was taught since; such a job reads no photo.
    """

    UNTAGGED = "untagged"
    OUTDATED = "outdated"
    FAILED = "failed"
    ALL = "all"
    TAUGHT = "taught"


@dataclass(frozen=True)
class Backfill:
    """Process photos of the database that match the query (see submission).

    Photos without tags match, too, unless an option is about tags. `scan`: folders to scan first. `write`:
    the metadata to write once all photos are classified.
    """

    scope: BackfillScope
    query: PhotoQuery = field(default_factory=PhotoQuery)
    scan: tuple[Path, ...] = ()
    write: MetadataOptions | None = None

    def check(self, database: Database, root_paths: RootPaths) -> None:
        """Raises:
        PathNotFound, RootUnavailable: a folder to scan does not exist, or its disk is not mounted.
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, JobNotFound, TripNotFound, CameraNotFound: as
        `count_photos`.
        """
        require_available_roots(database, select_paths(self.scan), root_paths)
        with database.read() as connection:
            ResolvedQuery.resolve(connection, self.query, root_paths)

    def new_job(self, database: Database, settings: Settings) -> NewJob:
        """Raises:
        EmbeddingsMissing: it compares embeddings, and the model gives none.
        ModelNotFound, ModelNotSelected: there is no model.
        """
        inference = inference_options(
            database, settings, reprocess=self.scope is BackfillScope.ALL
        )
        if self.scope is BackfillScope.TAUGHT:
            model = _model_to_compare(
                database, resolve_models(database, settings.model)
            )
            embedding_of(model)
            inference = replace(inference, model_id=model.id, other_models=())
        options = {"what": self.scope, **backfill_options(self)}
        kind = (
            JobKind.COMPARE if self.scope is BackfillScope.TAUGHT else JobKind.BACKFILL
        )
        return NewJob(**vars(inference), kind=kind, options=options)

    def add_photos(self, scan: Scan) -> None:
        """Scan folders, then add the photos that match.

        Raises:
            ModelFileNotFound, ModelRefused: landmarks cannot be learned, because the model's file cannot be
            read.
        """
        scan.run(select_paths(self.scan))
        inference = scan.new
        if self.scope is BackfillScope.TAUGHT:
            learn_landmarks(
                scan.database, model_by_id(scan.database, inference.model_id)
            )
        with scan.database.read() as connection:
            source, conditions = _photo_conditions(
                connection, self, inference, scan.root_paths
            )
            of_scope = _scope_conditions(connection, self.scope, inference)
        for condition in of_scope:
            scan.select([condition, *conditions], source)


def _model_to_compare(
    database: Database, models: Sequence[RegisteredModel]
) -> RegisteredModel:
    # The first of these models with landmarks to compare, else the first with embeddings.
    taught = models_to_teach(models)
    with database.read() as connection:
        for model in models:
            changed = model in taught and changed_landmarks(connection, model.id)
            if changed or has_unapplied(connection, model.id):
                return model
    return with_embeddings(models)


# The most photos that an index may find if it is to be read for each page of a job.
MOST_NARROWED = 100_000


def count_photos(
    database: Database,
    backfill: Backfill,
    inference: InferenceOptions,
    root_paths: RootPaths,
) -> int:
    """The number of photos that match now, without a scan.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, JobNotFound, TripNotFound, CameraNotFound: a
        name is not in the database.
    """
    with database.read() as connection:
        source, conditions = _photo_conditions(
            connection, backfill, inference, root_paths
        )
        counts = (
            connection.scalar(
                select(func.count()).select_from(source).where(condition, *conditions)
            )
            for condition in _scope_conditions(connection, backfill.scope, inference)
        )
        return sum(count or 0 for count in counts)


def discard_empty_job(database: Database, job_id: int) -> bool:
    """Delete the job if it has ended without photos, and without a job chained to it."""
    child = jobs.alias()
    is_empty = (
        jobs.c.state == JobState.FINISHED,
        ~exists().where(job_items.c.job_id == job_id),
        ~exists().where(child.c.parent_id == job_id),
    )
    with database.write() as connection:
        is_gone = (
            connection.execute(
                delete(jobs).where(jobs.c.id == job_id, *is_empty)
            ).rowcount
            > 0
        )
        if is_gone:
            withdraw_action(connection, AuditAction.JOB_CREATE, job_id)
    return is_gone


_SCAN = "scan"


def backfill_options(backfill: Backfill) -> dict[str, Any]:
    options: dict[str, Any] = backfill.query.document
    if backfill.scan:
        options[_SCAN] = [path_to_json(folder) for folder in backfill.scan]
    return options | (backfill.write.to_job_options() if backfill.write else {})


def backfill_from_options(scope: str, options: Mapping[str, Any]) -> Backfill:
    """The backfill from which `backfill_options` made these options.

    Raises:
        ValueError: it made no such options.
    """
    conditions = {
        name: value for name, value in options.items() if name not in (_SCAN, WRITE)
    }
    if unknown := conditions.keys() - options_used_by("all").keys():
        raise ValueError(f"a backfill has no option {min(unknown)!r}")
    folders = options.get(_SCAN, [])
    if not isinstance(folders, list):
        raise ValueError(f"{_SCAN} is not a list of folders")  # noqa: TRY004 - as for other invalid values
    try:
        query = PhotoQuery.of_document(conditions)
    except QueryOptionInvalid as error:
        raise ValueError(str(error)) from None
    return Backfill(
        BackfillScope(scope),
        query,
        scan=tuple(path_from_json(folder) for folder in folders),
        write=MetadataOptions.from_job_options(options),
    )


def _photo_conditions(
    connection: Connection,
    backfill: Backfill,
    inference: InferenceOptions,
    root_paths: RootPaths,
) -> tuple[FromClause, list[ColumnElement[bool]]]:
    resolved = ResolvedQuery.resolve(
        connection, replace(backfill.query, any_outcome=True), root_paths
    )
    conditions = list(resolved.option_conditions())
    # If an index finds few photos for the query, not all photos are read in order of their ids.
    narrowest, is_small = resolved.narrowest(connection, MOST_NARROWED)
    conditions += [narrowest.among] if narrowest is not None and is_small else []
    # Databases leave out the joins of which no condition needs a column.
    source = photos.outerjoin(contents, contents.c.id == photos.c.content_id).outerjoin(
        positions, positions.c.photo_id == photos.c.id
    )
    if backfill.scope is BackfillScope.TAUGHT:
        # Changed landmarks are learned anew, and then compared with all photos.
        model_id = inference.model_id
        is_changed = bool(changed_landmarks(connection, model_id))
        conditions.append(
            embeddings.c.model_id == model_id if is_changed else outdated(model_id)
        )
        return source.join(
            embeddings, embeddings.c.content_id == photos.c.content_id
        ), conditions
    return source, conditions


def _scope_conditions(
    connection: Connection, scope: BackfillScope, inference: InferenceOptions
) -> Sequence[ColumnElement[bool]]:
    # The conditions of the photos, each of which an index serves. No photo meets two of them.
    match scope:
        case BackfillScope.UNTAGGED:
            is_due = photos.c.retry_at <= current_time(connection)
            return UNTAGGED, and_(photos.c.failure_kind.is_not(None), PRESENT, is_due)
        case BackfillScope.FAILED:
            return (and_(*failure_conditions(FailureFilter())),)
        case BackfillScope.OUTDATED:
            lacks_one = or_(
                *(~is_classified_by(model_id) for model_id in inference.thresholds)
            )
            return (and_(PRESENT, contents.c.model_id.is_not(None), lacks_one),)
        case BackfillScope.ALL | BackfillScope.TAUGHT:
            return (PRESENT,)
