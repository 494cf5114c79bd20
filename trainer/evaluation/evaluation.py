"""Evaluate a model file on folders of photos."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tagger.errors import PathNotFound
from tagger.model.artifact import Manifest, file_digest, read_manifest
from tagger.model.devices import Device, choose_device
from tagger.model.model import Model, load_model
from trainer.data.folders import (
    LabelledPhoto,
    find_labelled_photos,
    find_ordinary_photos,
    find_other_landmarks,
    image_digest,
    label_folders,
    label_of,
    warn_of_label_conflicts,
)
from trainer.data.pixels import decode_batches
from trainer.data.preparation import DIGEST_LENGTH, trained_photos
from trainer.errors import DataUnusable
from trainer.evaluation.mixture import ORDINARY, OTHERS, Mixture
from trainer.evaluation.recognition import (
    LibraryResult,
    Mistake,
    Recognition,
    Rejection,
    confident_mistakes,
    measure_library,
    measure_recognition,
    measure_rejection,
)
from trainer.progress import photo_progress

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
    trained: int  # photos left out because they, or others of their landmark, were in training
    recognition: Recognition
    rejection: Rejection | None
    false_tags_by_kind: dict[str, float]  # shares of `ORDINARY` and `OTHERS`
    other_photos: int
    other_landmarks: int
    library: LibraryResult | None
    mistakes: tuple[Mistake, ...]
    false_tags: tuple[Mistake, ...]


def evaluate(
    artifact: Path,
    data: Path,
    distractors: Path | None,
    others: Path | None,
    *,
    mixture: Mixture,
    device: str,
) -> Evaluation:
    """Evaluate the artifact on `data`/test or `data`, on distractors, and for a library.

    Photos that were in training do not count.

    `distractors` is a folder of ordinary photos, `others` one with LANDMARK/photo.jpg of other landmarks;
    those with a label are left out. The library shows `mixture`.

    Raises:
        ModelRefused, PathNotFound, DataUnusable: with what to change.
    """
    manifest, digest = read_manifest(artifact), file_digest(artifact)
    found, skipped = _photos_of(data, manifest)
    ordinary = find_ordinary_photos(distractors) if distractors else ()
    labels = {name for label in manifest.labels for name in (label_of(label.label), label.slug)}
    other = [photo for photo in find_other_landmarks(others) if photo.place not in labels] if others else []
    digests = {photo: image_digest(photo.path) for photo in (*found, *ordinary, *other)}
    warn_of_label_conflicts((digest, photo) for photo, digest in digests.items())
    trained = _in_training(digests, manifest)
    known_places = {photo.place for photo in other if photo in trained}
    trained |= {photo for photo in other if photo.place in known_places}
    photos = [photo for photo in found if photo not in trained]
    if not photos:
        raise _unusable(data, "all of its photos were in training")
    strangers = [photo for photo in (*ordinary, *other) if photo not in trained]
    chosen = choose_device(device, None)
    reference = Device(chosen.kind, "float32", chosen.batch_size)
    model = load_model(artifact, digest, manifest, reference)
    rows, scores = score_photos([photo.path for photo in photos], model, "scoring test photos")
    if not rows:
        raise _unusable(data, "none of its photos can be read")
    unreadable, photos = len(photos) - len(rows), [photos[row] for row in rows]
    positions = {label_of(label.label): position for position, label in enumerate(manifest.labels)}
    targets = torch.tensor([positions[photo.label] for photo in photos])
    rows, other_scores = score_photos([photo.path for photo in strangers], model, "scoring distractors")
    strangers = [strangers[row] for row in rows]

    names, threshold = [label.name for label in manifest.labels], manifest.threshold
    suggested_from = manifest.suggestion_threshold or threshold
    none_of_them = torch.full((len(strangers),), len(names))
    recognition = measure_recognition(manifest.labels, scores, targets, threshold, suggested_from)
    folders = [OTHERS if photo.place else photo.kind or "." for photo in strangers]
    top, correct, other_top = recognition.scores, recognition.correct, other_scores.amax(dim=1)
    is_other = torch.tensor([photo.place is not None for photo in strangers], dtype=torch.bool)
    kinds = {ORDINARY: other_top[~is_other], OTHERS: other_top[is_other]}
    return Evaluation(
        manifest=manifest,
        digest=digest,
        device=reference,
        photos=len(targets),
        unreadable=unreadable,
        skipped=skipped,
        trained=len(trained),
        recognition=recognition,
        rejection=measure_rejection(other_top, folders, threshold),
        false_tags_by_kind={
            kind: float((each >= threshold).float().mean()) for kind, each in kinds.items() if len(each)
        },
        other_photos=int(is_other.sum()),
        other_landmarks=len({photo.place for photo in strangers} - {None}),
        library=measure_library(
            correct, top >= threshold, kinds[OTHERS] >= threshold, kinds[ORDINARY] >= threshold, mixture
        ),
        mistakes=confident_mistakes(names, [photo.path for photo in photos], scores, targets),
        false_tags=confident_mistakes(
            names, [photo.path for photo in strangers], other_scores, none_of_them, least_score=threshold
        ),
    )


def _in_training(photos: Mapping[LabelledPhoto, str | None], manifest: Manifest) -> set[LabelledPhoto]:
    """Those of the photos that the model has learned from."""
    trained = trained_photos(manifest)
    return {photo for photo, digest in photos.items() if (digest or "")[:DIGEST_LENGTH] in trained}


def _photos_of(data: Path, manifest: Manifest) -> tuple[list[LabelledPhoto], dict[str, int]]:
    """The photos with labels of the model, and the number of other photos by label."""
    if not data.is_dir():
        raise PathNotFound(path=data)
    folder = data / "test" if (data / "test").is_dir() else data
    model_labels = {label_of(label.label) for label in manifest.labels}
    photos, skipped = [], dict[str, int]()
    for photo in find_labelled_photos(folder):
        if photo.label in model_labels:
            photos.append(photo)
        else:
            skipped[photo.label] = skipped.get(photo.label, 0) + 1
    for label, count in skipped.items():
        log.warning("the model has no label %s: its photos are skipped (%d)", label, count)
    if not photos:
        names = ", ".join(entry.name for entry in label_folders(folder)[:3]) or "none"
        raise _unusable(data, f"no label folder matches a label of the model (folders: {names})")
    return photos, skipped


def _unusable(data: Path, reason: str) -> DataUnusable:
    remedy = (
        f"Lay out photos as {data}/test/LABEL/photo.jpg or {data}/LABEL/photo.jpg, "
        "with the labels of the model"
    )
    return DataUnusable(path=data, reason=reason, remedy=remedy)


def score_photos(paths: Sequence[Path], model: Model, description: str) -> tuple[list[int], Tensor]:
    """The positions of the readable photos, and their scores, float32 (N, L). Others get a warning.

    Args:
        paths: the photos
        model: the model
        description: of the progress bar
    """
    rows: list[int] = []
    parts = [np.empty((0, len(model.manifest.labels)), dtype=np.float32)]
    with photo_progress(description, len(paths)) as advance:
        for batch in decode_batches(paths, model.manifest.input.resize, model.batch_size):
            parts.append(model.outputs(batch.pixels).scores)
            rows += batch.positions
            advance(len(batch.positions))
    return rows, torch.from_numpy(np.concatenate(parts))
