"""The model file that ships with the package. Upgrades of the package replace it."""

import importlib.resources
from functools import lru_cache
from pathlib import Path

from tagger.model.artifact import file_digest, read_manifest


def shipped_file() -> Path:
    """The path of the shipped model. An installation may lack the file."""
    return Path(str(importlib.resources.files("tagger") / "shipped" / "landmarks.pt"))


def shipped_digest() -> str | None:
    """The digest of the shipped model; None without one."""
    file = shipped_file()
    try:
        status = file.stat()
    except OSError:
        return None
    return _digest(file, status.st_size, status.st_mtime_ns)


def shipped_name() -> str | None:
    """The name of the shipped model; None without one."""
    return read_manifest(shipped_file()).name if shipped_file().is_file() else None


@lru_cache(maxsize=4)
def _digest(file: Path, _size_bytes: int, _mtime_ns: int) -> str:
    return file_digest(file)
