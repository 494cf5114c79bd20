"""A run → the artifact that the tagger loads: scripted, stored in half precision, checked against the training model.

`_scripted` is the one place that knows how a module is turned into a file's program; another exporter goes there.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from tagger.artifact import Manifest, file_digest, load_module, save_artifact
from trainer.decoding import decode_batches
from trainer.errors import ExportDisagrees, RunUnusable, writing_to
from trainer.network import Classifier
from trainer.progress import photo_progress
from trainer.runs import Run, RunRecord, load_run

BATCH_SIZE = 8


@dataclass(frozen=True)
class Exported:
    """A written artifact, and on how many photos it was seen to agree with the training model."""

    path: Path
    digest: str
    size_bytes: int
    compared: int
    manifest: Manifest


def export_run(folder: Path, out: Path, *, name: str | None) -> Exported:
    """Export the run in `folder` to `out`; nothing is written unless both models agree on every validation photo's top-1.

    Raises:
        RunUnusable, ExportDisagrees, OutputUnwritable: with the reason.
    """
    run = load_run(folder)
    manifest = _manifest(run.record, name or out.stem)
    unchecked = out.with_name(f".{out.name}.unchecked")
    with writing_to(out):
        save_artifact(_scripted(_stored(run.classifier)), manifest, unchecked)
    try:
        compared = _compare(folder, run, unchecked, out)
        with writing_to(out):
            unchecked.replace(out)
    finally:
        unchecked.unlink(missing_ok=True)
    return Exported(out, file_digest(out), out.stat().st_size, compared, manifest)


def _stored(classifier: Classifier) -> Classifier:
    """As it lies on disk: convolutions and head in half precision (lossless, they were rounded in training), statistics in full."""
    stored = copy.deepcopy(classifier)
    for module in stored.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.half()
    return stored


def _scripted(classifier: Classifier) -> torch.jit.ScriptModule:
    with without_deprecations():
        module: torch.jit.ScriptModule = torch.jit.script(classifier.eval())
    return module


@contextmanager
def without_deprecations() -> Iterator[None]:
    """TorchScript is deprecated without a removal date; people who export need not hear of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        yield


def _compare(folder: Path, run: Run, unchecked: Path, out: Path) -> int:
    with without_deprecations():
        exported = load_module(unchecked, file_digest(unchecked)).float().eval()
    paths = [path for name in run.record.validation_photos if (path := Path(name)).is_file()]
    compared = disagreeing = 0
    with photo_progress("comparing on validation photos", len(paths)) as advance, torch.inference_mode():
        for batch in decode_batches(paths, run.record.input.resize, BATCH_SIZE):
            disagreeing += _disagreements(run.classifier, exported, batch.images)
            compared += len(batch.positions)
            advance(len(batch.positions))
    if compared == 0:
        raise RunUnusable(
            path=folder,
            reason="none of its validation photos can be read any more, so the export cannot be checked",
        )
    if disagreeing:
        versions = ", ".join(f"{name} {version}" for name, version in run.record.versions.items())
        raise ExportDisagrees(count=disagreeing, total=compared, path=out, versions=versions)
    return compared


def _disagreements(one: nn.Module, other: nn.Module, images: Tensor) -> int:
    return int((one(images).argmax(dim=1) != other(images).argmax(dim=1)).sum())


def _manifest(record: RunRecord, name: str) -> Manifest:
    return Manifest(
        name=name,
        created_at=datetime.now(UTC).replace(microsecond=0),
        labels=record.labels,
        input=record.input,
        threshold=record.threshold,
        threshold_reason=record.threshold_reason,
        calibration={"method": "temperature scaling on validation photos", "temperature": record.temperature},
        training=record.training,
        metrics=record.metrics,
        versions=record.versions,
    )
