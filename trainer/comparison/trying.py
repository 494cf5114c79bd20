"""One backbone of a comparison: learned, exported, and kept, so that it is not done again."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.errors import writing_to
from trainer.evaluation.intervals import Interval, wilson_interval
from trainer.model.export import export_run
from trainer.model.runs import Run, program_versions
from trainer.photos.data import photo_paths
from trainer.recipes.options import PIXELS, PRECISION
from trainer.recipes.transfer import HEAD_EPOCHS, TransferOptions, train_transfer

KEPT = "tried.json"
MODEL = "model.pt"
BATCH_SIZE = 32
SEED = 0

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Plan:
    """What a person asks for; `weights` has the files of those backbones that come from one."""

    data: Path
    unknown: Path | None
    out: Path
    backbones: tuple[str, ...]
    weights: dict[str, Path]
    size: int
    device: str


class Tried(BaseModel):
    """What a backbone reached; `asked` is a digest of all that it depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: str
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


def try_backbone(backbone: str, plan: Plan) -> Tried:
    """Learn a head on the backbone's features and export it, unless the same was done before.

    Raises:
        TaggerError: as the transfer recipe and the export raise them.
    """
    folder = folder_of(plan, backbone)
    asked = _asked(backbone, plan)
    kept = _kept(folder / KEPT)
    if kept and kept.asked == asked and model_of(plan, backbone).is_file():
        log.info("%s: done before, kept in %s", backbone, folder)
        return kept
    log.info("%s: learning a head on its features", backbone)
    run = train_transfer(
        TransferOptions(
            data=plan.data,
            unknown=plan.unknown,
            out=folder,
            cache=plan.out / PIXELS,
            epochs=0,
            size=plan.size,
            batch_size=BATCH_SIZE,
            learning_rate=None,
            device=plan.device,
            seed=SEED,
            precision=PRECISION,
            resume=False,
            backbone=backbone,
            weights=plan.weights.get(backbone),
        ),
        watch=lambda _epoch: None,
    )
    exported = export_run(folder, model_of(plan, backbone), name=backbone)
    tried = _tried(run, asked, exported.size_bytes)
    with writing_to(folder / KEPT):
        (folder / KEPT).write_text(tried.model_dump_json(indent=1) + "\n")
    return tried


def folder_of(plan: Plan, backbone: str) -> Path:
    """The run's folder of one backbone."""
    return plan.out / backbone.replace("/", "-")


def model_of(plan: Plan, backbone: str) -> Path:
    return folder_of(plan, backbone) / MODEL


def _tried(run: Run, asked: str, size_bytes: int) -> Tried:
    record = run.record
    return Tried(
        asked=asked,
        weights=record.backbone.weights,
        features=record.backbone.features,
        parameters=sum(values.numel() for values in run.classifier.parameters()),
        size_bytes=size_bytes,
        photos=int(record.metrics["val_photos"]),
        top1=record.metrics["val_top1"],
        top3=record.metrics["val_top3"],
        validation_photos=record.validation_photos,
    )


def _asked(backbone: str, plan: Plan) -> str:
    """A digest of everything that decides what the backbone reaches; a photo counts by path, size and time."""
    folders = [plan.data / "train", plan.data / "val", *([plan.unknown] if plan.unknown else [])]
    found = [(path, path.stat()) for folder in folders if folder.is_dir() for path in photo_paths(folder)]
    weights = plan.weights.get(backbone)
    described = {
        "photos": [[str(path.absolute()), stat.st_size, stat.st_mtime_ns] for path, stat in found],
        "weights": blake3(weights.read_bytes()).hexdigest() if weights and weights.is_file() else None,
        "settings": [backbone, plan.size, HEAD_EPOCHS, SEED],
        "versions": program_versions(),
    }
    return blake3(json.dumps(described).encode(errors="surrogateescape")).hexdigest()


def _kept(path: Path) -> Tried | None:
    try:
        return Tried.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
