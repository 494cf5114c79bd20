"""Evaluate a model file on folders of photos."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from tagger.errors import PathNotFound
from tagger.model.artifact import Manifest, file_digest, read_manifest
from tagger.model.devices import Device, choose_device
from tagger.model.model import load_model
from trainer.data.folders import (
    LabelledPhoto,
    find_labelled_photos,
    find_ordinary_photos,
    find_other_landmarks,
    label_folders,
    sources_of,
)
from trainer.errors import DataUnusable
from trainer.evaluation.metrics import Estimate, average_precisions, bootstrap
from trainer.evaluation.mixture import Mixture
from trainer.evaluation.recognition import (
    LibraryResult,
    Mistake,
    Recognition,
    Rejection,
    SourceResult,
    confident_mistakes,
    measure_library,
    measure_recognition,
    measure_rejection,
    measure_sources,
)
from trainer.evaluation.scores import AlterationResult, measure_alterations, score_photos

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Evaluation:
    """All figures of one artifact on one folder of photos."""

    manifest: Manifest
    digest: str
    device: Device
    photos: int
    unreadable: int
    skipped: dict[str, int]  # photos by label that the model lacks
    recognition: Recognition
    by_source: dict[str, SourceResult]  # empty if the folder does not list the photos' sources
    gap: Estimate
    rejection: Rejection | None
    library: LibraryResult | None
    mistakes: tuple[Mistake, ...]
    false_tags: tuple[Mistake, ...]
    alterations: dict[str, AlterationResult] | None


def evaluate(
    artifact: Path,
    data: Path,
    distractors: Path | None,
    others: Path | None,
    *,
    mixture: Mixture,
    device: str,
    altered: bool,
) -> Evaluation:
    """Evaluate the artifact on `data`/test, or on `data` if it has no such folder, on distractors, and for a library.

    `distractors` is a folder of ordinary photos, `others` one of other landmarks; those with a label are left out. The library shows
    `mixture`. `altered`: also evaluate altered photos.

    Raises:
        ModelRefused, PathNotFound, DataFileInvalid, DataUnusable: with what to change.
    """
    manifest, digest = read_manifest(artifact), file_digest(artifact)
    photos, skipped = _photos_of(data, manifest)
    distractor_paths = [photo.path for photo in find_ordinary_photos(distractors)] if distractors else []
    other_paths = _other_landmarks(others, manifest) if others else []
    chosen = choose_device(device, None)
    reference = Device(chosen.kind, "float32", chosen.batch_size)
    model = load_model(artifact, digest, manifest, reference)
    landmarks = score_photos([photo.path for photo in photos], model, "scoring test photos")
    if not landmarks.paths:
        raise _unusable(data, "none of its photos can be read")
    positions = {label.label: position for position, label in enumerate(manifest.labels)}
    targets = torch.tensor([positions[photos[row].label or ""] for row in landmarks.rows])
    ordinary = score_photos(distractor_paths, model, "scoring distractors")
    other = score_photos(other_paths, model, "scoring other landmarks")

    log.info("measuring the scores")
    names, threshold = [label.name for label in manifest.labels], manifest.threshold
    none_of_them = torch.full((len(ordinary.paths),), len(names))
    suggested_from = manifest.suggestion_threshold or threshold
    recognition = measure_recognition(manifest.labels, landmarks.scores, targets, threshold, suggested_from)
    parts = [path.relative_to(distractors).parts if distractors else () for path in ordinary.paths]
    folders = [first if rest else "." for first, *rest in parts]  # directly in the folder of distractors
    top, correct, other_top = recognition.scores, recognition.correct, ordinary.scores.amax(dim=1)
    return Evaluation(
        manifest=manifest,
        digest=digest,
        device=reference,
        photos=len(targets),
        unreadable=len(photos) - len(targets),
        skipped=skipped,
        recognition=recognition,
        by_source=measure_sources(recognition, sources_of(landmarks.paths, data), threshold),
        gap=bootstrap(average_precisions, (top, correct), (other_top,)),
        rejection=measure_rejection(top, other_top, folders, threshold),
        library=measure_library(
            correct,
            top >= threshold,
            other.scores.amax(dim=1) >= threshold,
            other_top >= threshold,
            mixture,
        ),
        mistakes=confident_mistakes(names, landmarks.paths, landmarks.scores, targets),
        false_tags=confident_mistakes(
            names, ordinary.paths, ordinary.scores, none_of_them, least_score=threshold
        ),
        alterations=measure_alterations(model, landmarks.paths, targets, correct) if altered else None,
    )


def _photos_of(data: Path, manifest: Manifest) -> tuple[list[LabelledPhoto], dict[str, int]]:
    """The photos with labels of the model, and the number of other photos by label."""
    if not data.is_dir():
        raise PathNotFound(path=data)
    folder = data / "test" if (data / "test").is_dir() else data
    model_labels = {label.label for label in manifest.labels}
    photos, skipped = [], dict[str, int]()
    for photo in find_labelled_photos(folder):
        if photo.label in model_labels:
            photos.append(photo)
        else:
            skipped[photo.label or ""] = skipped.get(photo.label or "", 0) + 1
    for label, count in skipped.items():
        log.warning("the model has no label %s: its photos are skipped (%d)", label, count)
    if not photos:
        names = ", ".join(entry.name for entry in label_folders(folder)[:3]) or "none"
        raise _unusable(data, f"no label folder matches a label of the model (folders: {names})")
    return photos, skipped


def _other_landmarks(folder: Path, manifest: Manifest) -> list[Path]:
    names = {name for label in manifest.labels for name in (label.label, label.slug)}
    return [photo.path for photo in find_other_landmarks(folder) if photo.place not in names]


def _unusable(data: Path, reason: str) -> DataUnusable:
    remedy = f"Lay out photos as {data}/test/LABEL/photo.jpg or {data}/LABEL/photo.jpg, with the labels of the model"
    return DataUnusable(path=data, reason=reason, remedy=remedy)
