"""Packs of landmarks from folders of photos, with figures on photos that were held out.

A pack is what `tagger pack add` reads. Its directions are learned from all photos; for the figures, directions are learned without a part
of the photos, and tested on that part.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagger.errors import PackEmpty
from tagger.library.teaching.classifiers import (
    EmbeddingSpace,
    Values,
    calibrate,
    fit_direction,
    quantize,
    restore,
)
from tagger.library.teaching.pack_file import PackedLandmark, PackManifest, encode_pack
from tagger.model.predictions import TAUGHT_THRESHOLD
from trainer.data.folders import find_labelled_photos, find_ordinary_photos
from trainer.data.gazetteer import labels_with_landmarks
from trainer.embeddings import EmbeddingModel

LEAST_PHOTOS = 6
PARTS = 3
"""Each photo is held out once, with a third of its landmark's."""

log = logging.getLogger("trainer")
Indices = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MeasuredPack:
    """A pack and the counts behind its figures, over all held-out photos. `false_others`: photos of none of its landmarks, with a tag."""

    manifest: PackManifest
    data: bytes
    held_out: int
    found: int
    tags: int
    others: int
    false_others: int


def make_pack(
    photos: Path, others: Path | None, model_file: Path, device: str, name: str, words: Mapping[str, str]
) -> MeasuredPack:
    """Learn every landmark with at least LEAST_PHOTOS different photos, and measure how well it is found.

    Args:
        photos: has a folder of photos for each landmark, and landmarks.csv, if there is one.
        others: photos of anything else, among which the landmarks are looked for, too.
        model_file: the model of the libraries that the pack is for.
        device: computes the embeddings.
        name: the pack's, a slug.
        words: the author's words, fields of `PackManifest`.

    Raises:
        PathNotFound, DataFileInvalid: the folders cannot be read.
        ModelRefused, EmbeddingsMissing: the model cannot be used, or is of format 1.
        PackEmpty: no folder has enough photos.
    """
    model = EmbeddingModel.load(model_file, device)
    labelled = [*find_labelled_photos(photos), *(find_ordinary_photos(others) if others else ())]
    positions, embeddings = model.embed_files([photo.path for photo in labelled])
    stored = restore(quantize(embeddings), model.facts.dimension)  # as a library has them
    owners = [labelled[position].label for position in positions]
    directions = {}
    for label in sorted({photo.label for photo in labelled if photo.label}):
        own = stored[np.array([owner == label for owner in owners], bool)]
        direction = fit_direction(model.space, own, own[:0]) if len(own) else None
        if direction and direction.examples >= LEAST_PHOTOS:
            directions[label] = direction
        else:
            log.warning("left out: %s (fewer than %d different photos)", label, LEAST_PHOTOS)
    if not directions:
        raise PackEmpty(reason=f"no folder has {LEAST_PHOTOS} different photos")
    numbers = {label: number for number, label in enumerate(directions)}
    truth = np.array([numbers.get(owner or "", -1) for owner in owners])
    tagged = _tag_held_out(model.space, stored, truth, len(directions))
    packed = []
    for number, landmark in enumerate(labels_with_landmarks(directions, photos)):
        direction, is_own, is_tagged = directions[landmark.label], truth == number, tagged[:, number]
        right, sought = int((is_own & is_tagged).sum()), int(is_own.sum())
        packed.append(
            PackedLandmark(
                **landmark.model_dump(exclude={"label"}),
                examples=direction.examples,
                expected=max(direction.expected, 0.0),
                precision=right / int(is_tagged.sum()) if is_tagged.any() else None,
                recall=right / sought,
                held_out=sought,
            )
        )
    manifest = PackManifest(
        name=name,
        embedding=model.facts,
        landmarks=tuple(packed),
        **words,  # type: ignore[arg-type]
    )
    is_other = truth < 0
    return MeasuredPack(
        manifest,
        encode_pack(manifest, list(directions.values())),
        held_out=int((~is_other).sum()),
        found=int(tagged[np.flatnonzero(~is_other), truth[~is_other]].sum()),
        tags=int(tagged[~is_other].sum()),
        others=int(is_other.sum()),
        false_others=int(tagged[is_other].any(axis=1).sum()),
    )


def _tag_held_out(space: EmbeddingSpace, embeddings: Values, truth: Indices, landmarks: int) -> Truth:
    """Which landmarks (N, L) each photo gets from directions that were learned without it.

    `embeddings` (N, D) are those of all photos, `truth` (N,) the index of each photo's landmark; -1: none of them.
    The photos of a landmark are held out in the order of their paths, so that series of photos stay together.
    """
    part = np.zeros(len(truth), np.int64)
    for landmark in range(-1, landmarks):
        own = np.flatnonzero(truth == landmark)
        part[own] = np.arange(len(own)) * PARTS // max(len(own), 1)
    tagged = np.zeros((len(part), landmarks), bool)
    for number in range(PARTS):
        held_out = part == number
        sought = embeddings[held_out]
        scores = np.stack(
            [
                calibrate(
                    fit_direction(space, embeddings[~held_out & (truth == landmark)], sought[:0]),
                    sought,
                ).scores(sought)
                for landmark in range(landmarks)
            ],
            axis=1,
        )
        tagged[held_out] = scores >= TAUGHT_THRESHOLD
    return tagged
