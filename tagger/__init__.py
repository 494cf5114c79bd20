"""Recognises landmarks in photos: scans, decodes, classifies and stores."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tagger.processes import protect_imports

if TYPE_CHECKING:
    from tagger.interface import (
        Failure,
        Job,
        Library,
        Photo,
        PhotoModel,
        Photos,
        Prediction,
        load_model,
        open,  # noqa: A004 - as gzip.open and others
    )

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

# Here, because no program may forget it: worker and trainer import this package before torch, too.
protect_imports()


def __getattr__(name: str) -> Any:
    # Import the Python interface when it is first used: commands need the half of it at most.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tagger.interface"), name)
