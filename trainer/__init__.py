"""Makes the classifier that the tagger runs: data, recipes, evaluation, export. Here are its errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tagger.errors import TaggerError


class DataUnusable(TaggerError):
    """{path} cannot be used: {reason}. {remedy}."""


class BackboneUnusable(TaggerError):
    """The backbone {backbone} cannot be used: {reason}. {remedy}."""


class TrainingFailed(TaggerError):
    """Training failed: {reason}. {remedy}."""


class ExportImpossible(TaggerError):
    """The model cannot be exported: {reason}. {remedy}."""


class OutputUnwritable(TaggerError):
    """Cannot write to {path}: {reason}. Choose another location, free disk space, or fix the permissions."""


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Raise failures to write to `path` as `OutputUnwritable`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputUnwritable(path=path, reason=reason) from error
