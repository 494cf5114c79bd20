"""A run on disk: what training made, enough to export it and to say how it came about. No pickles.

`run.json` and `weights.safetensors` in `checkpoint/` are the model; `metrics.json`, `curves.png` and `train.log` are for people;
`features.safetensors` only saves time and may be deleted.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from tagger.artifact import InputRule, Label
from trainer.backbones import Backbone, build_network
from trainer.errors import RunUnusable, writing_to
from trainer.learning.loop import Epoch
from trainer.model.network import Classifier, Distance, Encoder
from trainer.model.rejection import FeatureSpace, ScoreRule

RECORD = Path("checkpoint", "run.json")
WEIGHTS = Path("checkpoint", "weights.safetensors")
FEATURES = Path("features.safetensors")
METRICS = Path("metrics.json")
CURVES = Path("curves.png")
LOG = Path("train.log")


class RunRecord(BaseModel):
    """What a run says of itself. Only `validation_photos` names places on this machine; it never leaves the run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
    labels: tuple[Label, ...]
    input: InputRule
    backbone: Backbone
    background: bool
    score_rule: ScoreRule
    space_dimensions: int
    threshold: float
    threshold_reason: str
    training: dict[str, object]
    metrics: dict[str, float]
    versions: dict[str, str]
    epochs: tuple[Epoch, ...]
    validation_photos: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A finished run: its record and the training model, in evaluation mode and full precision."""

    record: RunRecord
    classifier: Classifier


def open_run_folder(folder: Path) -> None:
    """Make the run's folder and make sure that it can be written, before any work is done.

    Raises:
        OutputUnwritable: with the reason.
    """
    with writing_to(folder):
        (folder / RECORD).parent.mkdir(parents=True, exist_ok=True)
        (folder / LOG).open("a").close()


def save_run(folder: Path, run: Run) -> None:
    """Write checkpoint and metrics; half of a checkpoint is never left behind as a whole one."""
    (folder / RECORD).unlink(missing_ok=True)
    save_file(
        {name: values.contiguous() for name, values in run.classifier.state_dict().items()}, folder / WEIGHTS
    )
    document = run.record.model_dump(mode="json")
    figures = {"metrics": document["metrics"], "training": document["training"], "epochs": document["epochs"]}
    (folder / METRICS).write_text(json.dumps(figures, indent=1) + "\n")
    (folder / RECORD).write_text(json.dumps(document, indent=1) + "\n")


def load_run(folder: Path) -> Run:
    """Build the training model of a run again.

    Raises:
        RunUnusable: there is no finished run in `folder`, or it does not hold together.
    """
    try:
        record = RunRecord.model_validate_json((folder / RECORD).read_bytes())
        classifier = build_classifier(record)
        classifier.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise RunUnusable(path=folder, reason="no finished run is in it") from error
    except (OSError, ValidationError, SafetensorError, RuntimeError) as error:
        raise RunUnusable(
            path=folder, reason=f"its checkpoint is damaged ({str(error).splitlines()[0]})"
        ) from error
    return Run(record, classifier)


def build_classifier(record: RunRecord) -> Classifier:
    """The model that `record` describes, with weights yet to be loaded."""
    encoder = Encoder(record.backbone, build_network(record.backbone))
    labels, features = len(record.labels), record.backbone.features
    head = nn.Linear(features, labels + record.background)
    space = FeatureSpace(
        offset=torch.zeros(features),
        directions=torch.zeros(features, record.space_dimensions),
        centres=torch.zeros(labels, record.space_dimensions),
    )
    return Classifier(encoder, head, Distance(space), labels=labels, rule=record.score_rule).eval()


def program_versions() -> dict[str, str]:
    """The versions that decide what a model computes."""
    return {name: version(name) for name in ("landmark-tagger", "torch", "torchvision", "pillow", "numpy")}
