"""Photos without files: what a scan lists, and what a model finds in each. Every value follows from the photo's number.

Paths, landmarks and dates are spread as in `tests.rig.large_library`, so that the queries of `bench.queries` find as much.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from bench.queries import FIRST_TAKEN
from tagger.library.catalog.registered_models import RegisteredModel
from tagger.metadata.camera import CameraFacts
from tagger.model.predictions import Prediction
from tagger.photos.files import PhotoVersion
from tagger.photos.folder_walk import FoundPhoto
from tagger.photos.photo_names import OtherFiles
from tagger.photos.source import FolderSource
from tagger.pipeline.results import Classified

YEARS, MONTHS = range(2000, 2025), range(10, 22)
TOP_K = 5
CAMERAS = 40
WITH_GPS = 3
"""Of ten photos."""
_SIZE_BYTES, _MTIME_NS = 2_000_000, 1_700_000_000 * 10**9
_MODULUS = 1_000_003


@dataclass(frozen=True)
class ListedFolder(FolderSource):
    """A folder that lists `count` photos which it does not have, in the order of their paths."""

    count: int = 0

    def photos(
        self,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        other_files: OtherFiles | None = None,
    ) -> Iterator[FoundPhoto]:
        del include, exclude, other_files
        folders = [f"y{year}/m{month}" for year in YEARS for month in MONTHS]
        in_folder = -(-self.count // len(folders))
        for number in range(self.count):
            path = f"{self.folder}/{folders[number // in_folder]}/IMG_{number:010}.jpg"
            yield FoundPhoto(path, _SIZE_BYTES + number, _MTIME_NS + number)


class Model:
    """Finds landmarks by a photo's number; its embeddings are random, and the same at each time."""

    def __init__(self, model: RegisteredModel) -> None:
        self._labels = len(model.manifest.labels)
        self._dimension = model.manifest.embedding.dimension if model.manifest.embedding else 0

    def classify(self, path: str) -> Classified:
        """What a worker's pipeline would return for a photo of a `ListedFolder`."""
        number = int(path[-14:-4])
        embedding = np.random.default_rng(number).standard_normal(self._dimension, np.float32)
        return Classified(
            digest=f"1-f{number:063x}",  # no number of a stored photo begins so
            version=PhotoVersion(_SIZE_BYTES + number, _MTIME_NS + number),
            facts=_facts(number),
            width=4000,
            height=3000,
            predictions=self._predictions(number),
            embedding=embedding if self._dimension else None,
        )

    def _predictions(self, number: int) -> tuple[Prediction, ...]:
        shuffled = _shuffled(number)
        first = (shuffled % 1000) ** 2 * self._labels // 1_000_000  # low labels are far more frequent
        accepted = shuffled % 10 < 6
        best = (0.5 if accepted else 0.0) + 0.4 * (shuffled % 997) / 997
        return tuple(
            Prediction(
                (first + 7 * (rank - 1)) % self._labels,
                rank,
                best if rank == 1 else 0.1 / rank,
                accepted and rank == 1,
            )
            for rank in range(1, TOP_K + 1)
        )


def _facts(number: int) -> CameraFacts:
    shuffled = _shuffled(number)
    has_position = number % 10 < WITH_GPS
    return CameraFacts(
        taken_at=FIRST_TAKEN + timedelta(minutes=shuffled),
        latitude=shuffled % 1300 / 10 - 60 if has_position else None,
        longitude=shuffled % 3600 / 10 - 180 if has_position else None,
        make="Camera",
        model=f"Model {number % CAMERAS}",
    )


def _shuffled(number: int) -> int:
    return (number * 7919 + 104_729) % _MODULUS
