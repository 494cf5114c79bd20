"""Which models are in use, whether their files are there, and the model file that the package ships.

Importing it needs no numpy.
"""

import importlib.resources
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import Any

from blake3 import blake3
from sqlalchemy import Connection, Row, select

from tagger.database.connection import Database
from tagger.database.tables import models
from tagger.errors import ModelChanged, ModelFileNotFound, ModelRefused, TaggerError

# What models name. The package has a file of each kind.
LANDMARKS, THINGS = KINDS = ("landmarks", "things")


def ids_in_use(
    connection: Connection, kinds: Collection[str] = KINDS
) -> Sequence[Sequence[int]]:
    """The ids of the models in use, in their order; empty in a new library.

    If none was put in use, the shipped one of landmarks is, as in libraries from before 3.0.
    After a shipped model come those of earlier packages, the newest first, which it replaces: on an image
    that it has not classified yet, their results count.
    """
    rows = connection.execute(_MODELS)
    registered = sorted(rows, key=lambda row: (row.use_order or 0, row.id))
    current = {kind: shipped_digest(kind) for kind in KINDS}
    of_packages: dict[str, list[Row[Any]]] = {kind: [] for kind in KINDS}
    for row in sorted(
        registered, key=lambda row: (row.digest != current[row.kind], -row.id)
    ):
        if row.file is None or row.digest == current[row.kind]:
            of_packages[row.kind].append(row)
    in_use = [row for row in registered if row.in_use] or of_packages[LANDMARKS][:1]
    return [
        [each.id for each in of_packages[row.kind]]
        if row in of_packages[row.kind]
        else [row.id]
        for row in in_use
        if row.kind in kinds
    ]


# Built once: it runs for each batch of photos, and to build it takes longer than to run it.
_MODELS = select(
    *(
        models.c[name]
        for name in ("id", "name", "kind", "digest", "file", "in_use", "use_order")
    )
)


def names_in_use(database: Database) -> Sequence[str]:
    with database.read() as connection:
        names = [row.name for row in _in_use(connection)]
    return names or [
        name for kind in kinds_of_new_libraries() if (name := shipped_name(kind))
    ]


def kinds_of_new_libraries() -> Sequence[str]:
    """Of each, the shipped model is put in use with the first job. An installation may lack things."""
    return KINDS if shipped_file(THINGS).is_file() else [LANDMARKS]


def use_command(names: Iterable[str]) -> str:
    return f"tagger model use {' '.join(map(quote, names))}"


def things_are_on(connection: Connection) -> bool:
    """In use, or will be with the first job."""
    return bool(ids_in_use(connection, [THINGS])) or not ids_in_use(connection)


def things_off_text(connection: Connection) -> str:
    """That no model of things is in use, and what puts one in use; empty: one is."""
    things = None if things_are_on(connection) else shipped_name(THINGS)
    if things is None:
        return ""
    command = use_command([*(row.name for row in _in_use(connection)), things])
    return f"Things are off; to turn them on, run: {command}, then: tagger backfill outdated"


def problems_in_use(database: Database) -> Iterator[str]:
    with database.read() as connection:
        rows = _in_use(connection)
    for row in rows:
        try:
            verify_file(
                row.name,
                shipped_file(row.kind) if row.file is None else Path(row.file),
                row.digest,
            )
        except TaggerError as error:
            yield str(error)


def _in_use(connection: Connection) -> Sequence[Row[Any]]:
    rows = {row.id: row for row in connection.execute(_MODELS)}
    return [rows[ids[0]] for ids in ids_in_use(connection)]


def verify_file(name: str, file: Path, digest: str) -> None:
    """Check that the file of a model exists and has the registered digest. An empty path: none was named.

    Raises:
        ModelFileNotFound: the file is missing, or an upgrade of the package replaced it.
        ModelChanged: the file has another digest.
        ModelRefused: it cannot be read.
    """
    if file == Path():
        raise ModelFileNotFound(
            name=name, reason="it was imported, and its file was never named here"
        )
    if not file.is_file():
        raise ModelFileNotFound(name=name, reason=f"{file} is missing")
    try:
        if _digest_now(file) == digest:
            return
    except OSError as error:
        raise ModelRefused(
            path=file,
            reason=(error.strerror or str(error)).lower(),
        ) from error
    if is_shipped_file(file):
        raise ModelFileNotFound(
            name=name, reason="it came with an earlier version of tagger"
        )
    raise ModelChanged(path=file, name=name)


def shipped_file(kind: str = LANDMARKS) -> Path:
    return Path(str(importlib.resources.files("tagger") / "shipped" / f"{kind}.pt"))


def is_shipped_file(file: Path) -> bool:
    return file in map(shipped_file, KINDS)


def shipped_name(kind: str = LANDMARKS) -> str | None:
    from tagger.model.artifact import read_manifest

    return (
        read_manifest(shipped_file(kind)).name if shipped_file(kind).is_file() else None
    )


def shipped_digest(kind: str = LANDMARKS) -> str | None:
    try:
        return _digest_now(shipped_file(kind))
    except OSError:
        return None


def _digest_now(file: Path) -> str:
    status = file.stat()
    return _digest(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _digest(file: Path, _size_bytes: int, _mtime_ns: int) -> str:
    return blake3(file.read_bytes()).hexdigest()
