"""Export a run to the artifact that the tagger loads, and compare it with the training model.

Only `write_program` and `read_program` know the format in which a model leaves the trainer.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.errors import ModelRefused
from tagger.model.artifact import (
    BackgroundStatistics,
    Embedding,
    Manifest,
    check_program,
    file_digest,
    load_module,
    save_artifact,
    without_deprecations,
)
from tagger.photos.files import new_file
from trainer.data.pixels import decode_batches
from trainer.errors import DataUnusable, ExportImpossible, writing_to
from trainer.export.run import FinishedRun, RunRecord, load_run
from trainer.learning.classifier import EMBEDDING_LAYER
from trainer.progress import photo_progress

BATCH_SIZE = 8
log = logging.getLogger("trainer")

# uint8 (B, 3, H, W) → scores, float32 (B, L), and embeddings, float32 (B, D), for any batch size.
Program = Callable[[Tensor], tuple[Tensor, Tensor]]


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

    def add(self, expected: tuple[Tensor, Tensor], actual: tuple[Tensor, Tensor]) -> None:
        """Add a batch: scores, float32 (B, L), and embeddings, float32 (B, D)."""
        (expected_scores, expected_embeddings), (scores, embeddings) = expected, actual
        self.photos += len(scores)
        self.same_top1 += int((expected_scores.argmax(dim=1) == scores.argmax(dim=1)).sum())
        self.max_difference = max(self.max_difference, (expected_scores - scores).abs().max().item())
        similarity = functional.cosine_similarity(expected_embeddings, embeddings)
        self.least_similarity = min(self.least_similarity, similarity.min().item())


@dataclass(frozen=True)
class ExportResult:
    """A written artifact, and its agreement with the training model."""

    path: Path
    digest: str
    size_bytes: int
    manifest: Manifest
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
        agreement = _compare(folder, run, unchecked)
        if agreement.same_top1 < agreement.photos:
            versions = ", ".join(f"{name} {version}" for name, version in run.record.versions.items())
            different = agreement.photos - agreement.same_top1
            raise ExportImpossible(
                reason="it and the training model predict different landmarks on "
                f"{different} of {agreement.photos} validation photos, so {out} was not written",
                remedy="Export again with the versions of torch and torchvision that trained the run: "
                f"{versions}",
            )
    return ExportResult(out, file_digest(out), out.stat().st_size, manifest, agreement)


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
        calibration={"method": "fitted on validation photos"} | asdict(record.score_rule)
        if record.score_rule
        else {"method": "as taught landmarks"},
        training=record.training,
        metrics=record.metrics,
        versions=record.versions,
    )


def write_program(
    classifier: nn.Module, manifest: Manifest, path: Path, background: BackgroundStatistics | None
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


def read_program(path: Path) -> Program:
    """Load a program that `write_program` wrote, on the CPU in full precision."""
    module: Program = load_module(path, file_digest(path)).eval()
    return module


def _compare(folder: Path, run: FinishedRun, exported: Path) -> ExportAgreement:
    """Compare both models on every validation photo."""
    program, agreement = read_program(exported), ExportAgreement()
    paths = [path for name in run.record.validation_photos if (path := Path(name)).is_file()]
    with photo_progress("comparing on validation photos", len(paths)) as advance, torch.inference_mode():
        for batch in decode_batches(paths, run.record.input.resize, BATCH_SIZE):
            agreement.add(run.classifier(batch.images), program(batch.images))
            advance(len(batch.positions))
    if agreement.photos == 0:
        reason = "none of its validation photos can be read, so the export cannot be checked"
        raise DataUnusable(path=folder, reason=reason, remedy="Restore them, or train again")
    return agreement
