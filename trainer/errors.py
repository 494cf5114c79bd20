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


class BackboneUnknown(TaggerError):
    """There is no backbone {wanted}.{close} Name a classification network of torchvision, or one of timm's as timm/NAME."""


class TimmMissing(TaggerError):
    """The backbone {backbone} needs timm, which is not installed. Run: pip install 'landmark-tagger[timm]'."""


class SizeUnsuitable(TaggerError):
    """The backbone {backbone} cannot look at images of {size} x {size} pixels: {reason}. Choose another --size: its weights were learned on images of {learned_at}."""


class WeightsUnsuitable(TaggerError):
    """The weights {path} cannot be used for the backbone {backbone}: {reason}. Give a safetensors file of that network's weights, by torchvision's names (by timm's for timm/NAME)."""


class WeightsUnavailable(TaggerError):
    """The pretrained weights of {backbone} could not be fetched: {reason}. Connect to the network, or give a file with --weights."""


class TrainingDiverged(TaggerError):
    """Training failed in epoch {epoch}, at step {step}: the loss is not a number any more. Go on from the last epoch with --resume and, if it fails again, train anew with --learning-rate at a half or less."""


class DeviceMemoryExhausted(TaggerError):
    """The memory of the device ({device}) is too small for batches of {batch_size} photos. Train with --batch-size {smaller}, or with a smaller --size."""


class CheckpointUnusable(TaggerError):
    """The checkpoint {path} cannot be gone on from: {reason}. Train without --resume to begin anew."""


class PhotosGone(TaggerError):
    """{count} of the photos held out for validation could be read when training began and cannot be any more. Put them back and run the same command again with --resume."""


class TensorBoardMissing(TaggerError):
    """TensorBoard is not installed. Run: pip install 'landmark-tagger[tensorboard]', or leave out --tensorboard."""


class RunUnusable(TaggerError):
    """The run folder {path} cannot be used: {reason}. Make a run with `trainer train`."""


class NotARun(TaggerError):
    """{path} cannot be exported: {reason}. Name the folder that `trainer train` wrote."""


class RunUnfinished(TaggerError):
    """There is no finished run in {path} yet. Finish it: the same `trainer train` command again, with --resume."""


class ExportImpossible(TaggerError):
    """The model cannot be exported: TorchScript has no way to say what its network does ({reason}). Train with another --backbone."""


class ComparisonEmpty(TaggerError):
    """Not one of the backbones could be compared. The first: {reason}"""


class OutputUnwritable(TaggerError):
    """Nothing can be written to {path}: {reason}. Choose another place, or make room and give yourself permission to write there."""


class ExportDisagrees(TaggerError):
    """The exported model names another landmark than the training model on {count} of {total} validation photos, so {path} was not written. Export again with the versions of torch and torchvision the run was trained with: {versions}."""


class EvaluationImpossible(TaggerError):
    """The photos in {path} cannot be evaluated: {reason}. Lay them out as {path}/test/LABEL/photo.jpg or {path}/LABEL/photo.jpg, with the model's labels."""


class DatasetEmpty(TaggerError):
    """There is no photo to look at in {path}: {reason}. Lay photos out as {path}/LABEL/photo.jpg, or as {path}/train/LABEL/photo.jpg."""


class FolderNotEmpty(TaggerError):
    """There is something in {path} already, so nothing was written. Choose another --out, or move that folder away."""


class InsidePhotos(TaggerError):
    """{path} lies in the folder of photos {folder}, where nothing is ever written. Choose another --out."""


class LinkRefused(TaggerError):
    """The photo {photo} cannot be linked into {path}: {reason}. Leave out --link to copy the photos."""


class NoRoom(TaggerError):
    """There is not enough room for {path}: {needed} are needed there and {free} are free. Make room, or choose another --out."""


class DownloadFailed(TaggerError):
    """{url} cannot be fetched: {reason}. {remedy}"""


class ArchiveRefused(TaggerError):
    """What came from {url} is not used: {reason}. It was removed; run the same command again to fetch it anew, or name a sound copy with --url."""


class NothingJudged(TaggerError):
    """There is nothing to learn from in the database {url}: {reason}. Say what photos show with `tagger confirm PHOTO LANDMARK` and `tagger reject PHOTO LANDMARK`."""


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing to `path` into `OutputUnwritable`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputUnwritable(path=path, reason=reason) from error
