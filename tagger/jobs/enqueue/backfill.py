"""Backfills: jobs over photos that are in the database. Schedules make such jobs too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

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

from tagger.database.audit_log import AuditAction, withdraw_action
from tagger.database.connection import Database
from tagger.database.enums import JobKind, JobState
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
from tagger.errors import QueryOptionInvalid
from tagger.jobs.enqueue.scan import Scan, require_available_roots, select_paths
from tagger.jobs.enqueue.submission import MetadataOptions, inference_options
from tagger.ledger.jobs import WRITE, InferenceOptions, NewJob
from tagger.photos.paths import path_from_json, path_to_json
from tagger.query.filters import ResolvedQuery
from tagger.query.options import PhotoQuery, options_used_by
from tagger.registry.registered_models import (
    RegisteredModel,
    model_by_id,
    models_to_teach,
    resolve_models,
    with_embeddings,
)
from tagger.roots.roots import RootPaths
from tagger.settings import Settings
from tagger.tags.contents import is_classified_by
from tagger.teaching.comparison import has_unapplied, outdated
from tagger.teaching.learning import changed_landmarks, embedding_of, learn_landmarks


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
        inference = inference_options(database, settings, reprocess=self.scope is BackfillScope.ALL)
        if self.scope is BackfillScope.TAUGHT:
            model = _model_to_compare(database, resolve_models(database, settings.model))
            embedding_of(model)
            inference = replace(inference, model_id=model.id, other_models=())
        options = {"what": self.scope, **backfill_options(self)}
        kind = JobKind.COMPARE if self.scope is BackfillScope.TAUGHT else JobKind.BACKFILL
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
            learn_landmarks(scan.database, model_by_id(scan.database, inference.model_id))
        with scan.database.read() as connection:
            source, conditions = _photo_conditions(connection, self, inference, scan.root_paths)
            of_scope = _scope_conditions(connection, self.scope, inference)
        for condition in of_scope:
            scan.select([condition, *conditions], source)


def _model_to_compare(database: Database, models: Sequence[RegisteredModel]) -> RegisteredModel:
    """The first of these models with landmarks to compare, else the first with embeddings."""
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
    database: Database, backfill: Backfill, inference: InferenceOptions, root_paths: RootPaths
) -> int:
    """The number of photos that match now, without a scan.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, JobNotFound, TripNotFound, CameraNotFound: a
        name is not in the database.
    """
    with database.read() as connection:
        source, conditions = _photo_conditions(connection, backfill, inference, root_paths)
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
            connection.execute(delete(jobs).where(jobs.c.id == job_id, *is_empty)).rowcount > 0
        )
        if is_gone:
            withdraw_action(connection, AuditAction.JOB_CREATE, job_id)
    return is_gone


_SCAN = "scan"


def backfill_options(backfill: Backfill) -> dict[str, Any]:
    """The backfill as JSON, without its scope."""
    options: dict[str, Any] = backfill.query.document
    if backfill.scan:
        options[_SCAN] = [path_to_json(folder) for folder in backfill.scan]
    return options | (backfill.write.to_job_options() if backfill.write else {})


def backfill_from_options(scope: str, options: Mapping[str, Any]) -> Backfill:
    """The backfill from which `backfill_options` made these options.

    Raises:
        ValueError: it made no such options.
    """
    conditions = {name: value for name, value in options.items() if name not in (_SCAN, WRITE)}
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
    connection: Connection, backfill: Backfill, inference: InferenceOptions, root_paths: RootPaths
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
        conditions.append(embeddings.c.model_id == model_id if is_changed else outdated(model_id))
        return source.join(embeddings, embeddings.c.content_id == photos.c.content_id), conditions
    return source, conditions


def _scope_conditions(
    connection: Connection, scope: BackfillScope, inference: InferenceOptions
) -> Sequence[ColumnElement[bool]]:
    """The conditions of the photos, each of which an index serves. No photo meets two of them."""
    match scope:
        case BackfillScope.UNTAGGED:
            is_due = photos.c.retry_at <= current_time(connection)
            return UNTAGGED, and_(photos.c.failure_kind.is_not(None), PRESENT, is_due)
        case BackfillScope.FAILED:
            return (photos.c.failure_kind.is_not(None),)
        case BackfillScope.OUTDATED:
            lacks_one = or_(*(~is_classified_by(model_id) for model_id in inference.thresholds))
            return (and_(PRESENT, contents.c.model_id.is_not(None), lacks_one),)
        case BackfillScope.ALL | BackfillScope.TAUGHT:
            return (PRESENT,)
