"""Compare backbones on the user's photos: accuracy, size and speed, with a recommendation.

Each backbone stays frozen and gets a linear layer on its features, which predicts how it can be tuned.
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from tagger.model.artifact import file_digest, read_manifest
from tagger.model.backends.selection import generated_images
from tagger.model.devices import Device, choose_device
from tagger.model.model import load_model
from trainer import (
    BackboneUnusable,
    ExportImpossible,
    TrainingFailed,
    writing_to,
)
from trainer.backbones import find_source
from trainer.data.preparation import FoundPhotos, find_training_photos
from trainer.evaluation import wilson_interval
from trainer.export.artifact import export_run
from trainer.options import PIXELS, DeviceName, TransferOptions
from trainer.progress import photo_progress
from trainer.recipes import log_few, train_found

MODEL = "model.pt"
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
    device: DeviceName

    def folder_of(self, backbone: str) -> Path:
        return self.out / backbone.replace("/", "-")

    def model_of(self, backbone: str) -> Path:
        return self.folder_of(backbone) / MODEL


@dataclass(frozen=True)
class Trial:
    weights: str
    features: int
    parameters: int
    size_bytes: int
    photos: int
    top1: float
    top3: float

    def row(self, name: str, speed: float) -> dict[str, Any]:
        intervals = {
            top: wilson_interval(getattr(self, top), self.photos)
            for top in ("top1", "top3")
        }
        return {
            "backbone": name,
            **asdict(self),
            **{f"{top}_interval": interval for top, interval in intervals.items()},
            "photos_per_second": speed,
            "reason": None,
        }


def compare_backbones(options: ComparisonOptions) -> dict[str, Any]:
    """Train, export and measure every backbone, write comparison.json, and return it, with the choice.

    Raises:
        BackboneUnusable, ExtraMissing: before any work, as are errors in the photo folders.
        TrainingFailed: every backbone failed.
        OutputUnwritable: with the reason.
    """
    for backbone in options.backbones:
        find_source(backbone)
    photos = find_training_photos(options.data, options.unknown, None)
    if photos.are_few:
        log_few(
            photos,
            ". The comparison goes on; `trainer train transfer` without --backbone teaches them",
        )
    with writing_to(options.out):
        options.out.mkdir(parents=True, exist_ok=True)
    results = {
        backbone: _try_trial(backbone, photos, options)
        for backbone in options.backbones
    }
    trials = {
        name: result for name, result in results.items() if isinstance(result, Trial)
    }
    if not trials:
        raise TrainingFailed(
            reason="none of the backbones could be compared",
            remedy=f"The first failure: {next(iter(results.values()))}",
        )
    device = choose_device(options.device, None)
    speeds = measure_speeds(
        {name: options.model_of(name) for name in trials},
        options.size,
        device,
    )
    chosen, sentence = recommend(trials, speeds)
    document = {
        "size": options.size,
        "device": device.kind,
        "precision": device.precision,
        "chosen": chosen,
        "sentence": sentence,
        "backbones": [
            trials[name].row(name, speeds[name])
            if name in trials
            else {"backbone": name, "reason": result}
            for name, result in results.items()
        ],
    }
    with writing_to(options.out):
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (options.out / "comparison.json").write_text(text + "\n", "utf-8")
    return document


def comparison_lines(document: dict[str, Any]) -> Iterator[str]:
    yield "backbone\ttop-1\t95 % interval\ttop-3\tparameters, million\tfile, MB\tphotos/s"
    for row in document["backbones"]:
        if row["reason"] is not None:
            yield f"{row['backbone']} was not compared: {row['reason']}"
            continue
        low, high = row["top1_interval"]
        yield (
            f"{row['backbone']}\t{row['top1']:.1%}\t{low:.1%} to {high:.1%}\t{row['top3']:.1%}"
            f"\t{row['parameters'] / 1e6:.1f}\t{row['size_bytes'] / 1e6:.1f}\t{row['photos_per_second']:.0f}"
        )
    yield document["sentence"]


def _try_trial(
    backbone: str, photos: FoundPhotos, options: ComparisonOptions
) -> Trial | str:
    try:
        return run_trial(backbone, photos, options)
    except (BackboneUnusable, ExportImpossible) as error:
        reason = str(error)
    except torch.OutOfMemoryError:
        reason = (
            f"The device does not have enough memory for {backbone}. Use --device cpu."
        )
    log.warning("%s is not compared: %s", backbone, reason)
    return reason


def run_trial(backbone: str, photos: FoundPhotos, options: ComparisonOptions) -> Trial:
    log.info("%s: training a linear layer on its features", backbone)
    folder, model = options.folder_of(backbone), options.model_of(backbone)
    transfer = TransferOptions(
        data=options.data,
        unknown=options.unknown,
        out=folder,
        cache=options.out / PIXELS,
        epochs=0,
        size=options.size,
        device=options.device,
        backbone=backbone,
        weights=options.weights.get(backbone),
    )
    run = train_found(photos, transfer)
    export_run(folder, model, name=backbone)
    return Trial(
        weights=run.record.backbone.weights,
        features=run.record.backbone.features,
        parameters=sum(values.numel() for values in run.classifier.parameters()),
        size_bytes=model.stat().st_size,
        photos=int(run.record.metrics["val_photos"]),
        top1=run.record.metrics["val_top1"],
        top3=run.record.metrics["val_top3"],
    )


def measure_speeds(
    models: dict[str, Path],
    size: int,
    device: Device,
) -> dict[str, float]:
    """The photos of `size` pixels per second that each model classifies, in the precision of `device`.

    It is the median over rounds in which the models alternate, as other load affects all. One is a warm-up.
    """
    loaded = {
        name: load_model(path, file_digest(path), read_manifest(path), device)
        for name, path in models.items()
    }
    images = list(generated_images(size, max(TIMED_PHOTOS, device.batch_size)))
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    with photo_progress(
        "timing",
        (ROUNDS + 1) * len(loaded) * len(images),
    ) as advance:
        for _ in range(ROUNDS + 1):
            for name, model in loaded.items():
                start = time.perf_counter()
                model.outputs(images)
                seconds[name].append(time.perf_counter() - start)
                advance(len(images))
    return {name: len(images) / median(rounds[1:]) for name, rounds in seconds.items()}


def recommend(trials: dict[str, Trial], speeds: dict[str, float]) -> tuple[str, str]:
    """Recommend, in a sentence, the fastest model whose top-1 is within a standard error of the best."""
    best = max(trials, key=lambda name: (trials[name].top1, speeds[name]))
    top1, photos = trials[best].top1, trials[best].photos
    error = math.sqrt(top1 * (1 - top1) / photos)
    candidates = [name for name in trials if trials[name].top1 >= top1 - error]
    fastest = max(candidates, key=lambda name: speeds[name])
    return fastest, (
        f"Use {fastest}: top-1 {trials[fastest].top1:.1%}, {speeds[fastest]:.0f} photos/s. "
        "No faster one has a top-1 within one standard "
        f"error ({100 * error:.1f} points on {photos} validation photos) of the best, {best} with {top1:.1%}."
    )
