"""Records flushes, renames and commits of a process: what a power cut leaves follows from them."""

import importlib
import json
import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any


def record(file: Path) -> None:
    """Append one line of JSON for each flush, rename and commit of this process to `file`, from now on."""
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(**event: object) -> None:
        os.write(out, json.dumps(event).encode() + b"\n")

    os.fsync = _recording_flushes(os.fsync, write)
    os.replace = _recording_renames(os.replace, write)
    os.rename = _recording_renames(os.rename, write)
    sqlalchemy = importlib.import_module("sqlalchemy")
    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", lambda connection: _commit(connection, write))


def _recording_flushes(fsync: Callable[[Any], None], write: Callable[..., None]) -> Any:
    def recorded(file: Any) -> None:
        fsync(file)
        write(flush=_identity(Path(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")))

    return recorded


def _recording_renames(rename: Callable[..., None], write: Callable[..., None]) -> Any:
    def recorded(src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        source = _path(src, src_dir_fd)
        identity, folder = _identity(source), _identity(_path(dst, dst_dir_fd).parent)
        rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        write(rename=identity, folder=folder, name=os.fsdecode(dst))

    return recorded


def _path(name: Any, folder: int | None) -> Path:
    return Path(os.fsdecode(name)) if folder is None else Path(f"/proc/self/fd/{folder}", os.fsdecode(name))


def _identity(path: Path) -> list[object]:
    data = path.read_bytes() if path.is_file() else b""
    return [path.stat().st_ino, blake2b(data, digest_size=16).hexdigest()]


def _commit(connection: Any, write: Callable[..., None]) -> None:
    """Record the commit that follows, and how SQLite flushes it: 2 is FULL."""
    is_sqlite = connection.dialect.name == "sqlite"
    write(commit=connection.exec_driver_sql("PRAGMA synchronous").scalar() if is_sqlite else None)
