"""The registered models: which there are, which is in use, and whether a model's file is still the registered one.

Knows nothing of torch: it reads manifests and digests and runs nothing from a file. A model keeps its digest as its
identity for ever; its file may be moved, and the file that ships with the package is replaced by upgrades.
"""

import importlib.resources
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text, update

from tagger.artifact import Label, Manifest, file_digest, read_manifest
from tagger.database import Database
from tagger.errors import ModelChanged, ModelGone, ModelNameTaken, ModelNotFound, ModelRefused, NoModel
from tagger.landmarks import record_landmarks
from tagger.tables import model_labels, models


@dataclass(frozen=True)
class RegisteredModel:
    """One model of the registry. `in_use`: new jobs get it when they name none; `shipped`: it came with the package."""

    id: int
    name: str
    digest: str
    file: Path
    manifest: Manifest
    in_use: bool
    shipped: bool


def resolve_model(database: Database, wanted: str | None) -> RegisteredModel:
    """The model to run: by registered name, by a file that the operator named, or else the one in use.

    A file is registered by its digest if it is new, and not put in use.

    Raises:
        ModelNotFound: neither a registered name nor a file.
        ModelGone, ModelChanged, ModelRefused, NoModel: there is no file that could be run.
    """
    model = (_in_use(database) or _shipped(database)) if wanted is None else _named(database, wanted)
    if model is None:
        if not Path(str(wanted)).is_file():
            raise _not_found(database, str(wanted))
        model = add_model(database, Path(str(wanted)))
    verify(model)
    return model


def planned_model(database: Database | None, wanted: str | None) -> RegisteredModel:
    """The model that `resolve_model` would give, with nothing registered for it; the id of a new one is no one's.

    Raises:
        ModelNotFound, NoModel: there is none.
        ModelRefused: its file cannot be read.
    """
    known = [] if database is None else _select(database)
    for model in known:
        if model.in_use if wanted is None else model.name == wanted:
            return model
    if wanted in {None, _shipped_name()}:
        if not shipped_file().is_file():
            raise NoModel
        return unregistered(shipped_file())
    if not Path(str(wanted)).is_file():
        raise ModelNotFound(
            wanted=wanted, names=", ".join(model.name for model in known) or "none is registered"
        )
    return unregistered(Path(str(wanted)))


def add_model(database: Database, file: Path, name: str | None = None) -> RegisteredModel:
    """Register the model in `file`; known by digest already, it keeps its row and learns the new place and name.

    Raises:
        ModelRefused: the file cannot be read or has no sound manifest.
        ModelNameTaken: another model has `name`.
    """
    shipped = shipped_file()
    file = file.absolute()
    place = None if shipped.is_file() and file.resolve() == shipped.resolve() else _storable(file)
    digest, manifest = file_digest(file), read_manifest(file)
    return _with_id(database, _register(database, digest, manifest, place=place, name=name))


def unregistered(file: Path) -> RegisteredModel:
    """The model in a file that the operator named, to be run once and not registered; its id is no one's."""
    return RegisteredModel(
        0, file.stem, file_digest(file), file, read_manifest(file), in_use=False, shipped=False
    )


def use_model(database: Database, name: str) -> RegisteredModel:
    """Put a registered model in use, for jobs that name none.

    Using the one that ships with the package means following it: after an upgrade, what ships then is in use.

    Raises:
        ModelNotFound: no model has that name.
        ModelGone, ModelChanged: its file could not be run.
    """
    model = model_by_name(database, name)
    verify(model)
    with database.write() as connection:
        _alone(connection)
        connection.execute(update(models).where(models.c.in_use).values(in_use=False))
        if not model.shipped:
            connection.execute(update(models).where(models.c.id == model.id).values(in_use=True))
    return _with_id(database, model.id)


def list_models(database: Database) -> list[RegisteredModel]:
    """Every registered model, in the order of registration; the one that ships is registered if it was not yet."""
    if shipped_file().is_file():
        _shipped(database)
    return _select(database)


def model_by_id(database: Database, model_id: int) -> RegisteredModel:
    """The model a job pins. Its file is not looked at; see `verify`.

    Raises:
        ModelNotFound: no model has that id.
    """
    return _with_id(database, model_id)


def model_by_name(database: Database, name: str) -> RegisteredModel:
    """The model registered as `name`.

    Raises:
        ModelNotFound: no model has that name.
    """
    model = _named(database, name)
    if model is None:
        raise _not_found(database, name)
    return model


def model_by_digest(database: Database, digest: str) -> RegisteredModel | None:
    """The model with that digest, if it is registered."""
    found = _select(database, models.c.digest == digest)
    return found[0] if found else None


@dataclass(frozen=True)
class CheckedFile:
    """A model file that is whole and has a sound manifest."""

    file: Path
    digest: str
    manifest: Manifest


def check_file(file: Path) -> CheckedFile:
    """Read a model file to its last byte, and run nothing from it.

    Raises:
        ModelRefused: it cannot be read, is damaged, or has no sound manifest.
    """
    digest, manifest = file_digest(file), read_manifest(file)
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ModelRefused(path=file, reason=f"it is damaged at {damaged}")
    return CheckedFile(file, digest, manifest)


def verify(model: RegisteredModel) -> None:
    """Check that the model's file is there and is the one that was registered; nothing is run from it.

    Raises:
        ModelGone: the file is missing, or an upgrade of the package replaced it.
        ModelChanged: another file stands in its place.
        ModelRefused: it cannot be read.
    """
    if not model.file.is_file():
        raise ModelGone(name=model.name, reason=f"{model.file} is missing")
    if file_digest(model.file) == model.digest:
        return
    if model.shipped:
        raise ModelGone(name=model.name, reason="it came with an earlier version of tagger")
    raise ModelChanged(path=model.file, name=model.name)


def shipped_file() -> Path:
    """Where the model that ships with the package is, if this installation has one."""
    return Path(str(importlib.resources.files("tagger") / "shipped" / "landmarks.pt"))


def _named(database: Database, name: str) -> RegisteredModel | None:
    found = _select(database, models.c.name == name)
    if not found and name == _shipped_name():
        found = [_shipped(database)]
    return found[0] if found else None


def _in_use(database: Database) -> RegisteredModel | None:
    found = _select(database, models.c.in_use)
    return found[0] if found else None


def _shipped(database: Database) -> RegisteredModel:
    """The model that ships with this version of the package, registered on first use."""
    digest, file = _shipped_digest(), shipped_file()
    if digest is None:
        raise NoModel
    found = _select(database, models.c.digest == digest)
    if found:
        return found[0]
    return _with_id(database, _register(database, digest, read_manifest(file), place=None, name=None))


def _with_id(database: Database, model_id: int) -> RegisteredModel:
    found = _select(database, models.c.id == model_id)
    if not found:
        raise _not_found(database, f"number {model_id}")
    return found[0]


def _select(database: Database, *conditions: Any) -> list[RegisteredModel]:
    """Registered models; where none was put in use, the one that ships now is in use."""
    with database.read() as connection:
        rows = connection.execute(select(models).where(*conditions).order_by(models.c.id)).all()
        chosen = connection.scalar(select(models.c.digest).where(models.c.in_use).limit(1))
    ships = _shipped_digest()
    return [_model(row, used=chosen or ships, ships=ships) for row in rows]


def _model(row: Row[Any], *, used: str | None, ships: str | None) -> RegisteredModel:
    shipped = row.file is None or row.digest == ships
    return RegisteredModel(
        id=row.id,
        name=row.name,
        digest=row.digest,
        file=shipped_file() if shipped else Path(row.file),
        manifest=Manifest.model_validate(row.manifest),
        in_use=row.digest == used,
        shipped=shipped,
    )


def _not_found(database: Database, wanted: str) -> ModelNotFound:
    with database.read() as connection:
        names = connection.scalars(select(models.c.name).order_by(models.c.name)).all()
    return ModelNotFound(wanted=wanted, names=", ".join(names) or "none is registered")


def _shipped_digest() -> str | None:
    file = shipped_file()
    try:
        status = file.stat()
    except OSError:
        return None
    return _digest_of(file, status.st_size, status.st_mtime_ns)


def _shipped_name() -> str | None:
    return read_manifest(shipped_file()).name if shipped_file().is_file() else None


@lru_cache(maxsize=4)
def _digest_of(file: Path, _size_bytes: int, _mtime_ns: int) -> str:
    return file_digest(file)


def _storable(file: Path) -> str:
    try:
        str(file).encode()
    except UnicodeEncodeError as error:
        raise ModelRefused(
            path=file, reason="its path is not UTF-8, which the registry cannot keep"
        ) from error
    return str(file)


def _register(
    database: Database, digest: str, manifest: Manifest, *, place: str | None, name: str | None
) -> int:
    """One transaction that is alone with the registry, so that two processes end with one row; returns its id."""
    stored = _stored_manifest(manifest, place)
    with database.write() as connection:
        _alone(connection)
        known = connection.execute(select(models).where(models.c.digest == digest)).one_or_none()
        if known is not None:
            _learn(connection, known, place=place, name=name)
            return int(known.id)
        landmark_ids = record_landmarks(connection, manifest)
        row = {
            "digest": digest,
            "name": _free_name(connection, digest, manifest.name, name),
            "file": place,
            "manifest": stored,
            "registered_at": datetime.now(UTC),
            "in_use": False,
        }
        model_id = int(connection.execute(insert(models).values(row).returning(models.c.id)).scalar_one())
        connection.execute(insert(model_labels), _label_rows(model_id, manifest.labels, landmark_ids))
        return model_id


def _alone(connection: Connection) -> None:
    # SQLite's writer is alone already; readers of either database go on.
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE models IN SHARE ROW EXCLUSIVE MODE"))


def _stored_manifest(manifest: Manifest, place: str | None) -> dict[str, object]:
    """The manifest as JSON that every database takes: PostgreSQL has neither NaN nor the zero character."""
    dumped = manifest.model_dump(mode="json")
    try:
        sound = "\\u0000" not in json.dumps(dumped, allow_nan=False)
    except ValueError:
        sound = False
    if not sound:
        raise ModelRefused(
            path=place or shipped_file(), reason="its manifest has a value that no database can keep"
        )
    return dumped


def _learn(connection: Connection, known: Row[Any], *, place: str | None, name: str | None) -> None:
    """What a second registration of the same bytes brings: a new place, unless the old one still serves; a new name."""
    changes: dict[str, object] = {}
    if place is not None and place != known.file and not _serves(known):
        changes["file"] = place
    if name is not None and name != known.name:
        changes["name"] = _free_name(connection, known.digest, name, name)
    if changes:
        connection.execute(update(models).where(models.c.id == known.id).values(changes))


def _serves(known: Row[Any]) -> bool:
    if known.digest == _shipped_digest():
        return True
    return (
        known.file is not None
        and Path(known.file).is_file()
        and file_digest(Path(known.file)) == known.digest
    )


def _free_name(connection: Connection, digest: str, derived: str, wanted: str | None) -> str:
    name = wanted or derived
    taken = connection.scalar(
        select(func.count()).select_from(models).where(models.c.name == name, models.c.digest != digest)
    )
    if not taken:
        return name
    if wanted is not None:
        raise ModelNameTaken(name=wanted)
    return f"{name}-{digest[:8]}"


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
