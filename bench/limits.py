"""Measures each step of tagging a photo alone, on one thread, in CPU time.

    python -m bench.limits FOLDER… [--photos N] [--batch-size N] [--rounds 3]

The sum is the lower limit of the CPU time per photo, of the functions that the tagger itself calls: a photo is opened in its root,
where links are not followed, and the model's outputs are checked. It does not include storing, queues between threads, starting Python and
loading the model. `bench.compare` runs this with `--json`, alternating with the programs that it compares.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from bench.models import MAX_BYTES, MAX_PIXELS, SHIPPED, load_model
from bench.photos import evenly_spread, photos_in
from bench.report import note, print_heading, print_table

if TYPE_CHECKING:
    from tagger.images import Pixels
    from tagger.inference.model import Model

T = TypeVar("T")
R = TypeVar("R")

DATA_FOLDER = Path("build") / "limits"
"""The data folder whose database keeps the backend selection."""


@dataclass(frozen=True)
class Steps:
    """CPU milliseconds per photo of each step alone, on one thread."""

    read: float
    digest: float
    camera_facts: float
    decode: float
    model: float

    @property
    def limit(self) -> float:
        return self.read + self.digest + self.camera_facts + self.decode + self.model


def mean_steps(processes: Sequence[Steps]) -> Steps:
    """Return the mean of each step over processes that ran concurrently."""
    costs = [asdict(steps) for steps in processes]
    return Steps(**{name: sum(each[name] for each in costs) / len(costs) for name in costs[0]})


def main() -> None:
    """Measure reading, digest, camera facts, decoding and the model separately."""
    args = _arguments()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    model = load_model(args.model, args.data_folder, batch_size=args.batch_size)
    steps_by_folder = {folder: measure(folder, args.photos, model, args.rounds) for folder in args.folders}
    if args.json:
        print(json.dumps([asdict(steps) for steps in steps_by_folder.values()]))
        return
    print_heading("CPU time by step")
    names = ("CPU ms/photo", "read", "digest", "camera facts", "decode", "model", "**limit**")
    rows = [(folder.name, *asdict(steps).values(), steps.limit) for folder, steps in steps_by_folder.items()]
    print_table(names, rows)
    print(
        f"Medians of {args.rounds} rounds; {model.backend_name}, batches of {model.batch_size}, one thread.\n",
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--photos", type=int, default=256, help="photos per folder, evenly spread [256]")
    parser.add_argument("--batch-size", type=int, help="[the device's]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="a model file [the one of the package]")
    parser.add_argument("--data-folder", type=Path, default=DATA_FOLDER, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print the times of each folder as a list")
    return parser.parse_args()


def measure(folder: Path, count: int, model: "Model", rounds: int) -> Steps:
    """Measure each step on `count` photos of a folder; medians of the rounds."""
    from tagger.images import decode_photo
    from tagger.metadata.camera import camera_facts
    from tagger.photos.digest import digest_photo
    from tagger.photos.source import open_source

    files = evenly_spread(photos_in(folder), count)
    note(f"{folder.name}: {len(files)} photos, step by step")
    resize = model.manifest.input.resize
    source = open_source(str(folder))
    names = [str(file.relative_to(folder)) for file in files]
    photos = [source.read(name, max_bytes=MAX_BYTES).data for name in names]
    images = [decode_photo(photo, resize, max_pixels=MAX_PIXELS).pixels for photo in photos]
    batches = _batches(images, model.batch_size)
    return Steps(
        read=cpu_ms_per_input(lambda name: source.read(name, max_bytes=MAX_BYTES), names, rounds),
        digest=cpu_ms_per_input(digest_photo, photos, rounds),
        camera_facts=cpu_ms_per_input(camera_facts, photos, rounds),
        decode=cpu_ms_per_input(
            lambda photo: decode_photo(photo, resize, max_pixels=MAX_PIXELS), photos, rounds
        ),
        model=cpu_ms_per_input(model.predict, batches, rounds) * len(batches) / len(images),
    )


def cpu_ms_per_input(step: Callable[[T], R], inputs: Sequence[T], rounds: int) -> float:
    """Return the CPU milliseconds per input, the median of the rounds."""
    costs = []
    for _ in range(rounds):
        start = time.process_time()
        for value in inputs:
            step(value)
        costs.append((time.process_time() - start) * 1000 / len(inputs))
    return median(costs)


def _batches(images: Sequence["Pixels"], size: int) -> list[Sequence["Pixels"]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


if __name__ == "__main__":
    main()
