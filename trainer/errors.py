"""The errors of the trainer, with the messages that users read. Their root is the tagger's `TaggerError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tagger.errors import TaggerError


class DataIncomplete(TaggerError):
    """The training data in {path} cannot be used: {reason}. Lay out photos as {path}/train/LABEL/photo.jpg, with at least two labels."""


class LabelEmpty(TaggerError):
    """The label folder {path} has no readable photo. Add photos of the landmark, or remove the folder."""


class ValidationImpossible(TaggerError):
    """No photo of {path} can be held out for validation, because each label shows a single scene. Add photos of other scenes, or put validation photos in {path}/val/LABEL/photo.jpg."""


class LandmarksFileInvalid(TaggerError):
    """The landmarks file {path} cannot be used: {reason}. Correct it, or remove it to name landmarks after their labels."""


class PhotoListInvalid(TaggerError):
    """The list of photos {path} cannot be used: {reason}. It is a CSV file with the columns photo and {column}."""


class BackboneUnknown(TaggerError):
    """There is no backbone {name}.{close} Use a classification network of torchvision, or one of timm as timm/NAME."""


class SizeUnsuitable(TaggerError):
    """The backbone {backbone} does not accept images of {size} x {size} pixels: {reason}. Choose another --size; its weights were trained on images of {training_size}."""


class WeightsUnsuitable(TaggerError):
    """The weights {path} cannot be used for the backbone {backbone}: {reason}. Use a safetensors file with this network's weights under torchvision's names (timm's for timm/NAME), or name the network of the weights with --backbone."""


class WeightsUnavailable(TaggerError):
    """The pretrained weights of {backbone} could not be downloaded: {reason}. Connect to the network, or pass a file with --weights."""


class TrainingDiverged(TaggerError):
    """Training failed in epoch {epoch}, at step {step}: the loss is not a finite number. Continue from the last epoch with --resume. If training fails again, start over with half the --learning-rate."""


class DeviceMemoryExhausted(TaggerError):
    """The memory of the device ({device}) is too small for batches of {batch_size} photos. Train with --batch-size {smaller}, or with a smaller --size."""


class CheckpointUnusable(TaggerError):
    """The checkpoint {path} cannot be resumed: {reason}. Train without --resume to start over."""


class ValidationPhotosMissing(TaggerError):
    """{count} of the validation photos were readable when training started and no longer are. Restore them and run the same command again with --resume."""


class RunUnusable(TaggerError):
    """The run folder {path} cannot be used: {reason}. Name one that `trainer train` wrote."""


class RunUnfinished(TaggerError):
    """The run in {path} is not finished. To finish it, repeat its `trainer train` command with --resume."""


class ExportImpossible(TaggerError):
    """The model cannot be exported, because TorchScript or the tagger does not support its network ({reason}). Train with another --backbone."""


class ComparisonEmpty(TaggerError):
    """None of the backbones could be compared. The first failure: {reason}"""


class OutputUnwritable(TaggerError):
    """Cannot write to {path}: {reason}. Choose another location, free disk space, or fix the permissions."""


class ExportDisagrees(TaggerError):
    """The exported model and the training model predict different landmarks on {count} of {total} validation photos, so {path} was not written. Export again with the versions of torch and torchvision that trained the run: {versions}."""


class EvaluationImpossible(TaggerError):
    """The photos in {path} cannot be evaluated: {reason}. Lay out photos as {path}/test/LABEL/photo.jpg or {path}/LABEL/photo.jpg, with the labels of the model."""


class DatasetEmpty(TaggerError):
    """There are no photos to read in {path}: {reason}. Lay out photos as {path}/LABEL/photo.jpg, or as {path}/train/LABEL/photo.jpg."""


class FolderNotEmpty(TaggerError):
    """The folder {path} is not empty, so nothing was written. Choose another --out, or move that folder away."""


class OutputInsidePhotos(TaggerError):
    """{path} is inside the photo folder {folder}, which is never written to. Choose another --out."""


class ObjectNotCopied(TaggerError):
    """The photo {photo} cannot be copied from its bucket: {reason} Nothing was written; run this again."""


class NotEnoughSpace(TaggerError):
    """There is not enough disk space for {path}: {needed} needed, {free} free. Free some space, or choose another --out."""


class DownloadFailed(TaggerError):
    """{url} cannot be downloaded: {reason}. {remedy}"""


class ArchiveRefused(TaggerError):
    """The archive from {url} was refused: {reason}. It was removed. Run the same command again to download it again, or name another copy with --url."""


class PublishedFileInvalid(TaggerError):
    """The file {path} of Google Landmarks v2 cannot be used: {reason}. Download it again."""


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
