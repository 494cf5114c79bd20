"""How many photos a second exported models look at on this machine, as the tagger would run them.

The models take turns, so that whatever else the machine does hits all of them alike.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from tagger.artifact import file_digest, read_manifest
from tagger.devices import Device
from tagger.images import Pixels
from tagger.model import Model, load_model
from trainer.photos.decoding import decode_batches
from trainer.progress import photo_progress

PHOTOS = 64
ROUNDS = 5


@dataclass(frozen=True)
class Speed:
    """Photos per second, the median of the rounds: of the forward passes alone, and with reading and decoding."""

    model: float
    with_decoding: float


def measure_speeds(models: dict[str, Path], photos: Sequence[str], device: Device) -> dict[str, Speed]:
    """Time every model on `photos` (as many of them as it takes), in the precision that `device` says."""
    paths = _sample([Path(photo) for photo in photos], max(PHOTOS, device.batch_size))
    loaded = {
        name: load_model(path, file_digest(path), read_manifest(path), device)
        for name, path in models.items()
    }
    alone: dict[str, list[float]] = {name: [] for name in loaded}
    whole: dict[str, list[float]] = {name: [] for name in loaded}
    with photo_progress("timing", (ROUNDS + 1) * len(loaded) * len(paths)) as advance:
        for _ in range(ROUNDS + 1):
            for name, model in loaded.items():
                images = _decoded(model, paths)
                alone[name].append(_rate(len(images), lambda: model.scores(images)))  # noqa: B023 - called at once
                whole[name].append(_rate(len(images), lambda: _look(model, paths)))  # noqa: B023
                advance(len(paths))
    # The first round only warms up.
    return {name: Speed(median(alone[name][1:]), median(whole[name][1:])) for name in loaded}


def _sample(paths: list[Path], count: int) -> list[Path]:
    """`count` of them from all over, some more than once where there are too few."""
    there = [path for path in paths if path.is_file()]
    return list(islice(cycle(there[:: max(1, len(there) // count)]), count))


def _rate(photos: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return photos / (time.perf_counter() - begin)


def _decoded(model: Model, paths: Sequence[Path]) -> list[Pixels]:
    batches = decode_batches(paths, model.manifest.input.resize, model.batch_size)
    return [image for batch in batches for image in batch.images.permute(0, 2, 3, 1).numpy()]


def _look(model: Model, paths: Sequence[Path]) -> None:
    for batch in decode_batches(paths, model.manifest.input.resize, model.batch_size):
        model.scores(list(batch.images.permute(0, 2, 3, 1).numpy()))
