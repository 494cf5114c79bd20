"""Removing a model, with what it said of photos, and the jobs that ran it. Landmarks and verdicts stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, union, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import JobState
from tagger.database.statements import among, lock_tables
from tagger.database.tables import (
    backend_selections,
    classifications,
    classifiers,
    contents,
    effective_tags,
    job_items,
    job_models,
    jobs,
    ledgers,
    models,
    photos,
)
from tagger.errors import Conflict
from tagger.ledger.job_control import remove_items
from tagger.model.artifact import Manifest
from tagger.registry.registered_models import RegisteredModel, model_by_name
from tagger.tags.causes import delete_model_results
from tagger.tags.models_in_use import THINGS, ids_in_use, is_shipped_file
from tagger.tags.settlement import Progress
from tagger.things import delete_unused_things, record_things

_ENDED = (JobState.FINISHED, JobState.CANCELLED)


@dataclass(frozen=True)
class RemovedModel:
    """A removed model, and what went with it.

    `classified` counts the images that it has classified, `tagged` those with an accepted tag of it,
    `unclassified` those that no other model has classified, `taught` the landmarks that were taught with
    its embeddings.
    """

    model: RegisteredModel
    classified: int
    tagged: int
    unclassified: int
    taught: int
    jobs: int


def remove_model(
    database: Database,
    name: str,
    *,
    dry_run: bool = False,
    on_progress: Progress = lambda _done, _total: None,
) -> RemovedModel:
    """Remove a registered model, in transactions of a page: the next call continues an interrupted one.

    Its file stays where it is.

    Raises:
        ModelNotFound: no model has that name.
        Conflict: it is in use, comes with the package, or a job that has not ended runs it.
    """
    model = model_by_name(database, name)
    with database.read() as connection:
        job_ids = _removable_jobs(connection, model)
        removed = _counts(connection, model, len(job_ids))
    if dry_run:
        return removed
    for job_id in job_ids:
        remove_items(database, job_id)
    last = done = 0
    while True:
        with database.write() as connection:
            # Locked first, as by `use_models`.
            connection.execute(select(ledgers.c.models_settled_to).with_for_update())
            lock_tables(connection, models)
            job_ids = _removable_jobs(connection, model)
            page = delete_model_results(connection, model.id, last)
            if not page and not last:  # no job has stored any since, before the last page
                _delete_model(connection, model, job_ids)
                return removed
            _forget_readings(connection, page)
        last = page[-1] if page else 0
        done += len(page)
        on_progress(done, max(done, removed.classified))


def _removable_jobs(connection: Connection, model: RegisteredModel) -> Sequence[int]:
    """The ended jobs that ran the model.

    Raises:
        Conflict: it cannot be removed.
    """
    if is_shipped_file(model.file):
        raise _needed(model, "it comes with tagger. Put others in use instead.")
    if any(model.id in ids for ids in ids_in_use(connection)):
        raise _needed(model, "it is in use. Name those that stay in use: `tagger model use NAME…`.")
    further = select(job_models.c.job_id).where(job_models.c.model_id == model.id)
    rows = connection.execute(
        select(jobs.c.id, jobs.c.state).where(or_(jobs.c.model_id == model.id, jobs.c.id.in_(further)))
    ).all()
    if running := sorted(row.id for row in rows if row.state not in _ENDED):
        reason = f"job {running[0]} has not ended. Wait for it, or run: tagger job cancel {running[0]}"
        raise _needed(model, reason)
    return [row.id for row in rows]


def _needed(model: RegisteredModel, reason: str) -> Conflict:
    return Conflict(reason=f"The model {model.name} cannot be removed: {reason}")


def _counts(connection: Connection, model: RegisteredModel, job_count: int) -> RemovedModel:
    def count(query: Any) -> int:
        return connection.scalar(select(func.count()).select_from(query.subquery())) or 0

    accepted = select(effective_tags.c.content_id).where(
        effective_tags.c.model_id == model.id, effective_tags.c.accepted
    )
    last = select(contents.c.id).where(contents.c.model_id == model.id)
    earlier = select(classifications.c.content_id)
    classified = union(last, earlier.where(classifications.c.model_id == model.id))
    alone = last.where(contents.c.id.not_in(earlier))
    taught = select(classifiers.c.landmark_id).where(classifiers.c.model_id == model.id)
    images = count(classified), count(accepted.distinct()), count(alone)
    return RemovedModel(model, *images, count(taught), job_count)


def _forget_readings(connection: Connection, page: Sequence[int]) -> None:
    """Let the photos of images that no model has classified any more be read again."""
    unclassified = select(contents.c.id).where(among(contents.c.id, page), contents.c.model_id.is_(None))
    unread = {"classified_mtime_ns": None, "classified_size_bytes": None}
    connection.execute(update(photos).where(photos.c.content_id.in_(unclassified)).values(unread))


def _delete_model(connection: Connection, model: RegisteredModel, job_ids: Sequence[int]) -> None:
    """Delete what is left: the ended jobs, what was taught, and the model."""
    connection.execute(update(jobs).where(among(jobs.c.parent_id, job_ids)).values(parent_id=None))
    connection.execute(delete(job_items).where(among(job_items.c.job_id, job_ids)))
    connection.execute(delete(jobs).where(among(jobs.c.id, job_ids)))
    connection.execute(delete(classifiers).where(classifiers.c.model_id == model.id))
    connection.execute(delete(backend_selections).where(backend_selections.c.model_digest == model.digest))
    connection.execute(delete(models).where(models.c.id == model.id))
    if model.manifest.kind == THINGS:
        _update_things(connection)
    record_action(connection, AuditAction.MODEL_REMOVE, model.name, digest=model.digest)


def _update_things(connection: Connection) -> None:
    """Give things the names that the models that are left give them, and delete those that go."""
    of_things = select(models.c.id, models.c.manifest).where(models.c.kind == THINGS)
    for row in connection.execute(of_things.order_by(models.c.id)).all():
        record_things(connection, row.id, Manifest.model_validate(row.manifest).labels)
    delete_unused_things(connection)
