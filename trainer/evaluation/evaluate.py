"""From a model file and folders of photos to all figures of an evaluation."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from tagger.artifact import Manifest, file_digest, read_manifest
from tagger.devices import Device, choose_device
from tagger.errors import FolderNotFound
from tagger.model import load_model
from trainer.errors import EvaluationImpossible
from trainer.evaluation.alterations import Altered, measure_altered
from trainer.evaluation.formats import Agreement, compare_all, missing_devices, other_devices
from trainer.evaluation.intervals import Measured, bootstrap
from trainer.evaluation.landmarks import Recognition, measure_recognition
from trainer.evaluation.metrics import average_precisions
from trainer.evaluation.mistakes import Mistake, surest_mistakes
from trainer.evaluation.rejection import Rejection, measure_rejection
from trainer.evaluation.scoring import Seen, look_at
from trainer.evaluation.tradeoff import Tradeoff, trade_off
from trainer.photos.data import LabelledPhoto, find_labelled_photos, label_folders, photo_paths

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Evaluation:
    """All figures of one artifact on one folder of photos."""

    manifest: Manifest
    digest: str
    device: Device
    photos: int
    unreadable: int
    left_out: dict[str, int]  # photos under labels that the model lacks
    recognition: Recognition
    gap: Measured
    tradeoff: Tradeoff
    rejection: Rejection | None
    mistakes: tuple[Mistake, ...]
    false_tags: tuple[Mistake, ...]
    altered: tuple[Altered, ...] | None
    agreements: tuple[Agreement, ...]
    missing_devices: tuple[str, ...]


def evaluate(
    artifact: Path, data: Path, distractors: Path | None, *, device: str, altered: bool
) -> Evaluation:
    """Measure the artifact on `data`/test (or `data` itself, if it has no folder of that name) and on distractors.

    Raises:
        ModelRefused, FolderNotFound, EvaluationImpossible: with what to change.
    """
    manifest, digest = read_manifest(artifact), file_digest(artifact)
    photos, left_out = _photos_of(data, manifest)
    if distractors is not None and not distractors.is_dir():
        raise FolderNotFound(path=distractors)
    chosen = choose_device(device, None)
    reference = Device(chosen.kind, torch.float32, chosen.batch_size)
    devices = (reference, *other_devices(reference))
    models = [load_model(artifact, digest, manifest, each) for each in devices]

    seen = look_at([photo.path for photo in photos], models, "looking at test photos")
    if not seen.paths:
        raise EvaluationImpossible(path=data, reason="not one photo can be read")
    positions = {label.label: position for position, label in enumerate(manifest.labels)}
    targets = torch.tensor([positions[photos[row].label or ""] for row in seen.rows])
    others = look_at(_distractors(distractors), models, "looking at distractors")

    threshold, names = manifest.threshold, [label.name for label in manifest.labels]
    recognition = measure_recognition(manifest.labels, seen.scores[0], targets, threshold)
    top, correct, other_top = recognition.scores, recognition.correct, others.scores[0].amax(dim=1)
    none_of_them = torch.full((len(others.paths),), len(names))
    return Evaluation(
        manifest=manifest,
        digest=digest,
        device=reference,
        photos=len(targets),
        unreadable=len(photos) - len(targets),
        left_out=left_out,
        recognition=recognition,
        gap=bootstrap(average_precisions, (top, correct), (other_top,)),
        tradeoff=trade_off(top, correct, other_top),
        rejection=measure_rejection(top, other_top, _folders(others, distractors), threshold),
        mistakes=surest_mistakes(names, seen.paths, seen.scores[0], targets),
        false_tags=surest_mistakes(names, others.paths, others.scores[0], none_of_them, least=threshold),
        altered=measure_altered(models[0], seen.paths, targets, correct) if altered else None,
        agreements=compare_all(devices, seen.scores, others.scores, targets, threshold),
        missing_devices=missing_devices(),
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


def _distractors(folder: Path | None) -> list[Path]:
    return photo_paths(folder) if folder else []


def _folders(others: Seen, root: Path | None) -> list[str]:
    """The folder directly in `root` that holds each distractor; `.` for those beside these folders."""
    parts = [path.relative_to(root).parts if root else () for path in others.paths]
    return [first if rest else "." for first, *rest in parts]
