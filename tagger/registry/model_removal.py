"""Removing a model, with what it said of photos, and the jobs that ran it. Landmarks and verdicts stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, or_, select, union, update

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
from tagger.ledger.job_control import remove_items
from tagger.registry.registered_models import RegisteredModel, model_by_name
from tagger.tags.contents import delete_of_model
from tagger.tags.models_in_use import ids_in_use, shipped_digest
from tagger.tags.settlement import PAGE, Progress, begin_change, settle

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
            page = _images_after(connection, model, last)
            if not page and not last:  # no job has stored any since, before the last page
                _delete_model(connection, model, job_ids)
                return removed
            _delete_results(connection, model, page)
        last = page[-1] if page else 0
        done += len(page)
        on_progress(done, max(done, removed.classified))


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


_RESULTS = (classifications, tags, taught_tags, embeddings)


def _images_after(connection: Connection, model: RegisteredModel, last: int) -> Sequence[int]:
    """The next images of which something of the model is stored."""
    columns = (contents.c.id, *(table.c.content_id for table in _RESULTS))
    pages = (
        select(column).where(column.table.c.model_id == model.id, column > last).order_by(column).limit(PAGE)
        for column in columns
    )
    (found,) = union(*(select(page.subquery()) for page in pages)).subquery().c
    return connection.scalars(select(found).order_by(found).limit(PAGE)).all()


def _delete_results(connection: Connection, model: RegisteredModel, page: Sequence[int]) -> None:
    """Delete the model's results. An image is then classified by the model before it, if there is one."""
    begin_change(connection, page)
    _restore_earlier(connection, model, page)
    for table in _RESULTS:
        delete_of_model(connection, table, page, model.id)
    settle(connection, page)


def _restore_earlier(connection: Connection, model: RegisteredModel, page: Sequence[int]) -> None:
    """Make the latest of the other classifications the last one of images that the model classified last."""
    is_last = among(contents.c.id, page) & (contents.c.model_id == model.id)
    of_others = classifications.c.model_id != model.id
    # Those before 2.1 have no time; the newest model is likely to be the last one.
    in_order = classifications.c.classified_at.nulls_first(), classifications.c.model_id
    query = select(classifications).where(
        classifications.c.content_id.in_(select(contents.c.id).where(is_last)), of_others
    )
    latest = {row.content_id: row for row in connection.execute(query.order_by(*in_order))}
    names = ("model_id", "top_k", "threshold", "classified_at")
    if latest:
        rows = [
            {"content": key} | {name: getattr(row, name) for name in names} for key, row in latest.items()
        ]
        connection.execute(update(contents).where(contents.c.id == bindparam("content")), rows)
        columns = {"content": classifications.c.content_id, "model": classifications.c.model_id}
        of_row = (column == bindparam(name) for name, column in columns.items())
        keys = [{"content": row["content"], "model": row["model_id"]} for row in rows]
        connection.execute(delete(classifications).where(*of_row), keys)
    of_alone = photos.c.content_id.in_(select(contents.c.id).where(is_last))
    unread = {"classified_mtime_ns": None, "classified_size_bytes": None}
    connection.execute(update(photos).where(of_alone).values(unread))
    connection.execute(update(contents).where(is_last).values(dict.fromkeys((*names, "outcome"))))


def _delete_model(connection: Connection, model: RegisteredModel, job_ids: Sequence[int]) -> None:
    """Delete what is left: the ended jobs, what was taught, and the model."""
    connection.execute(update(jobs).where(among(jobs.c.parent_id, job_ids)).values(parent_id=None))
    connection.execute(delete(job_items).where(among(job_items.c.job_id, job_ids)))
    connection.execute(delete(jobs).where(among(jobs.c.id, job_ids)))
    connection.execute(delete(classifiers).where(classifiers.c.model_id == model.id))
    connection.execute(delete(backend_selections).where(backend_selections.c.model_digest == model.digest))
    connection.execute(delete(models).where(models.c.id == model.id))
    record_action(connection, AuditAction.MODEL_REMOVE, model.name, digest=model.digest)
