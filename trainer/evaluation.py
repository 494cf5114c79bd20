"""How good an artifact is on photos it has never seen, run as the tagger runs it.

Knows nothing of reports (see report): what comes out is figures.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tagger.artifact import Manifest, file_digest, read_manifest
from tagger.devices import Device, choose_device
from tagger.errors import FolderNotFound
from tagger.model import Model, load_model
from trainer.data import LabelledPhoto, find_labelled_photos, label_folders, photo_paths
from trainer.decoding import decode_batches
from trainer.errors import EvaluationImpossible
from trainer.metrics import (
    Interval,
    ReliabilityBin,
    auroc,
    confusion_counts,
    expected_calibration_error,
    false_positive_rate_at,
    reliability,
    top_k_accuracy,
    wilson_interval,
)
from trainer.progress import photo_progress

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class LabelResult:
    """One label's photos: how many are named rightly, how many of those above the threshold, and what it is taken for most."""

    label: str
    name: str
    photos: int
    right: int
    accepted_right: int
    taken_for: str | None


@dataclass(frozen=True)
class Rejection:
    """What the model makes of photos that show none of its landmarks; `by_folder` has the share with a false tag."""

    photos: int
    auroc: float
    fpr_at_95_recall: float
    false_tags: float
    false_tags_interval: Interval
    by_folder: dict[str, tuple[int, float]]
    scores: Tensor  # float32 (M,), the highest score of each


@dataclass(frozen=True)
class Evaluation:
    """All figures of one artifact on one folder of photos."""

    manifest: Manifest
    digest: str
    photos: int
    unreadable: int
    left_out: dict[str, int]  # photos under labels that the model lacks
    top1: float
    top1_interval: Interval
    top3: float
    top5: float
    ece: float
    accepted: float  # share with any accepted label
    accepted_right: float  # share with the right label accepted
    bins: tuple[ReliabilityBin, ...]
    confusion: Tensor  # int64 (L, L), right label by predicted
    per_label: tuple[LabelResult, ...]
    scores: Tensor  # float32 (N,), the highest score of each photo
    rejection: Rejection | None

    @property
    def precision(self) -> float:
        """How many of the accepted labels are right, among photos of landmarks."""
        return self.accepted_right / self.accepted if self.accepted else 1.0


def evaluate(artifact: Path, data: Path, distractors: Path | None, *, device: str) -> Evaluation:
    """Measure the artifact on `data`/test (or `data` itself, if it has no folder of that name) and on distractors.

    Raises:
        ModelRefused, FolderNotFound, EvaluationImpossible: with what to change.
    """
    manifest = read_manifest(artifact)
    digest = file_digest(artifact)
    photos, left_out = _photos_of(data, manifest)
    if distractors is not None and not distractors.is_dir():
        raise FolderNotFound(path=distractors)
    kind = choose_device(device, None)
    model = load_model(artifact, digest, manifest, Device(kind.kind, torch.float32, kind.batch_size))

    rows, scores = _score(model, [photo.path for photo in photos], "looking at test photos")
    if not rows:
        raise EvaluationImpossible(path=data, reason="not one photo can be read")
    positions = {label.label: position for position, label in enumerate(manifest.labels)}
    targets = torch.tensor([positions[photos[row].label or ""] for row in rows])
    rejection = _rejection(model, manifest, distractors, scores.amax(dim=1)) if distractors else None
    return _figures(
        manifest,
        scores,
        targets,
        digest=digest,
        unreadable=len(photos) - len(rows),
        left_out=left_out,
        rejection=rejection,
    )


def _photos_of(data: Path, manifest: Manifest) -> tuple[list[LabelledPhoto], dict[str, int]]:
    if not data.is_dir():
        raise FolderNotFound(path=data)
    folder = data / "test" if (data / "test").is_dir() else data
    known = {label.label for label in manifest.labels}
    photos, left_out = [], dict[str, int]()
    for photo in find_labelled_photos(folder):
        if photo.label in known:
            photos.append(photo)
        else:
            left_out[photo.label or ""] = left_out.get(photo.label or "", 0) + 1
    for label, count in left_out.items():
        log.warning("the model has no label %s: its photos are left out (%d)", label, count)
    if not photos:
        names = ", ".join(entry.name for entry in label_folders(folder)[:3]) or "none"
        raise EvaluationImpossible(
            path=data, reason=f"no photo lies under a label of the model (folders: {names})"
        )
    return photos, left_out


def _score(model: Model, paths: Sequence[Path], what: str) -> tuple[list[int], Tensor]:
    """The rows of `paths` that could be read, and their scores, float32 (N, L)."""
    rows: list[int] = []
    scores = [np.empty((0, len(model.manifest.labels)), dtype=np.float32)]
    with photo_progress(what, len(paths)) as advance:
        for batch in decode_batches(paths, model.manifest.input.resize, model.batch_size):
            images = batch.images.permute(0, 2, 3, 1).numpy()
            scores.append(model.scores(list(images)))
            rows += batch.positions
            advance(len(batch.positions))
    return rows, torch.from_numpy(np.concatenate(scores))


def _rejection(model: Model, manifest: Manifest, folder: Path, of_landmarks: Tensor) -> Rejection | None:
    paths = photo_paths(folder)
    rows, scores = _score(model, paths, "looking at distractors")
    if not rows:
        log.warning("%s has no photo that can be read; rejection is not measured", folder)
        return None
    top = scores.amax(dim=1)
    accepted = top >= manifest.threshold
    by_folder = {}
    names = [
        str(paths[row].relative_to(folder).parts[0]) if paths[row].parent != folder else "." for row in rows
    ]
    for name in sorted(set(names)):
        inside = torch.tensor([other == name for other in names])
        by_folder[name] = (int(inside.sum()), accepted[inside].double().mean().item())
    share = accepted.double().mean().item()
    return Rejection(
        photos=len(rows),
        auroc=auroc(of_landmarks, top),
        fpr_at_95_recall=false_positive_rate_at(0.95, of_landmarks, top),
        false_tags=share,
        false_tags_interval=wilson_interval(share, len(rows)),
        by_folder=by_folder,
        scores=top,
    )


def _figures(
    manifest: Manifest,
    scores: Tensor,
    targets: Tensor,
    *,
    digest: str,
    unreadable: int,
    left_out: dict[str, int],
    rejection: Rejection | None,
) -> Evaluation:
    top, predicted = scores.max(dim=1)
    correct = predicted == targets
    accepted = top >= manifest.threshold
    bins = reliability(top, correct)
    confusion = confusion_counts(predicted, targets, len(manifest.labels))
    accepted_right = torch.bincount(targets[correct & accepted], minlength=len(manifest.labels))
    top1 = top_k_accuracy(scores, targets, 1)
    return Evaluation(
        manifest=manifest,
        digest=digest,
        photos=len(targets),
        unreadable=unreadable,
        left_out=left_out,
        top1=top1,
        top1_interval=wilson_interval(top1, len(targets)),
        top3=top_k_accuracy(scores, targets, 3),
        top5=top_k_accuracy(scores, targets, 5),
        ece=expected_calibration_error(bins),
        accepted=accepted.double().mean().item(),
        accepted_right=(accepted & correct).double().mean().item(),
        bins=bins,
        confusion=confusion,
        per_label=_per_label(manifest, confusion, accepted_right),
        scores=top,
        rejection=rejection,
    )


def _per_label(manifest: Manifest, confusion: Tensor, accepted_right: Tensor) -> tuple[LabelResult, ...]:
    results = []
    for position, label in enumerate(manifest.labels):
        others = confusion[position].clone()
        right = int(others[position])
        others[position] = 0
        taken_for = manifest.labels[int(others.argmax())].name if int(others.max()) else None
        photos = int(confusion[position].sum())
        results.append(
            LabelResult(label.label, label.name, photos, right, int(accepted_right[position]), taken_for)
        )
    return tuple(results)
