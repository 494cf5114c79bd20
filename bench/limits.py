"""Where the time of a photo goes: each step on its own, on one thread, in CPU time.

    python -m bench.limits FOLDER… [--photos N] [--batch-size N] [--rounds 3]

The sum is the limit: what a photo would cost if nothing but these steps were done, and doing them together cost
nothing. Storing, the queue between the threads, Python's start and the model's loading are not in it.
`bench.compare` measures it too, with `--json`, in turn with the programs that it holds against it.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
REMEMBERED = Path("build") / "limits"
"""Where the findings of the model's self-test are kept, as in a data folder."""
MAX_BYTES, MAX_PIXELS = 512 * 2**20, 250_000_000


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


def mean_steps(measured: Sequence[Steps]) -> Steps:
    """The mean of each step, of processes that ran at the same time."""
    costs = [asdict(steps) for steps in measured]
    return Steps(**{name: sum(each[name] for each in costs) / len(costs) for name in costs[0]})


def main() -> None:
    """Measure reading, digest, camera facts, decoding and the model apart."""
    asked = _arguments()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    model = load(asked.model, asked.batch_size, asked.remembered)
    measured = {folder: measure(folder, asked.photos, model, asked.rounds) for folder in asked.folders}
    if asked.json:
        print(json.dumps([asdict(steps) for steps in measured.values()]))
        return
    print_heading("Where the time goes")
    names = ("CPU ms/photo", "read", "digest", "camera facts", "decode", "model", "**limit**")
    rows = [(folder.name, *asdict(steps).values(), steps.limit) for folder, steps in measured.items()]
    print_table(names, rows)
    print(
        f"Medians of {asked.rounds} rounds; {model.runner_name}, batches of {model.batch_size}, one thread.\n",
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--photos", type=int, default=256, help="as many of each folder, evenly spread [256]")
    parser.add_argument("--batch-size", type=int, help="[the device's]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="an artifact [the one that ships]")
    parser.add_argument("--remembered", type=Path, default=REMEMBERED, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print a list of what each folder costs")
    return parser.parse_args()


def load(path: Path, batch_size: int | None, remembered: Path) -> "Model":
    """The model as the tagger runs it on a CPU: each forward pass on one thread."""
    from tagger.artifact import file_digest, read_manifest
    from tagger.devices import choose_device, passes_at_once
    from tagger.model import HowToRun, load_fastest
    from tagger.tagging import SELF_TESTS

    device = choose_device("cpu", batch_size)
    how = HowToRun(None, passes_at_once(device, None), batch_size, remembered / SELF_TESTS)
    return load_fastest(path, file_digest(path), read_manifest(path), device, how)


def measure(folder: Path, count: int, model: "Model", rounds: int) -> Steps:
    """What each step of `count` of a folder's photos costs, medians of rounds."""
    from tagger.images import decode_photo
    from tagger.metadata.camera import camera_facts
    from tagger.photos import digest_photo, read_photo

    files = photos_in(folder)
    files = files[:: max(1, len(files) // count)][:count]
    note(f"{folder.name}: {len(files)} photos, step by step")
    resize = model.manifest.input.resize
    photos = [read_photo(file, max_bytes=MAX_BYTES).data for file in files]
    images = [decode_photo(photo, resize, max_pixels=MAX_PIXELS).pixels for photo in photos]
    batches = _batches(images, model.batch_size)
    return Steps(
        read=_cost_ms(lambda file: read_photo(file, max_bytes=MAX_BYTES), files, rounds),
        digest=_cost_ms(digest_photo, photos, rounds),
        camera_facts=_cost_ms(camera_facts, photos, rounds),
        decode=_cost_ms(lambda photo: decode_photo(photo, resize, max_pixels=MAX_PIXELS), photos, rounds),
        model=_cost_ms(model.scores, batches, rounds) * len(batches) / len(images),
    )


def _cost_ms(step: Callable[[T], R], inputs: Sequence[T], rounds: int) -> float:
    """CPU milliseconds per input, the median of the rounds."""
    costs = []
    for _ in range(rounds):
        began = time.process_time()
        for each in inputs:
            step(each)
        costs.append((time.process_time() - began) * 1000 / len(inputs))
    return median(costs)


def _batches(images: Sequence["Pixels"], size: int) -> list[Sequence["Pixels"]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


if __name__ == "__main__":
    main()
