"""Compare backbones on the user's photos: accuracy, size and speed, with a recommendation.

Each backbone stays frozen and gets a linear layer on its features, which is cheap and predicts how well it can be fine-tuned.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch
from blake3 import blake3
from pydantic import BaseModel, ConfigDict, ValidationError

from tagger.model.artifact import file_digest, read_manifest
from tagger.model.devices import Device, choose_device
from tagger.model.model import Model, load_model
from tagger.photos.decoding import Pixels
from trainer.backbones.loading import require_backbone
from trainer.data.folders import find_ordinary_photos, photo_paths, read_training_folder
from trainer.data.pixels import decode_batches
from trainer.errors import (
    ComparisonEmpty,
    ExportDisagrees,
    ExportImpossible,
    SizeUnsuitable,
    WeightsUnavailable,
    WeightsUnsuitable,
    writing_to,
)
from trainer.evaluation.metrics import Interval, wilson_interval
from trainer.export.artifact import export_run
from trainer.export.run import FinishedRun, program_versions
from trainer.progress import photo_progress
from trainer.recipes.options import PIXELS, PRECISION, TransferOptions
from trainer.recipes.transfer import HEAD_EPOCHS, train_transfer

TRIAL = "trial.json"
MODEL = "model.pt"
BATCH_SIZE = 32
SEED = 0
BACKBONE_ERRORS = (ExportDisagrees, ExportImpossible, SizeUnsuitable, WeightsUnavailable, WeightsUnsuitable)
"""Errors of a single backbone. The comparison continues with the others."""
TIMED_PHOTOS = 64
ROUNDS = 5

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class ComparisonOptions:
    """What to compare; `weights` maps backbones to weights files."""

    data: Path
    unknown: Path | None
    out: Path
    backbones: tuple[str, ...]
    weights: dict[str, Path]
    size: int
    device: str

    def folder_of(self, backbone: str) -> Path:
        """The run folder of a backbone."""
        return self.out / backbone.replace("/", "-")

    def model_of(self, backbone: str) -> Path:
        """The exported model of a backbone."""
        return self.folder_of(backbone) / MODEL


class Trial(BaseModel):
    """Results of one backbone; `fingerprint` is a digest of everything they depend on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    weights: str
    features: int
    parameters: int
    size_bytes: int
    photos: int
    top1: float
    top3: float
    validation_photos: tuple[str, ...]

    @property
    def top1_interval(self) -> Interval:
        return wilson_interval(self.top1, self.photos)

    @property
    def top3_interval(self) -> Interval:
        return wilson_interval(self.top3, self.photos)


@dataclass(frozen=True)
class Speed:
    """Photos per second, as the median over rounds: for forward passes alone, and including reading and decoding."""

    model: float
    with_decoding: float


@dataclass(frozen=True)
class Recommendation:
    """The recommended backbone, and a sentence with the reason."""

    backbone: str
    sentence: str


@dataclass(frozen=True)
class ComparisonRow:
    """One backbone: its results and speed, or the reason why it was not compared."""

    backbone: str
    trial: Trial | None
    speed: Speed | None
    reason: str | None = None


@dataclass(frozen=True)
class Comparison:
    """All requested backbones in their order, and the recommendation."""

    options: ComparisonOptions
    device: Device
    rows: tuple[ComparisonRow, ...]
    recommendation: Recommendation


def compare_backbones(options: ComparisonOptions) -> Comparison:
    """Train, export and measure every backbone. Results of an earlier call are reused, apart from the speed.

    Raises:
        BackboneUnknown, TimmMissing: before any work, as are errors in the photo folders.
        ComparisonEmpty: every backbone failed.
    """
    _check(options)
    results = {backbone: _try_trial(backbone, options) for backbone in options.backbones}
    trials = {name: result for name, result in results.items() if isinstance(result, Trial)}
    if not trials:
        raise ComparisonEmpty(reason=next(iter(results.values())))
    device = choose_device(options.device, None)
    photos = next(iter(trials.values())).validation_photos  # the same for all backbones
    speeds = measure_speeds({name: options.model_of(name) for name in trials}, photos, device)
    rows = tuple(
        ComparisonRow(name, result, speeds[name])
        if isinstance(result, Trial)
        else ComparisonRow(name, None, None, result)
        for name, result in results.items()
    )
    return Comparison(options, device, rows, recommend(trials, speeds))


def _check(options: ComparisonOptions) -> None:
    for backbone in options.backbones:
        require_backbone(backbone)
    read_training_folder(options.data)
    if options.unknown:
        find_ordinary_photos(options.unknown)
    with writing_to(options.out):
        options.out.mkdir(parents=True, exist_ok=True)


def _try_trial(backbone: str, options: ComparisonOptions) -> Trial | str:
    """The backbone's results, or the reason why it is not compared."""
    try:
        return run_trial(backbone, options)
    except BACKBONE_ERRORS as error:
        reason = str(error)
    except torch.OutOfMemoryError:
        reason = f"The device does not have enough memory for {backbone}. Use --device cpu."
    log.warning("%s is not compared: %s", backbone, reason)
    return reason


def run_trial(backbone: str, options: ComparisonOptions) -> Trial:
    """Train a linear layer on the backbone's features and export it, or reuse the results of an identical trial.

    Raises:
        TaggerError: as the transfer recipe and the export raise them.
    """
    folder = options.folder_of(backbone)
    fingerprint = _fingerprint(backbone, options)
    stored = _load_trial(folder / TRIAL)
    if stored and stored.fingerprint == fingerprint and options.model_of(backbone).is_file():
        log.info("%s: reusing the results in %s", backbone, folder)
        return stored
    log.info("%s: training a linear layer on its features", backbone)
    run = train_transfer(_transfer_options(backbone, options), on_epoch=lambda _epoch: None)
    result = export_run(folder, options.model_of(backbone), name=backbone)
    trial = _trial(run, fingerprint, result.size_bytes)
    with writing_to(folder / TRIAL):
        (folder / TRIAL).write_text(trial.model_dump_json(indent=1) + "\n")
    return trial


def _transfer_options(backbone: str, options: ComparisonOptions) -> TransferOptions:
    return TransferOptions(
        data=options.data,
        unknown=options.unknown,
        others=None,
        out=options.folder_of(backbone),
        cache=options.out / PIXELS,
        epochs=0,
        size=options.size,
        batch_size=BATCH_SIZE,
        learning_rate=None,
        device=options.device,
        seed=SEED,
        precision=PRECISION,
        resume=False,
        backbone=backbone,
        weights=options.weights.get(backbone),
    )


def _trial(run: FinishedRun, fingerprint: str, size_bytes: int) -> Trial:
    record = run.record
    return Trial(
        fingerprint=fingerprint,
        weights=record.backbone.weights,
        features=record.backbone.features,
        parameters=sum(values.numel() for values in run.classifier.parameters()),
        size_bytes=size_bytes,
        photos=int(record.metrics["val_photos"]),
        top1=record.metrics["val_top1"],
        top3=record.metrics["val_top3"],
        validation_photos=record.validation_photos,
    )


def _fingerprint(backbone: str, options: ComparisonOptions) -> str:
    """A digest of everything the results depend on. Photos count by path, size and modification time."""
    folders = [options.data / "train", options.data / "val", *([options.unknown] if options.unknown else [])]
    paths = [path for folder in folders if folder.is_dir() for path in photo_paths(folder)]
    stats = [(path, path.stat()) for path in paths]
    weights = options.weights.get(backbone)
    inputs = {
        "photos": [[str(path.absolute()), stat.st_size, stat.st_mtime_ns] for path, stat in stats],
        "weights": blake3(weights.read_bytes()).hexdigest() if weights and weights.is_file() else None,
        "settings": [backbone, options.size, HEAD_EPOCHS, SEED],
        "versions": program_versions(),
    }
    return blake3(json.dumps(inputs).encode(errors="surrogateescape")).hexdigest()


def _load_trial(path: Path) -> Trial | None:
    try:
        return Trial.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def measure_speeds(models: dict[str, Path], photos: Sequence[str], device: Device) -> dict[str, Speed]:
    """Time every exported model on `photos`, in the precision of `device`, as the tagger runs it.

    The models alternate, so that other load on the machine affects all of them alike. The first round is a warm-up.
    """
    paths = _sample([Path(photo) for photo in photos], max(TIMED_PHOTOS, device.batch_size))
    loaded = {
        name: load_model(path, file_digest(path), read_manifest(path), device)
        for name, path in models.items()
    }
    forward: dict[str, list[float]] = {name: [] for name in loaded}
    total: dict[str, list[float]] = {name: [] for name in loaded}
    with photo_progress("timing", (ROUNDS + 1) * len(loaded) * len(paths)) as advance:
        for _ in range(ROUNDS + 1):
            for name, model in loaded.items():
                images = _decode(model, paths)
                forward[name].append(_rate(len(images), lambda: model.outputs(images)))  # noqa: B023 - called at once
                total[name].append(_rate(len(images), lambda: _decode_and_score(model, paths)))  # noqa: B023
                advance(len(paths))
    return {name: Speed(median(forward[name][1:]), median(total[name][1:])) for name in loaded}


def _sample(paths: list[Path], count: int) -> list[Path]:
    """`count` evenly spaced existing paths, with repetitions if there are too few."""
    existing = [path for path in paths if path.is_file()]
    return list(islice(cycle(existing[:: max(1, len(existing) // count)]), count))


def _rate(photos: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return photos / (time.perf_counter() - start)


def _decode(model: Model, paths: Sequence[Path]) -> list[Pixels]:
    batches = decode_batches(paths, model.manifest.input.resize, model.batch_size)
    return [image for batch in batches for image in batch.pixels]


def _decode_and_score(model: Model, paths: Sequence[Path]) -> None:
    for batch in decode_batches(paths, model.manifest.input.resize, model.batch_size):
        model.outputs(batch.pixels)


def recommend(trials: dict[str, Trial], speeds: dict[str, Speed]) -> Recommendation:
    """Recommend the fastest model whose top-1 is within one standard error of the best."""
    best = max(trials, key=lambda name: (trials[name].top1, speeds[name].model))
    top1, photos = trials[best].top1, trials[best].photos
    error = math.sqrt(top1 * (1 - top1) / photos)
    candidates = [name for name in trials if trials[name].top1 >= top1 - error]
    fastest = max(candidates, key=lambda name: speeds[name].model)
    margin = f"one standard error ({100 * error:.1f} points on {photos} validation photos)"
    rate = f"{speeds[fastest].model:.0f} photos/s"
    if len(trials) == 1:
        reason = f"it is the only backbone that could be compared ({top1:.1%} right, {rate})"
    elif fastest != best:
        reason = (
            f"its {trials[fastest].top1:.1%} is within {margin} of the best, {best} with {top1:.1%}, "
            f"and it is the fastest of the {len(candidates)} within that margin, at {rate}"
        )
    elif len(candidates) == 1:
        reason = f"it has the highest top-1 ({top1:.1%}) and no other is within {margin}, at {rate}"
    else:
        reason = f"it has the highest top-1 ({top1:.1%}) and is the fastest of the {len(candidates)} within {margin}, at {rate}"
    return Recommendation(fastest, f"Use {fastest}: {reason}.")
