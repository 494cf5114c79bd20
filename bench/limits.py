"""Where the time of a photo goes: each step on its own, on one thread, in CPU time.

    python -m bench.limits FOLDER… [--photos N] [--batch-size N]

The sum is the limit: what a photo would cost if nothing but these steps were done, and doing them together cost
nothing. Storing, the queue between the threads, Python's start and the model's loading are not in it.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench.copies import photos_in
from bench.report import median, note, print_heading, print_table

if TYPE_CHECKING:
    from tagger.images import Pixels
    from tagger.model import Model

T = TypeVar("T")
R = TypeVar("R")

SHIPPED = Path(__file__).parent.parent / "tagger" / "shipped" / "landmarks.pt"
MAX_BYTES, MAX_PIXELS = 512 * 2**20, 250_000_000
ROUNDS = 3


def main() -> None:
    """Measure reading, digest, camera facts, decoding and the model apart."""
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--photos", type=int, default=256, help="as many of each folder, evenly spread [256]")
    parser.add_argument("--batch-size", type=int, help="[the device's]")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    print_heading("Where the time goes")
    model = _model(asked.batch_size)
    rows = [_steps(folder, asked.photos, model) for folder in asked.folders]
    names = ("CPU ms/photo", "photos", "read", "digest", "camera facts", "decode", "model", "**limit**")
    print_table(names, rows)
    print(f"Medians of {ROUNDS} rounds; batches of {model.batch_size}, one thread.\n", flush=True)


def _model(batch_size: int | None) -> "Model":
    from tagger.artifact import file_digest, read_manifest
    from tagger.devices import choose_device
    from tagger.model import load_model

    device = choose_device("cpu", batch_size)
    return load_model(SHIPPED, file_digest(SHIPPED), read_manifest(SHIPPED), device, threads=1)


def _steps(folder: Path, count: int, model: "Model") -> list[object]:
    from tagger.images import decode_photo
    from tagger.metadata.camera import camera_facts
    from tagger.photos import digest_photo, read_photo

    files = photos_in(folder)
    files = files[:: max(1, len(files) // count)][:count]
    note(f"{folder.name}: {len(files)} photos")
    resize = model.manifest.input.resize
    photos = [read_photo(file, max_bytes=MAX_BYTES).data for file in files]
    images = [decode_photo(photo, resize, max_pixels=MAX_PIXELS).pixels for photo in photos]
    steps = [
        _cost_ms(lambda file: read_photo(file, max_bytes=MAX_BYTES), files),
        _cost_ms(digest_photo, photos),
        _cost_ms(camera_facts, photos),
        _cost_ms(lambda photo: decode_photo(photo, resize, max_pixels=MAX_PIXELS), photos),
        _cost_ms(model.scores, _batches(images, model.batch_size)) * _per_photo(images, model.batch_size),
    ]
    return [folder.name, len(files), *steps, sum(steps)]


def _cost_ms(step: Callable[[T], R], inputs: Sequence[T]) -> float:
    """CPU milliseconds per input, the median of the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for each in inputs:
            step(each)
        rounds.append((time.process_time() - began) * 1000 / len(inputs))
    return median(rounds)


def _batches(images: Sequence["Pixels"], size: int) -> list[Sequence["Pixels"]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


def _per_photo(images: Sequence["Pixels"], size: int) -> float:
    return len(_batches(images, size)) / len(images)


if __name__ == "__main__":
    main()
