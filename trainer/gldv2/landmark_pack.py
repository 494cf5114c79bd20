"""A pack of the landmarks with the most photos, for `tagger pack add`: it takes fewer landmarks than the data set has."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from tagger.errors import PackEmpty
from tagger.library.teaching.classifiers import Direction
from tagger.library.teaching.pack_file import (
    MAX_LANDMARKS,
    PackedLandmark,
    PackEmbedding,
    PackManifest,
    encode_pack,
)
from tagger.system.names import slug_of_name
from trainer.export.pack import LEAST_PHOTOS
from trainer.gldv2.published_files import PhotoLabels

ABOUT = "Learned from Google Landmarks v2, whose annotations are under CC BY 4.0."


class LandmarkPack:
    """Collects the directions of the landmarks with the most listed photos."""

    def __init__(
        self, name: str, embedding: PackEmbedding, labels: PhotoLabels, names: Mapping[int, str]
    ) -> None:
        landmark_ids, counts = np.unique(labels.landmark_ids, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:MAX_LANDMARKS]
        self._name, self._embedding, self._names = name, embedding, names
        self._chosen = set(landmark_ids[order].tolist())
        self._directions: dict[int, Direction] = {}

    def collect(self, learned: Iterable[tuple[int, Direction]]) -> Iterator[tuple[int, Direction]]:
        """Yield what was learned, and keep the directions for the pack. Those of fewer than LEAST_PHOTOS different photos are left out."""
        for landmark_id, direction in learned:
            if landmark_id in self._chosen and direction.examples >= LEAST_PHOTOS:
                self._directions[landmark_id] = direction
            yield landmark_id, direction

    def encode(self) -> bytes:
        """The file of the pack.

        Raises:
            PackEmpty: no landmark has enough photos.
        """
        if not self._directions:
            raise PackEmpty(reason=f"no landmark has {LEAST_PHOTOS} different photos")
        manifest = PackManifest(
            name=self._name, about=ABOUT, embedding=self._embedding, landmarks=tuple(self._landmarks())
        )
        return encode_pack(manifest, list(self._directions.values()))

    def _landmarks(self) -> Iterator[PackedLandmark]:
        slugs = set[str]()
        for landmark_id, direction in self._directions.items():
            name = self._names.get(landmark_id) or f"Landmark {landmark_id}"
            slug = slug_of_name(name) or f"gldv2-{landmark_id}"
            slug = f"{slug}-{landmark_id}" if slug in slugs else slug
            slugs.add(slug)
            yield PackedLandmark(
                slug=slug, name=name, examples=direction.examples, expected=max(direction.expected, 0.0)
            )
