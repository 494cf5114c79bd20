"""The errors of the trainer, with the messages that users read. Their root is the tagger's `TaggerError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tagger.errors import TaggerError


class DataUnusable(TaggerError):
    """The photos in {path} cannot be used: {reason}. {remedy}."""


class LandmarksFileInvalid(TaggerError):
    """The landmarks file {path} cannot be used: {reason}. Correct it, or remove it to name landmarks after their labels."""


class DataFileInvalid(TaggerError):
    """The file {path} cannot be used: {reason}. {remedy}."""


class BackboneUnknown(TaggerError):
    """There is no backbone {name}.{close} Use a classification network of torchvision, or one of timm as timm/NAME."""


class SizeUnsuitable(TaggerError):
    """The backbone {backbone} does not accept images of {size} x {size} pixels: {reason}. Choose another --size; its weights were trained on images of {training_size}."""


class WeightsUnsuitable(TaggerError):
    """The weights {path} cannot be used for the backbone {backbone}: {reason}. Use a safetensors file with this network's weights under torchvision's names (timm's for timm/NAME), or name the network of the weights with --backbone."""


class WeightsUnavailable(TaggerError):
    """The pretrained weights of {backbone} could not be downloaded: {reason}. Connect to the network, or pass a file with --weights."""


class TrainingFailed(TaggerError):
    """Training failed: {reason}. {remedy}."""


class CheckpointUnusable(TaggerError):
    """The checkpoint {path} cannot be resumed: {reason}. Train without --resume to start over."""


class RunUnusable(TaggerError):
    """The run folder {path} cannot be used: {reason}. Name one that `trainer train` wrote."""


class ExportImpossible(TaggerError):
    """The model cannot be exported: {reason}. {remedy}."""


class OutputUnwritable(TaggerError):
    """Cannot write to {path}: {reason}. Choose another location, free disk space, or fix the permissions."""


class DownloadFailed(TaggerError):
    """{url} cannot be downloaded: {reason}. {remedy}."""


class NoVerdicts(TaggerError):
    """The database {url} has nothing to train on: {reason}. Give verdicts with `tagger confirm LANDMARK PHOTO` and `tagger reject LANDMARK PHOTO`."""


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Raise failures to write to `path` as `OutputUnwritable`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputUnwritable(path=path, reason=reason) from error
