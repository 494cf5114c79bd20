"""A run on disk: the trained model with its labels, settings and metrics. Nothing is pickled.

The model is in `checkpoint/`. `metrics.json`, `curves.png` and `train.log` are for the user.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tagger.model.artifact import BackgroundStatistics, InputRule, Label, Range
from trainer.backbones.backbone import Backbone
from trainer.backbones.loading import build_network
from trainer.errors import DataUnusable, writing_to
from trainer.evaluation.mixture import ORDINARY, OTHERS
from trainer.learning.classifier import Encoder, LandmarkClassifier, PhotoClassifier
from trainer.learning.scoring import Neighbours, ScoreRule, Scoring
from trainer.learning.state import Epoch
from trainer.learning.taught import TaughtClassifier
from trainer.report.assessment import (
    Assessment,
    are_tested,
    least_photos,
    photos_of_landmarks,
)

RECORD = Path("checkpoint", "run.json")
WEIGHTS = Path("checkpoint", "weights.safetensors")
BACKGROUND = Path("checkpoint", "background.f32")
METRICS = Path("metrics.json")
CURVES = Path("curves.png")
LOG = Path("train.log")
# The entry of `training` with what a library shows, for which the thresholds were chosen.
MIXTURE = "mixture"


class RunRecord(BaseModel):
    """The description of a run. `validation_photos` are paths on this machine, which are never exported."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[7] = 7
    labels: tuple[Label, ...]
    input: InputRule
    backbone: Backbone
    background_photos: int
    score_rule: ScoreRule | None  # None: a `TaughtClassifier`
    second_look: Range | None = None
    ranges: tuple[Range, ...]
    threshold: float
    suggestion_threshold: float
    threshold_reason: str
    training: dict[str, object]
    metrics: dict[str, float]
    versions: dict[str, str]
    epochs: tuple[Epoch, ...]
    validation_photos: tuple[str, ...]


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its record, its model in full precision, and the background statistics."""

    record: RunRecord
    classifier: PhotoClassifier
    background: BackgroundStatistics


def create_run_folder(folder: Path) -> None:
    """Create the run folder and check that it can be written to, before any work."""
    with writing_to(folder):
        (folder / RECORD).parent.mkdir(parents=True, exist_ok=True)
        (folder / LOG).open("a").close()


def save_run(folder: Path, run: FinishedRun) -> None:
    """Write the checkpoint and the metrics. The record is last, so none that is incomplete is loaded."""
    (folder / RECORD).unlink(missing_ok=True)
    save_file(
        {name: values.contiguous() for name, values in run.classifier.state_dict().items()}, folder / WEIGHTS
    )
    (folder / BACKGROUND).write_bytes(run.background.to_bytes())
    document = run.record.model_dump(mode="json")
    figures = {"metrics": document["metrics"], "training": document["training"], "epochs": document["epochs"]}
    (folder / METRICS).write_text(json.dumps(figures, indent=1) + "\n")
    (folder / RECORD).write_text(json.dumps(document, indent=1) + "\n")


def load_run(folder: Path) -> FinishedRun:
    """Load the record and the model of a run.

    Raises:
        DataUnusable: `folder` has no finished run, or the run is damaged.
    """
    try:
        record = RunRecord.model_validate_json((folder / RECORD).read_bytes())
        classifier = _build_classifier(record, load_file(folder / WEIGHTS))
        background = BackgroundStatistics.from_bytes(
            (folder / BACKGROUND).read_bytes(), record.background_photos, record.backbone.features
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = "it has no finished run; to finish one, repeat its `trainer train` command with --resume"
        raise _unusable(folder, reason) from error
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise _unusable(folder, f"its checkpoint is damaged ({str(error).splitlines()[0]})") from error
    return FinishedRun(record, classifier, background)


def _unusable(folder: Path, reason: str) -> DataUnusable:
    remedy = "Name a run folder that `trainer train` wrote"
    return DataUnusable(path=folder, reason=reason, remedy=remedy)


def assess_run(record: RunRecord) -> Assessment:
    """Assess the model of a run by its validation photos."""
    metrics = record.metrics
    prefixes = {ORDINARY: "val_ordinary", OTHERS: "val_other_landmark"}
    names = {kind: f"{prefix}_false_tags_at_threshold" for kind, prefix in prefixes.items()}
    return Assessment(
        kind="validation",
        photos=int(metrics["val_photos"]),
        top1=metrics["val_top1"],
        right_tags=metrics["val_accepted_rightly"],
        precision=metrics["val_precision_at_threshold"],
        false_tags={kind: metrics[name] for kind, name in names.items() if name in metrics},
        is_tested=are_tested(
            int(metrics.get("val_other_landmark_photos", 0)), int(metrics["val_other_landmarks"])
        ),
        photos_of=photos_of_landmarks(record.training),
        few=least_photos(record.training),
        library_precision=metrics.get("val_library_precision"),
        mixture=str(record.training.get(MIXTURE, "")),
    )


def _build_classifier(record: RunRecord, tensors: dict[str, Tensor]) -> PhotoClassifier:
    """Build the model that `record` describes, with these weights."""
    encoder = Encoder(record.backbone, build_network(record.backbone))
    head = nn.Linear(record.backbone.features, len(tensors["head.bias"]))
    if record.score_rule is None:
        classifier: PhotoClassifier = TaughtClassifier(encoder, head)
    else:
        prefix = "scoring.neighbours."
        photos = {
            name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)
        }
        scoring = Scoring(Neighbours(**photos), len(record.labels), record.score_rule)
        classifier = LandmarkClassifier(encoder, head, scoring)
    classifier.load_state_dict(tensors)
    return classifier.eval()


def program_versions() -> dict[str, str]:
    """The versions of the packages that affect what a model computes."""
    return {name: version(name) for name in ("landmark-tagger", "torch", "torchvision", "pillow", "numpy")}
