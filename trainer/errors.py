"""What can go wrong in training, evaluation and export, as people read it. The root is the tagger's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tagger.errors import TaggerError


class DataIncomplete(TaggerError):
    """The training data in {path} cannot be used: {reason}. Lay photos out as {path}/train/LABEL/photo.jpg, two labels or more."""


class LabelEmpty(TaggerError):
    """The label folder {path} has no photo that can be read. Put photos of the landmark there, or remove the folder."""


class ValidationImpossible(TaggerError):
    """No photo of {path} can be held out for validation: each label has one scene only. Add photos that differ, or lay out {path}/val/LABEL/photo.jpg."""


class LandmarksFileInvalid(TaggerError):
    """The landmarks file {path} cannot be used: {reason}. Correct it, or move it away: labels then name themselves."""


class WeightsUnsuitable(TaggerError):
    """The weights {path} cannot be used for the backbone {backbone}: {reason}. Give a safetensors file of that network's weights, by torchvision's names."""


class WeightsUnavailable(TaggerError):
    """The pretrained weights of {backbone} could not be fetched: {reason}. Connect to the network, or give a file with --weights."""


class RunUnusable(TaggerError):
    """The run folder {path} cannot be used: {reason}. Make a run with `trainer train`."""


class OutputUnwritable(TaggerError):
    """Nothing can be written to {path}: {reason}. Choose another place, or make room and give yourself permission to write there."""


class ExportDisagrees(TaggerError):
    """The exported model names another landmark than the training model on {count} of {total} validation photos, so {path} was not written. Export again with the versions of torch and torchvision the run was trained with: {versions}."""


class EvaluationImpossible(TaggerError):
    """The photos in {path} cannot be evaluated: {reason}. Lay them out as {path}/test/LABEL/photo.jpg or {path}/LABEL/photo.jpg, with the model's labels."""


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing to `path` into `OutputUnwritable`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputUnwritable(path=path, reason=reason) from error
