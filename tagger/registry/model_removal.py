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
    embeddings,
    job_items,
    job_models,
    jobs,
    ledgers,
    models,
    photos,
    tags,
    taught_tags,
)
from tagger.errors import Conflict
from tagger.registry.registered_models import RegisteredModel, model_by_name
from tagger.tags.models_in_use import ids_in_use, shipped_digest
from tagger.tags.settlement import begin_change, settle

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


def remove_model(database: Database, name: str, *, dry_run: bool = False) -> RemovedModel:
    """Remove a registered model. Its file stays where it is.

    Raises:
        ModelNotFound: no model has that name.
        Conflict: it is in use, comes with the package, or a job that has not ended runs it.
    """
    model = model_by_name(database, name)
    with database.write() as connection:
        connection.execute(select(ledgers.c.models_settled_to).with_for_update())  # first, as `use_models`
        lock_tables(connection, models)
        job_ids = _removable_jobs(connection, model)
        removed = _counts(connection, model, len(job_ids))
        if not dry_run:
            _delete_jobs(connection, job_ids)
            _delete_results(connection, model)
            record_action(connection, AuditAction.MODEL_REMOVE, model.name, digest=model.digest)
    return removed


def _removable_jobs(connection: Connection, model: RegisteredModel) -> Sequence[int]:
    """The ended jobs that ran the model.

    Raises:
        Conflict: it cannot be removed.
    """
    if model.digest == shipped_digest():
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


def _delete_jobs(connection: Connection, job_ids: Sequence[int]) -> None:
    connection.execute(update(jobs).where(among(jobs.c.parent_id, job_ids)).values(parent_id=None))
    connection.execute(delete(job_items).where(among(job_items.c.job_id, job_ids)))
    connection.execute(delete(jobs).where(among(jobs.c.id, job_ids)))


def _delete_results(connection: Connection, model: RegisteredModel) -> None:
    """Delete the model with its results. An image is then classified by another model, if there is one."""
    of_model = (table.c.content_id for table in (classifications, tags, taught_tags, embeddings))
    queries = (select(column).where(column.table.c.model_id == model.id) for column in of_model)
    last = select(contents.c.id).where(contents.c.model_id == model.id)
    images = connection.scalars(union(last, *queries)).all()
    begin_change(connection, images)
    for table in (classifications, tags, taught_tags, embeddings, classifiers):
        connection.execute(delete(table).where(table.c.model_id == model.id))
    _restore_earlier(connection, model)
    settle(connection, images)
    connection.execute(delete(backend_selections).where(backend_selections.c.model_digest == model.digest))
    connection.execute(delete(models).where(models.c.id == model.id))


def _restore_earlier(connection: Connection, model: RegisteredModel) -> None:
    """Make an earlier classification the last one of images that the model classified last."""
    is_last = contents.c.model_id == model.id
    query = select(classifications).where(
        classifications.c.content_id.in_(select(contents.c.id).where(is_last))
    )
    earlier = {row.content_id: row for row in connection.execute(query)}
    for content_id, row in earlier.items():
        values = {"model_id": row.model_id, "top_k": row.top_k, "threshold": row.threshold}
        connection.execute(update(contents).where(contents.c.id == content_id).values(values))
        of_row = classifications.c.content_id == content_id, classifications.c.model_id == row.model_id
        connection.execute(delete(classifications).where(*of_row))
    of_alone = photos.c.content_id.in_(select(contents.c.id).where(is_last))
    unread = {"classified_mtime_ns": None, "classified_size_bytes": None}
    connection.execute(update(photos).where(of_alone).values(unread))
    nothing = dict.fromkeys(("model_id", "top_k", "threshold", "outcome", "classified_at"))
    connection.execute(update(contents).where(is_last).values(nothing))
