"""The registered models: which exist, which are in use, whether a file is unchanged; and their removal.

Knows nothing of torch: it reads manifests and digests, and runs no code from a file. A model's digest is its
identity; its file may move, and upgrades of the package replace the shipped one. The backend that one machine
selected for a model serves the others of its kind.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    cast,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from tagger.database.connection import AuditAction, Database, record_action
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
from tagger.errors import (
    ArgumentInvalid,
    Conflict,
    LandmarkInvalid,
    ModelNotFound,
    ModelNotSelected,
    ModelPathNotFound,
    TaggerError,
)
from tagger.ledger import OVER
from tagger.ledger.job_control import remove_items
from tagger.model.artifact import Manifest, check_program, file_digest, read_manifest
from tagger.model.backends import BackendName, SelectionKey
from tagger.photos.source import check_exists
from tagger.registry.registration import register
from tagger.settings import is_model_path
from tagger.tags import models_in_use
from tagger.tags.causes import delete_model_results
from tagger.tags.models_in_use import THINGS, ids_in_use, is_shipped_file
from tagger.tags.settlement import Progress, settle_models
from tagger.texts import document_of
from tagger.texts.names import clean_name
from tagger.things import delete_unused_things, record_things

# The stored file of an imported model, until `tagger model add` names its file on this machine.
UNNAMED = ""


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model. `in_use`: new jobs that name none run it. `shipped`: it came with the package.

    `use_order`: 1 for the first model in use, 2 for the next. `file` is empty if the model was imported and
    its file has not been named on this machine (see UNNAMED).
    """

    id: int
    name: str
    digest: str
    file: Path
    manifest: Manifest
    in_use: bool
    shipped: bool
    use_order: int | None = None
    is_taught: bool = False

    @property
    def file_text(self) -> str:
        return UNNAMED if self.file == Path(UNNAMED) else str(self.file)


def resolve_models(
    database: Database, selector: str | None
) -> Sequence[RegisteredModel]:
    """The models to run: by registered name, by the path of a file, or (None) those in use, in their order.

    A file is registered if its digest is new, and not put in use. Of several in use, some may have no file.
    In a new library, the shipped ones are put in use.

    Raises:
        ModelNotFound: neither a registered name nor a file.
        ModelFileNotFound, ModelChanged, ModelRefused, ModelNotSelected: there is no file to run.
    """
    selected: Sequence[RegisteredModel]
    if selector is None:
        _register_used(database)
        selected = _in_use(database)
    elif (registered := _by_name(database, selector)) is not None:
        selected = [registered]
    elif _is_file(selector):
        selected = [add_model(database, Path(selector))]
    else:
        raise _not_found(database, selector)
    return _with_file(selected)


def _register_used(database: Database) -> None:
    # Register the shipped models in use; if none was put in use, put those in use that are.
    used = database.rows(select(models.c.file, models.c.kind).where(models.c.in_use))
    for row in used:
        if row.file is None:
            _shipped(database, row.kind)
    if used:
        return
    with database.read() as connection:
        is_new = not ids_in_use(connection)
    kinds = (
        models_in_use.kinds_of_new_libraries() if is_new else [models_in_use.LANDMARKS]
    )
    shipped_models = [_shipped(database, kind) for kind in kinds]
    with database.write() as connection:
        _put_in_use(connection, shipped_models)


def _with_file(candidates: Sequence[RegisteredModel]) -> Sequence[RegisteredModel]:
    # These models, if the file of one can be run.
    for model in candidates:
        try:
            verify_model(model)
        except TaggerError:
            if model is candidates[-1]:
                raise
        else:
            break
    return candidates


def embedding_model(database: Database, selector: str | None) -> RegisteredModel:
    """The model whose embeddings are taught and compared, as `with_embeddings` of `resolve_models`.

    Raises:
        ModelNotFound, ModelFileNotFound, ModelChanged, ModelRefused, ModelNotSelected: as `resolve_models`.
    """
    return with_embeddings(resolve_models(database, selector))


def with_embeddings(candidates: Sequence[RegisteredModel]) -> RegisteredModel:
    """Of these models, the first of `models_to_teach`, else the first."""
    return (models_to_teach(candidates) or candidates)[0]


def models_to_teach(candidates: Sequence[RegisteredModel]) -> Sequence[RegisteredModel]:
    """Of these models, those that verdicts teach: all that are taught, else the first with embeddings."""
    embedding_models = [
        model for model in candidates if model.manifest.embedding is not None
    ]
    return [model for model in embedding_models if model.is_taught] or embedding_models[
        :1
    ]


def preview_models(
    database: Database | None, selector: str | None
) -> Sequence[RegisteredModel]:
    """The models that `resolve_models` would return, without registering them. The id of a new one is 0.

    Raises:
        ModelNotFound, ModelNotSelected: there is none.
        ModelRefused: a file cannot be read.
    """
    if selector is None:
        in_use = [] if database is None else _in_use(database)
        return in_use or [
            _preview_shipped(kind) for kind in models_in_use.kinds_of_new_libraries()
        ]
    if (
        database is not None
        and (registered := _registered(database, selector)) is not None
    ):
        return [registered]
    if (kind := _shipped_kind(selector)) is not None:
        return [_preview_shipped(kind)]
    if not _is_file(selector):
        raise _not_found(database, selector)
    model = unregistered_model(Path(selector))
    known = None if database is None else model_by_digest(database, model.digest)
    return [model if known is None else replace(known, file=model.file)]


def _preview_shipped(kind: str) -> RegisteredModel:
    file = models_in_use.shipped_file(kind)
    if not file.is_file():
        raise ModelNotSelected
    return unregistered_model(file)


def add_model(
    database: Database, file: Path, name: str | None = None
) -> RegisteredModel:
    """Register the model in `file`. A model with the same digest keeps its row, with the new path and name.

    Raises:
        ModelRefused: the file cannot be read or has no valid manifest.
        AlreadyExists: another model has `name`.
        ArgumentInvalid: as `clean_model_name`.
    """
    name = None if name is None else clean_model_name(name)
    file = file.absolute()
    is_shipped = any(
        file.resolve() == models_in_use.shipped_file(kind).resolve()
        for kind in models_in_use.KINDS
    )
    digest, manifest = file_digest(file), read_manifest(file)
    model_id = register(
        database,
        digest,
        manifest,
        file=None if is_shipped else file,
        name=name,
    )
    return model_by_id(database, model_id)


def clean_model_name(name: str) -> str:
    """The name of a model, which has the limits of a landmark's, and is no path of a file.

    Raises:
        ArgumentInvalid: it is too long, no text in one line, or a path.
    """
    if is_model_path(name):
        reason = "name: with a slash, or .pt at the end, it would be that of a file."
        raise ArgumentInvalid(argument=repr(name[:20]), reason=reason)
    try:
        return clean_name(name)
    except LandmarkInvalid as error:
        raise ArgumentInvalid(
            argument=repr(name[:20]), reason=error.values["reason"]
        ) from error


def models_to_try(
    database: Database, selector: str | None
) -> Sequence[RegisteredModel]:
    """The models that `resolve_models` returns, for single photos: nothing is registered or written.

    Of things, only one that is named: predictions are landmarks.

    Raises:
        ModelNotFound, ModelFileNotFound, ModelChanged, ModelRefused, ModelNotSelected: as `resolve_models`.
    """
    selected = preview_models(database, selector)
    return _with_file(models_of_landmarks(selected) or selected)


def models_of_landmarks(candidates: Iterable[RegisteredModel]) -> list[RegisteredModel]:
    return [
        model for model in candidates if model.manifest.kind == models_in_use.LANDMARKS
    ]


def unregistered_model(file: Path) -> RegisteredModel:
    """The model in a file, to be run once without registering it. Its id is 0."""
    digest, manifest = file_digest(file), read_manifest(file)
    return RegisteredModel(
        0, manifest.name, digest, file, manifest, in_use=False, shipped=False
    )


def models_by_name(
    database: Database, names: Iterable[str]
) -> Sequence[RegisteredModel]:
    """The models with these names, each once. Their files are checked.

    Raises:
        ModelNotFound: no model has one of the names.
        ModelFileNotFound, ModelChanged: a file cannot be run.
    """
    named_models = [model_by_name(database, name) for name in dict.fromkeys(names)]
    for model in named_models:
        verify_model(model)
    return named_models


def use_models(
    database: Database,
    names: Sequence[str],
    on_progress: Progress = lambda _done, _total: None,
) -> Sequence[RegisteredModel]:
    """Put these registered models in use in place of all others, those of landmarks first, and settle images.

    Using the shipped model follows upgrades: the shipped model of a newer package is then in use. If it is
    interrupted, the next call settles the rest.

    Raises:
        ModelNotFound, ModelFileNotFound, ModelChanged: as `models_by_name`.
    """
    new_models = models_by_name(database, names)
    chosen = sorted(new_models, key=lambda model: model.manifest.kind == THINGS)
    with database.write() as connection:
        # First, as `settle_models`.
        connection.execute(select(ledgers.c.models_settled_to).with_for_update())
        lock_tables(connection, models, mode="EXCLUSIVE")
        before = models_in_use.ids_in_use(connection, [models_in_use.LANDMARKS])
        connection.execute(
            update(models).where(models.c.in_use).values(in_use=False, use_order=None)
        )
        _put_in_use(connection, chosen)
        for model in chosen:
            record_action(
                connection, AuditAction.MODEL_USE, model.name, digest=model.digest
            )
        if models_in_use.ids_in_use(connection, [models_in_use.LANDMARKS]) != before:
            connection.execute(update(ledgers).values(models_settled_to=0))
    settle_models(database, on_progress)
    return [model_by_id(database, model.id) for model in chosen]


def _put_in_use(connection: Connection, chosen: Sequence[RegisteredModel]) -> None:
    for number, model in enumerate(chosen, 1):
        connection.execute(
            update(models)
            .where(models.c.id == model.id)
            .values(in_use=True, use_order=number)
        )


def list_models(database: Database) -> list[RegisteredModel]:
    """Every registered model, in order of registration, and shipped ones, which a job will register."""
    registered_models = _select(database)
    known = {model.digest for model in registered_models}
    for kind in models_in_use.KINDS:
        shipped = models_in_use.shipped_digest(kind)
        if shipped is not None and shipped not in known:
            digests = [model.digest for model in preview_models(database, None)]
            order = digests.index(shipped) + 1 if shipped in digests else None
            new = unregistered_model(models_in_use.shipped_file(kind))
            registered_models.append(
                replace(
                    new,
                    shipped=True,
                    in_use=order is not None,
                    use_order=order,
                )
            )
    return registered_models


def model_by_id(database: Database, model_id: int) -> RegisteredModel:
    """The model with that id. Its file is not checked; see `verify_model`.

    Raises:
        ModelNotFound: no model has that id.
    """
    if (model := _first(database, models.c.id == model_id)) is None:
        raise _not_found(database, f"number {model_id}")
    return model


def model_by_name(database: Database, name: str) -> RegisteredModel:
    """The model with that name.

    Raises:
        ModelNotFound: no model has that name.
    """
    if (model := _by_name(database, name)) is None:
        raise _not_found(database, name)
    return model


def model_by_digest(database: Database, digest: str) -> RegisteredModel | None:
    return _first(database, models.c.digest == digest)


def check_model_file(file: Path) -> RegisteredModel:
    """Check the digest, the manifest and all that torch would read, without running anything from it.

    Raises:
        PathNotFound: there is no such file.
        ModelRefused: it cannot be read, is damaged, has no valid manifest, or does what no classifier needs.
    """
    check_exists(file)
    model = unregistered_model(file)
    check_program(file)
    return model


def verify_model(model: RegisteredModel) -> None:
    """Check the model's file, as `models_in_use.verify_file`. Nothing from it is run."""
    models_in_use.verify_file(model.name, model.file, model.digest)


def _by_name(database: Database, name: str) -> RegisteredModel | None:
    model = _registered(database, name)
    if model is None and (kind := _shipped_kind(name)) is not None:
        return _shipped(database, kind)
    return model


def _registered(database: Database, name: str) -> RegisteredModel | None:
    # The registered model with this name: of a shipped one, that of this package.
    model = _first(database, models.c.name == name)
    kind = _shipped_kind(name)
    if kind is None or (model is not None and not model.shipped):
        return model
    # A model of an earlier package may have the name, and its file is gone.
    digest = models_in_use.shipped_digest(kind)
    return None if digest is None else model_by_digest(database, digest)


def _shipped_kind(name: str) -> str | None:
    # The kind of the shipped model with this name; None: there is none.
    for kind in models_in_use.KINDS:
        if models_in_use.shipped_name(kind) == name:
            return kind
    return None


def _is_file(selector: str) -> bool:
    return is_model_path(selector) and Path(selector).is_file()


def _shipped(
    database: Database, kind: str = models_in_use.LANDMARKS
) -> RegisteredModel:
    # The shipped model of this version, registered on first use.
    digest = models_in_use.shipped_digest(kind)
    if digest is None:
        raise ModelNotSelected
    model = model_by_digest(database, digest)
    if model is not None:
        return model
    manifest = read_manifest(models_in_use.shipped_file(kind))
    return model_by_id(
        database, register(database, digest, manifest, file=None, name=None)
    )


def _first(
    database: Database, condition: ColumnElement[bool]
) -> RegisteredModel | None:
    rows = _select(database, condition)
    return rows[0] if rows else None


def _in_use(database: Database) -> list[RegisteredModel]:
    with database.read() as connection:
        first = [ids[0] for ids in models_in_use.ids_in_use(connection)]
    model_of = {model.id: model for model in _select(database, models.c.id.in_(first))}
    in_use = []
    for model_id in first:
        model = model_of[model_id]
        shipped = models_in_use.shipped_file(model.manifest.kind)
        if model.in_use:
            in_use.append(model)
        elif shipped.is_file():  # it replaces the one of an earlier package
            in_use.append(unregistered_model(shipped))
    return in_use


def _select(database: Database, *conditions: Any) -> list[RegisteredModel]:
    with database.read() as connection:
        columns = (column for column in models.c if column is not models.c.manifest)
        is_taught = (
            exists().where(classifiers.c.model_id == models.c.id).label("is_taught")
        )
        query: Select[Any] = select(
            *columns,
            is_taught,
            cast(models.c.manifest, Text).label("manifest"),
        )
        rows = connection.execute(query.where(*conditions).order_by(models.c.id)).all()
        ids_in_order = models_in_use.ids_in_use(connection)
    orders = {ids[0]: number for number, ids in enumerate(ids_in_order, 1)}
    registered_models = []
    for row in rows:
        shipped = models_in_use.shipped_digest(row.kind)
        is_shipped = row.file is None or row.digest == shipped
        is_of_earlier_package = row.file is None and row.digest != shipped
        use_order = None if is_of_earlier_package else orders.get(row.id)
        model = document_of(
            RegisteredModel,
            row,
            file=models_in_use.shipped_file(row.kind) if is_shipped else Path(row.file),
            manifest=_parsed(row.manifest),
            in_use=use_order is not None,
            use_order=use_order,
            shipped=is_shipped,
        )
        registered_models.append(model)
    return registered_models


@lru_cache(maxsize=8)
def _parsed(manifest: str) -> Manifest:
    # Parse a stored manifest, which takes most of a second for a hundred thousand labels.
    return Manifest.model_validate_json(manifest)


def _not_found(database: Database | None, name: str) -> ModelNotFound:
    in_order = select(models.c.name).order_by(models.c.name)
    names = [] if database is None else [row.name for row in database.rows(in_order)]
    is_missing = is_model_path(name) and not Path(name).is_file()
    kind = ModelPathNotFound if is_missing else ModelNotFound
    return kind(name=name, names=", ".join(names) or "none")


log = logging.getLogger(__name__)


class StoredSelections:
    """The selections in a database (see `SelectionStore`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: SelectionKey) -> BackendName | None:
        return self._database.scalar(
            select(backend_selections.c.backend).where(
                backend_selections.c.key == str(key)
            )
        )

    def store(self, key: SelectionKey, choice: BackendName) -> None:
        """Store the choice. An error of the database is logged: it only makes the next start slower."""
        row = {
            "key": str(key),
            "model_digest": key.model,
            "device": key.device,
            "hardware": key.hardware,
            "engines": list(key.engines),
            "backend": choice,
            "batch_size": key.batch_size,
            "selected_at": datetime.now(UTC),
            "selected_by": socket.gethostname(),
        }
        try:
            with self._database.write() as connection:
                connection.execute(
                    delete(backend_selections).where(
                        backend_selections.c.key == str(key)
                    )
                )
                connection.execute(insert(backend_selections).values(row))
        except SQLAlchemyError as error:
            log.info("the selected backend could not be stored: %s", error)


# Removing a model, with what it said of photos, and the jobs that ran it. Landmarks and verdicts
# stay.


def remove_model(
    database: Database,
    name: str,
    *,
    dry_run: bool = False,
    on_progress: Progress = lambda _done, _total: None,
) -> dict[str, int]:
    """Remove a registered model, in transactions of a page: the next call continues an interrupted one.

    Its file stays where it is. Returns what went with it: the images that it has `classified`, those with an
    accepted tag of it (`tagged`), those that no other model has classified (`unclassified`), the landmarks
    `taught` with its embeddings, and its `jobs`.

    Raises:
        ModelNotFound: no model has that name.
        Conflict: it is in use, comes with the package, or a job that has not ended runs it.
    """
    model = model_by_name(database, name)
    with database.read() as connection:
        job_ids = _removable_jobs(connection, model)
        removed = {**_counts(connection, model), "jobs": len(job_ids)}
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
            if (
                not page and not last
            ):  # no job has stored any since, before the last page
                _delete_model(connection, model, job_ids)
                return removed
            # Let the photos of images that no model has classified any more be read again.
            unclassified = select(contents.c.id).where(
                among(contents.c.id, page), contents.c.model_id.is_(None)
            )
            connection.execute(
                update(photos)
                .where(photos.c.content_id.in_(unclassified))
                .values(classified_mtime_ns=None, classified_size_bytes=None)
            )
        last = page[-1] if page else 0
        done += len(page)
        on_progress(done, max(done, removed["classified"]))


def _removable_jobs(connection: Connection, model: RegisteredModel) -> Sequence[int]:
    # The ended jobs that ran the model.
    #
    # Raises:
    #     Conflict: it cannot be removed.
    if is_shipped_file(model.file):
        raise _needed(model, "it comes with tagger. Put others in use instead.")
    if any(model.id in ids for ids in ids_in_use(connection)):
        raise _needed(
            model,
            "it is in use. Name those that stay in use: `tagger model use NAME…`.",
        )
    further = select(job_models.c.job_id).where(job_models.c.model_id == model.id)
    rows = connection.execute(
        select(jobs.c.id, jobs.c.state).where(
            or_(jobs.c.model_id == model.id, jobs.c.id.in_(further))
        )
    ).all()
    if running := sorted(row.id for row in rows if row.state not in OVER):
        reason = f"job {running[0]} has not ended. Wait for it, or run: tagger job cancel {running[0]}"
        raise _needed(model, reason)
    return [row.id for row in rows]


def _needed(model: RegisteredModel, reason: str) -> Conflict:
    return Conflict(reason=f"The model {model.name} cannot be removed: {reason}")


def _counts(connection: Connection, model: RegisteredModel) -> dict[str, int]:
    def count(query: Any) -> int:
        return (
            connection.scalar(select(func.count()).select_from(query.subquery())) or 0
        )

    accepted = select(effective_tags.c.content_id).where(
        effective_tags.c.model_id == model.id, effective_tags.c.accepted
    )
    last = select(contents.c.id).where(contents.c.model_id == model.id)
    earlier = select(classifications.c.content_id)
    classified = union(
        last,
        earlier.where(classifications.c.model_id == model.id),
    )
    alone = last.where(contents.c.id.not_in(earlier))
    taught = select(classifiers.c.landmark_id).where(classifiers.c.model_id == model.id)
    return {
        "classified": count(classified),
        "tagged": count(accepted.distinct()),
        "unclassified": count(alone),
        "taught": count(taught),
    }


def _delete_model(
    connection: Connection, model: RegisteredModel, job_ids: Sequence[int]
) -> None:
    # Delete what is left: the ended jobs, what was taught, and the model.
    connection.execute(
        update(jobs).where(among(jobs.c.parent_id, job_ids)).values(parent_id=None)
    )
    connection.execute(delete(job_items).where(among(job_items.c.job_id, job_ids)))
    connection.execute(delete(jobs).where(among(jobs.c.id, job_ids)))
    before = connection.scalar(select(ledgers.c.last_removed_job)) or 0
    last_removed_job = max(job_ids, default=0)
    if last_removed_job > before:
        connection.execute(update(ledgers).values(last_removed_job=last_removed_job))
    connection.execute(delete(classifiers).where(classifiers.c.model_id == model.id))
    connection.execute(
        delete(backend_selections).where(
            backend_selections.c.model_digest.contains(model.digest)
        )
    )
    connection.execute(delete(models).where(models.c.id == model.id))
    if model.manifest.kind == THINGS:
        # Give things the names that the models that are left give them, and delete those that go.
        of_things = select(models.c.id, models.c.manifest).where(
            models.c.kind == THINGS
        )
        for row in connection.execute(of_things.order_by(models.c.id)).all():
            record_things(
                connection,
                row.id,
                Manifest.model_validate(row.manifest).labels,
            )
        delete_unused_things(connection)
    record_action(connection, AuditAction.MODEL_REMOVE, model.name, digest=model.digest)
