"""Which models are in use, and the model file that the package ships, which upgrades of the package replace.

Reads neither manifests nor models, so it needs no numpy.
"""

import importlib.resources
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from blake3 import blake3
from sqlalchemy import Connection, select

from tagger.database.connection import Database
from tagger.database.tables import models


def ids_in_use(connection: Connection) -> Sequence[Sequence[int]]:
    """The ids of the models in use, in their order. If none was put in use, the shipped one is.

    After the shipped model come those of earlier packages, the newest first, which it replaces: on an image that it has not classified
    yet, their results count.
    """
    rows = connection.execute(_MODELS)
    registered = sorted(rows, key=lambda row: (row.use_order or 0, row.id))
    current = shipped_digest()
    of_packages = [row for row in registered if row.file is None or row.digest == current]
    shipped = [row.id for row in sorted(of_packages, key=lambda row: (row.digest != current, -row.id))]
    in_use = [shipped if row in of_packages else [row.id] for row in registered if row.in_use]
    return in_use or ([shipped] if shipped else [])


# Built once: it runs for each batch of photos, and to build it takes longer than to run it.
_MODELS = select(models.c.id, models.c.digest, models.c.file, models.c.in_use, models.c.use_order)


def names_in_use(database: Database) -> Sequence[str]:
    """The names of the models in use, in their order; empty without any."""
    with database.read() as connection:
        rows = connection.execute(select(models.c.id, models.c.name))
        names = {row.id: row.name for row in rows}
        found = [names[ids[0]] for ids in ids_in_use(connection)]
    return found or ([shipped_file().stem] if shipped_file().is_file() else [])


def shipped_file() -> Path:
    """The path of the shipped model. An installation may lack the file."""
    return Path(str(importlib.resources.files("tagger") / "shipped" / "landmarks.pt"))


def shipped_digest() -> str | None:
    """The digest of the shipped model, that of artifact.file_digest; None without one."""
    file = shipped_file()
    try:
        status = file.stat()
        return _digest(file, status.st_size, status.st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=4)
def _digest(file: Path, _size_bytes: int, _mtime_ns: int) -> str:
    return blake3(file.read_bytes()).hexdigest()
