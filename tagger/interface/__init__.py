"""The Python interface: a library of photos, its jobs, and models for single photos.

`import tagger` offers these names and imports this package only when one of them is used. What is public here is a promise:
docs/reference/python.md lists it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tagger.interface.jobs import Failure, Job
from tagger.interface.library import Library
from tagger.interface.photos import Photo, Photos
from tagger.jobs.processing.model_cache import PhotoModel, Prediction
from tagger.settings import load_settings

__all__ = ["Failure", "Job", "Library", "Photo", "PhotoModel", "Photos", "Prediction", "load_model", "open"]


def open(address: str | Path | None = None, **settings: Any) -> Library:  # noqa: A001 - as gzip.open and others
    """Open a library of photos.

    `address` is the URL of a database, or the path of an SQLite file, which is created if it does not exist; by default, it
    is that of the command line. Further `settings` are those of docs/reference/settings.md, in lower case and
    without `TAGGER_`: `tagger.open(device="cpu", top_k=3)`.

    Raises:
        SettingsInvalid: a setting has a wrong value.
        DatabaseUnavailable, SchemaOutdated, SchemaNewer: the database cannot be opened.
    """
    if address is not None:
        text = str(address)
        settings["database_url"] = (
            text if "://" in text else f"sqlite:///{Path(text).expanduser().absolute()}"
        )
    return Library(load_settings(**settings))


def load_model(model: str | Path | None = None, *, device: str = "auto") -> PhotoModel:
    """Load a model for single photos: the one in use, one that is registered, or that of a file, which is a program.

    Raises:
        ModelNotFound, ModelFileNotFound, ModelChanged, ModelRefused: there is no such model, or its file cannot be used.
    """
    with open(device=device, model=None if model is None else str(model)) as library:
        return library.load_model()
