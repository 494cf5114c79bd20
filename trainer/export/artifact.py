"""A run on disk, and its export to the artifact that the tagger loads.

A run is the trained model with its labels, settings and metrics. Nothing is pickled. The model is in
`checkpoint/`. `metrics.json`, `curves.png` and `train.log` are for the user.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tagger.errors import ModelRefused
from tagger.model.artifact import (
    BackgroundStatistics,
    Embedding,
    InputRule,
    Label,
    Manifest,
    Range,
    check_program,
    file_digest,
    load_module,
    save_artifact,
    without_deprecations,
)
from tagger.photos.files import new_file
from trainer import DataUnusable, ExportImpossible, photo_progress, writing_to
from trainer.backbones import build_network
from trainer.data.preparation import decode_batches
from trainer.evaluation import (
    Assessment,
    are_tested,
    least_photos,
    photos_of_landmarks,
)
from trainer.learning.classifier import (
    EMBEDDING_LAYER,
    Encoder,
    Epoch,
    ExportedClassifier,
    LandmarkClassifier,
    Neighbours,
    ScoreRule,
    Scoring,
)
from trainer.learning.head import TaughtClassifier
from trainer.networks import Backbone
from trainer.options import ORDINARY, OTHERS

RECORD = Path("checkpoint", "run.json")
WEIGHTS = Path("checkpoint", "weights.safetensors")
BACKGROUND = Path("checkpoint", "background.f32")
METRICS = Path("metrics.json")
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
    record: RunRecord
    classifier: ExportedClassifier
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
        {
            name: values.contiguous()
            for name, values in run.classifier.state_dict().items()
        },
        folder / WEIGHTS,
    )
    (folder / BACKGROUND).write_bytes(run.background.to_bytes())
    document = run.record.model_dump(mode="json")
    figures = {
        "metrics": document["metrics"],
        "training": document["training"],
        "epochs": document["epochs"],
    }
    (folder / METRICS).write_text(json.dumps(figures, indent=1) + "\n")
    (folder / RECORD).write_text(json.dumps(document, indent=1) + "\n")


def load_run(folder: Path) -> FinishedRun:
    """Load the record and the model of a run.

    Raises:
        DataUnusable: `folder` has no finished run, or the run is damaged.
    """
    try:
        record = RunRecord.model_validate_json((folder / RECORD).read_bytes())
        tensors = load_file(folder / WEIGHTS)
        encoder = Encoder(record.backbone, build_network(record.backbone))
        head = nn.Linear(record.backbone.features, len(tensors["head.bias"]))
        if record.score_rule is None:
            classifier: ExportedClassifier = TaughtClassifier(encoder, head)
        else:
            prefix = "scoring.neighbours."
            photos = {
                name.removeprefix(prefix): values
                for name, values in tensors.items()
                if name.startswith(prefix)
            }
            scoring = Scoring(
                Neighbours(**photos),
                len(record.labels),
                record.score_rule,
            )
            classifier = LandmarkClassifier(encoder, head, scoring)
        classifier.load_state_dict(tensors)
        background = BackgroundStatistics.from_bytes(
            (folder / BACKGROUND).read_bytes(),
            record.background_photos,
            record.backbone.features,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = "it has no finished run; to finish one, repeat its `trainer train` command with --resume"
        raise _unusable(folder, reason) from error
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise _unusable(
            folder, f"its checkpoint is damaged ({str(error).splitlines()[0]})"
        ) from error
    return FinishedRun(record, classifier.eval(), background)


def _unusable(folder: Path, reason: str) -> DataUnusable:
    remedy = "Name a run folder that `trainer train` wrote"
    return DataUnusable(path=folder, reason=reason, remedy=remedy)


def assess_run(record: RunRecord) -> Assessment:
    metrics = record.metrics
    prefixes = {ORDINARY: "val_ordinary", OTHERS: "val_other_landmark"}
    names = {
        kind: f"{prefix}_false_tags_at_threshold" for kind, prefix in prefixes.items()
    }
    return Assessment(
        kind="validation",
        photos=int(metrics["val_photos"]),
        top1=metrics["val_top1"],
        right_tags=metrics["val_accepted_rightly"],
        precision=metrics["val_precision_at_threshold"],
        false_tags={
            kind: metrics[name] for kind, name in names.items() if name in metrics
        },
        is_tested=are_tested(
            int(metrics.get("val_other_landmark_photos", 0)),
            int(metrics["val_other_landmarks"]),
        ),
        photos_of=photos_of_landmarks(record.training),
        few=least_photos(record.training),
        library_precision=metrics.get("val_library_precision"),
        mixture=str(record.training.get(MIXTURE, "")),
    )


def program_versions() -> dict[str, str]:
    return {
        name: version(name)
        for name in ("landmark-tagger", "torch", "torchvision", "pillow", "numpy")
    }


# Export a run to the artifact that the tagger loads, and compare it with the training model.
#
# Only `write_program` and `read_program` know the format in which a model leaves the trainer.

BATCH_SIZE = 8
log = logging.getLogger("trainer")

# uint8 (B, 3, H, W) → scores, float32 (B, L), and embeddings, float32 (B, D), for any batch size.
ExportedProgram = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass
class ExportAgreement:
    """The agreement of the exported model with the training model, on the CPU in full precision."""

    photos: int = 0
    same_top1: int = 0
    max_difference: float = 0.0  # of any score of any photo
    least_similarity: float = 1.0  # cosine similarity of the embeddings of any photo

    def __str__(self) -> str:
        return (
            f"same top-1 on {self.same_top1} of {self.photos}, "
            f"scores differ by at most {self.max_difference:.1e}, "
            f"embeddings have a cosine similarity of at least {self.least_similarity:.4f}"
        )

    def add(
        self,
        expected: tuple[Tensor, Tensor],
        actual: tuple[Tensor, Tensor],
    ) -> None:
        """Add a batch: scores, float32 (B, L), and embeddings, float32 (B, D)."""
        (expected_scores, expected_embeddings), (scores, embeddings) = expected, actual
        self.photos += len(scores)
        self.same_top1 += int(
            (expected_scores.argmax(dim=1) == scores.argmax(dim=1)).sum()
        )
        self.max_difference = max(
            self.max_difference, (expected_scores - scores).abs().max().item()
        )
        similarity = functional.cosine_similarity(expected_embeddings, embeddings)
        self.least_similarity = min(self.least_similarity, similarity.min().item())


@dataclass(frozen=True)
class WrittenModel:
    path: Path
    digest: str
    size_bytes: int
    manifest: Manifest


@dataclass(frozen=True)
class ExportResult(WrittenModel):
    agreement: ExportAgreement


def export_run(folder: Path, out: Path, *, name: str | None) -> ExportResult:
    """Export the run in `folder` to `out`, if both models have the same top-1 on every validation photo.

    Raises:
        DataUnusable, ExportImpossible, OutputUnwritable: with the reason.
    """
    run = load_run(folder)
    manifest = _manifest(run.record, name or out.stem)
    log.info("compiling the model")
    with writing_to(out), new_file(out) as unchecked:
        write_program(run.classifier, manifest, unchecked, run.background)
        # Compare both models on every validation photo.
        program, agreement = read_program(unchecked), ExportAgreement()
        paths = [
            path
            for name in run.record.validation_photos
            if (path := Path(name)).is_file()
        ]
        with (
            photo_progress("comparing on validation photos", len(paths)) as advance,
            torch.inference_mode(),
        ):
            for batch in decode_batches(paths, run.record.input.resize, BATCH_SIZE):
                agreement.add(
                    run.classifier(batch.images),
                    program(batch.images),
                )
                advance(len(batch.positions))
        if agreement.photos == 0:
            reason = "none of its validation photos can be read, so the export cannot be checked"
            raise DataUnusable(
                path=folder, reason=reason, remedy="Restore them, or train again"
            )
        if agreement.same_top1 < agreement.photos:
            versions = ", ".join(
                f"{name} {version}" for name, version in run.record.versions.items()
            )
            different = agreement.photos - agreement.same_top1
            raise ExportImpossible(
                reason="it and the training model predict different landmarks on "
                f"{different} of {agreement.photos} validation photos, so {out} was not written",
                remedy="Export again with the versions of torch and torchvision that trained the run: "
                f"{versions}",
            )
    return ExportResult(
        out,
        file_digest(out),
        out.stat().st_size,
        manifest,
        agreement,
    )


def _manifest(record: RunRecord, name: str) -> Manifest:
    return Manifest(
        format=2,
        name=name,
        created_at=datetime.now(UTC).replace(microsecond=0),
        labels=record.labels,
        input=record.input,
        embedding=Embedding(
            dimension=record.backbone.features,
            layer=EMBEDDING_LAYER,
            background_photos=record.background_photos,
        ),
        ranges=record.ranges,
        second_look=record.second_look,
        threshold=record.threshold,
        suggestion_threshold=record.suggestion_threshold,
        threshold_reason=record.threshold_reason,
        calibration={"method": "fitted on validation photos"}
        | asdict(record.score_rule)
        if record.score_rule
        else {"method": "as taught landmarks"},
        training=record.training,
        metrics=record.metrics,
        versions=record.versions,
    )


def write_program(
    classifier: nn.Module,
    manifest: Manifest,
    path: Path,
    background: BackgroundStatistics | None,
) -> None:
    """Compile the model to a program that needs none of this code, and write it with its manifest.

    Weights are neither frozen nor rounded: precision and layout are chosen where the model runs.

    Raises:
        ExportImpossible: the format does not support the network, or the tagger refuses it.
    """
    try:
        with without_deprecations():
            module = torch.jit.script(classifier.eval())
    except RuntimeError as error:
        raise _unsupported(str(error).strip().splitlines()[0]) from error
    save_artifact(module, manifest, path, background=background)
    try:
        check_program(path)
    except ModelRefused as error:
        raise _unsupported(error.values["reason"]) from error


def _unsupported(reason: object) -> ExportImpossible:
    reason = f"TorchScript or the tagger does not support its network ({reason})"
    return ExportImpossible(reason=reason, remedy="Train with another --backbone")


def read_program(path: Path) -> ExportedProgram:
    module: ExportedProgram = load_module(path, file_digest(path)).eval()
    return module
