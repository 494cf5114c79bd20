"""Registration of a model file: one transaction that stores the model, its labels and its landmarks."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, text, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.tables import model_labels, models
from tagger.errors import ModelNameTaken, ModelRefused
from tagger.library.catalog import shipped_model
from tagger.library.catalog.model_landmarks import record_landmarks
from tagger.model.artifact import Label, Manifest, file_digest, read_manifest


def register_file(database: Database, file: Path, name: str | None = None) -> int:
    """Register the model in `file`, and return its id. A model with the same digest keeps its row.

    Raises:
        ModelRefused: the file cannot be read, or its manifest or path cannot be stored.
        ModelNameTaken: another model has `name`.
    """
    shipped = shipped_model.shipped_file()
    file = file.absolute()
    is_shipped = shipped.is_file() and file.resolve() == shipped.resolve()
    digest, manifest = file_digest(file), read_manifest(file)
    return register(database, digest, manifest, path=None if is_shipped else _path_text(file), name=name)


def register(
    database: Database, digest: str, manifest: Manifest, *, path: str | None, name: str | None
) -> int:
    """Register a model, and return its id. `path` is None for the shipped model.

    The transaction locks the registry, so that two processes that register the same model end with one row.
    """
    document = _manifest_document(manifest, path)
    with database.write() as connection:
        lock_registry(connection)
        existing = connection.execute(select(models).where(models.c.digest == digest)).one_or_none()
        if existing is not None:
            _update_existing(connection, existing, path=path, name=name)
            if existing.manifest != document:
                _replace_manifest(connection, int(existing.id), manifest, document)
            return int(existing.id)
        landmark_ids = record_landmarks(connection, manifest)
        row: dict[str, Any] = {
            "digest": digest,
            "name": _free_name(connection, digest, manifest.name, name),
            "file": path,
            "manifest": document,
            "registered_at": datetime.now(UTC),
            "in_use": False,
        }
        model_id = int(connection.execute(insert(models).values(row).returning(models.c.id)).scalar_one())
        connection.execute(insert(model_labels), _label_rows(model_id, manifest.labels, landmark_ids))
        if path is not None:  # any command registers the shipped model when it needs it
            record_action(connection, AuditAction.MODEL_ADD, row["name"], digest=digest, file=path)
        return model_id


def lock_registry(connection: Connection) -> None:
    """Lock the registry for other writers until the transaction ends. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE models IN SHARE ROW EXCLUSIVE MODE"))


def _path_text(file: Path) -> str:
    try:
        str(file).encode()
    except UnicodeEncodeError as error:
        raise ModelRefused(
            path=file, reason="its path is not UTF-8, which the registry cannot store"
        ) from error
    return str(file)


def _manifest_document(manifest: Manifest, path: str | None) -> dict[str, object]:
    """The manifest as JSON for either database: PostgreSQL stores neither NaN nor the null character."""
    document = manifest.model_dump(mode="json")
    try:
        storable = "\\u0000" not in json.dumps(document, allow_nan=False)
    except ValueError:
        storable = False
    if not storable:
        raise ModelRefused(
            path=path or shipped_model.shipped_file(),
            reason="its manifest has a value that no database can store",
        )
    return document


def _update_existing(
    connection: Connection, existing: Row[Any], *, path: str | None, name: str | None
) -> None:
    """Update a model that is registered again: its name, and its path unless the old file is still the model."""
    changes: dict[str, object] = {}
    if path is not None and path != existing.file and not _file_is_current(existing):
        changes["file"] = path
    if name is not None and name != existing.name:
        changes["name"] = _free_name(connection, existing.digest, name, name)
    if changes:
        connection.execute(update(models).where(models.c.id == existing.id).values(changes))
        subject = changes.get("name", existing.name)
        record_action(
            connection, AuditAction.MODEL_ADD, subject, digest=existing.digest, file=changes.get("file")
        )


def _replace_manifest(
    connection: Connection, model_id: int, manifest: Manifest, document: dict[str, object]
) -> None:
    """Store the manifest of the file itself: the stored one was imported, or written by an older version."""
    landmark_ids = record_landmarks(connection, manifest)
    connection.execute(update(models).where(models.c.id == model_id).values(manifest=document))
    connection.execute(delete(model_labels).where(model_labels.c.model_id == model_id))
    connection.execute(insert(model_labels), _label_rows(model_id, manifest.labels, landmark_ids))


def _file_is_current(existing: Row[Any]) -> bool:
    if existing.digest == shipped_model.shipped_digest():
        return True
    return (
        existing.file is not None
        and Path(existing.file).is_file()
        and file_digest(Path(existing.file)) == existing.digest
    )


def _free_name(connection: Connection, digest: str, default: str, name: str | None) -> str:
    candidate = name or default
    count = connection.scalar(
        select(func.count()).select_from(models).where(models.c.name == candidate, models.c.digest != digest)
    )
    if not count:
        return candidate
    if name is not None:
        raise ModelNameTaken(name=name)
    return f"{candidate}-{digest[:8]}"


def _label_rows(
    model_id: int, labels: Sequence[Label], landmark_ids: dict[str, int]
) -> list[dict[str, object]]:
    return [
        {
            "model_id": model_id,
            "position": position,
            "label": label.label,
            "landmark_id": landmark_ids[label.slug],
        }
        for position, label in enumerate(labels)
    ]
