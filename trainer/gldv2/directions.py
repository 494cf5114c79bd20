"""A direction for each landmark, learned from the embeddings of its photos as `tagger teach` learns one from its examples.

That finds more than the mean or several prototypes of a landmark (see docs/explanation/teaching.md).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagger.library.teaching.classifiers import Direction, EmbeddingSpace, fit_direction
from trainer.gldv2.embeddings import read_embeddings
from trainer.gldv2.published_files import PhotoLabels
from trainer.progress import photo_progress

PHOTOS_AT_ONCE = 200_000
"""The embeddings in memory at a time: 0.5 GB for 1,280 dimensions."""


def learn_directions(
    files: Sequence[Path], labels: PhotoLabels, space: EmbeddingSpace
) -> Iterator[tuple[int, Direction]]:
    """Yield each landmark with an embedded photo, and its direction, in the order of landmark ids.

    All files are read once for every `PHOTOS_AT_ONCE` photos.
    """
    landmark_ids, counts = np.unique(labels.landmark_ids, return_counts=True)
    with photo_progress("learning landmarks", len(landmark_ids)) as advance:
        for first, last in _ranges(landmark_ids, counts):
            owners, embeddings = _load(files, labels, first, last)
            found, starts = np.unique(owners, return_index=True)
            for landmark_id, photos in zip(found, np.split(embeddings, starts[1:]), strict=False):
                examples = photos.astype(np.float32)
                yield int(landmark_id), fit_direction(space, examples, examples[:0])
                advance(1)


def _ranges(landmark_ids: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """The first and last landmark id of parts with at most `PHOTOS_AT_ONCE` photos, or a single landmark."""
    first = photos = 0
    for position, count in enumerate(counts):
        if photos and photos + count > PHOTOS_AT_ONCE:
            yield int(landmark_ids[first]), int(landmark_ids[position - 1])
            first, photos = position, 0
        photos += count
    yield int(landmark_ids[first]), int(landmark_ids[-1])


def _load(
    files: Sequence[Path], labels: PhotoLabels, first: int, last: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float16]]:
    """The landmarks (N,), in ascending order, and embeddings (N, D) of photos of these landmarks."""
    owners, embeddings = [], []
    for file in files:
        photos = read_embeddings(file)
        of_photos = labels.landmarks_of(photos.ids)
        is_loaded = (of_photos >= first) & (of_photos <= last)
        owners.append(of_photos[is_loaded])
        embeddings.append(photos.embeddings[is_loaded])
    stacked = np.concatenate(owners)
    order = stacked.argsort(kind="stable")
    return stacked[order], np.concatenate(embeddings)[order]
