"""The Python interface: a library of photos, its jobs, and models for single photos.

`import tagger` offers these names and imports this package only when one of them is used. What is public here
is a promise: docs/reference/python.md lists it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tagger.database.engine import address_for_reading, sqlite_file
from tagger.errors import NotFound
from tagger.interface.library import Library, PhotoModel, Prediction
from tagger.interface.results import Failure, Job, Photo, Photos
from tagger.photos.paths import named_path
from tagger.settings import Settings, load_settings

__all__ = [
    "Failure",
    "Job",
    "Library",
    "Photo",
    "PhotoModel",
    "Photos",
    "Prediction",
    "load_model",
    "open",
]


def open(  # noqa: A001 - as gzip.open and others
    address: str | Path | None = None, *, create: bool = False, **settings: Any
) -> Library:
    """Open a library of photos.

    `address` is the URL of a database, or the path of an SQLite file; by default, it is that of the command
    line, which is created when it is first used. `create`: create the file if it does not exist. Further
    `settings` are those of docs/reference/settings.md, in lower case and without `TAGGER_`:
    `tagger.open(device="cpu", top_k=3)`.

    Raises:
        NotFound: there is no file at `address`.
        SettingsInvalid: a setting has a wrong value.
        DatabaseUnavailable, SchemaOutdated: the database cannot be opened.
    """
    if address is not None:
        text = str(address)
        file_url = f"sqlite:///{quote(str(named_path(text).absolute()))}"
        settings["database_url"] = text if "://" in text else file_url
    loaded = _settings(**settings)
    file = sqlite_file(loaded.effective_database_url)
    if (
        settings.get("database_url") is not None
        and file is not None
        and not (create or file.exists())
    ):
        remedy = (
            "Check the name, or create a library there: tagger.open(..., create=True)."
        )
        raise NotFound(reason=f"There is no library at {file}. {remedy}")
    return Library(loaded)


def _settings(**settings: Any) -> Settings:
    if isinstance(settings.get("model"), str | Path):
        # `./NAME` is a file, and NAME is not.
        settings["model"] = os.path.expanduser(settings["model"])  # noqa: PTH111
    return load_settings(**settings)


def load_model(model: str | Path | None = None, *, device: str = "auto") -> PhotoModel:
    """Load a model for single photos: the one in use, a registered one, or a file, which is a program.

    Raises:
        ModelNotFound, ModelFileNotFound, ModelChanged, ModelRefused: there is none, or it cannot be used.
    """
    settings = _settings(device=device, model=model)
    address = address_for_reading(settings.effective_database_url)  # nothing is stored
    with Library(settings.model_copy(update={"database_url": address})) as library:
        return library.load_model()
