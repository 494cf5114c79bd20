"""What runs a model, side by side: how often each names the right landmark, how far it is from float32, and its cost;
what batch sizes cost; and one forward pass on all cores against one on each.

    python -m bench.runners FOLDER [--rounds 5]

FOLDER has a folder of photos for each label of the model, as test data has. On a CPU; the first row is the truth the
others are held against. *nearest* rounds each weight to the nearest value of bfloat16, as casting does by itself;
all other rows in bfloat16 keep the sums of depthwise kernels.
"""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.copies import photos_in
from bench.limits import MAX_BYTES, MAX_PIXELS, SHIPPED
from bench.report import median, note, print_heading, print_table, spread
from tagger.devices import core_count

if TYPE_CHECKING:
    from tagger.artifact import Manifest
    from tagger.runners import Images, Runner, Scores

BATCH = 8


@dataclass(frozen=True)
class Way:
    """A runner and a precision; `nearest`: weights are rounded one by one."""

    runner: str
    precision: str
    nearest: bool = False

    @property
    def title(self) -> str:
        return f"{self.runner}, {self.precision}{', nearest' if self.nearest else ''}"


TRUTH = Way("torchscript", "float32")
WAYS = (
    TRUTH,
    Way("torchscript", "bfloat16", nearest=True),
    Way("torchscript", "bfloat16"),
    Way("openvino", "float32"),
    Way("openvino", "bfloat16"),
)


FASTEST = (WAYS[2], WAYS[4])
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    """Compare what can run a model here: right names, agreement, CPU time."""
    parser = argparse.ArgumentParser(prog="python -m bench.runners", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photos in a folder for each label")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="an artifact [the one that ships]")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from tagger.artifact import read_manifest

    manifest = read_manifest(asked.model)
    images, right = _decoded(asked.folder, manifest)
    runners = {way: _made(way, asked.model, manifest.input.size) for way in WAYS}
    scores = {way: _scores(runner, images) for way, runner in runners.items()}
    costs = _costs(runners, images, asked.rounds)
    print_heading("Runners")
    rows = [_row(way, scores, costs, right, manifest.threshold) for way in WAYS]
    names = ("", "CPU ms/photo", "as fast", "top-1", "same top-1", "same outcome", "largest difference")
    print_table(names, rows)
    print(f"{len(images)} photos, batches of {BATCH}, one thread; medians of {asked.rounds} rounds.\n")
    _print_batch_sizes({way: runners[way] for way in FASTEST}, images, asked.rounds)
    _print_passes(asked.model, manifest.input.size, images, asked.rounds)


def _decoded(folder: Path, manifest: "Manifest") -> tuple["Images", "np.ndarray"]:
    """All photos under the model's labels, (N, size, size, 3), and the label of each by its position."""
    from tagger.images import decode_photo
    from tagger.photos import read_photo

    positions = {label.label: position for position, label in enumerate(manifest.labels)}
    files = [file for file in photos_in(folder) if file.parent.name in positions]
    if not files:
        raise SystemExit(f"no folder in {folder} has the name of one of the model's labels")
    note(f"decoding {len(files)} photos")
    photos = (read_photo(file, max_bytes=MAX_BYTES).data for file in files)
    pixels = [decode_photo(data, manifest.input.resize, max_pixels=MAX_PIXELS).pixels for data in photos]
    return np.stack(pixels), np.array([positions[file.parent.name] for file in files])


def _made(way: Way, model: Path, size: int, at_once: int = 1, threads: int = 1) -> "Runner":
    import torch

    from tagger.artifact import file_digest, load_module
    from tagger.devices import Device
    from tagger.runners.choosing import Choosing

    def load() -> torch.jit.ScriptModule:
        module = load_module(model, file_digest(model))
        if way.nearest:
            module.to(torch.bfloat16).to(torch.float32)
        return module

    torch.set_num_threads(threads)
    device = Device("cpu", getattr(torch, way.precision), BATCH)
    return Choosing(load, device, size, at_once).make(way.runner)


def _scores(runner: "Runner", images: "Images") -> "Scores":
    return np.concatenate([runner.forward(images[at : at + BATCH]) for at in range(0, len(images), BATCH)])


def _costs(runners: dict[Way, "Runner"], images: "Images", rounds: int) -> dict[Way, float]:
    """CPU milliseconds per photo, all in turn in each round."""
    some = images[: 16 * BATCH]
    costs: dict[Way, list[float]] = {way: [] for way in runners}
    for number in range(rounds):
        note(f"round {number + 1} of {rounds}")
        for way, runner in runners.items():
            began = time.process_time()
            _scores(runner, some)
            costs[way].append((time.process_time() - began) / len(some) * 1000)
    return {way: median(each) for way, each in costs.items()}


def _print_batch_sizes(runners: dict[Way, "Runner"], images: "Images", rounds: int) -> None:
    costs: dict[tuple[Way, int], list[float]] = {}
    for _ in range(rounds):
        for way, runner in runners.items():
            for size in BATCH_SIZES:
                runner.forward(images[:size])
                began = time.process_time()
                for at in range(0, 64, size):
                    runner.forward(images[at : at + size])
                costs.setdefault((way, size), []).append((time.process_time() - began) / 64 * 1000)
    names = ("CPU ms/photo, batches of", *map(str, BATCH_SIZES))
    print_table(names, [(way.title, *(median(costs[way, size]) for size in BATCH_SIZES)) for way in runners])


def _print_passes(model: Path, size: int, images: "Images", rounds: int) -> None:
    """TorchScript with one pass on all cores and with one on each; photos/s, since waiting costs no CPU time."""
    cores = core_count()
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for title, at_once, threads in (("one on all cores", 1, cores), ("one on each", cores, 1)):
            runner = _made(WAYS[2], model, size, at_once, threads)
            _rate(runner, images[: 4 * BATCH])
            rates.setdefault(title, []).append(_rate(runner, images[: 32 * BATCH]))
    names = ("forward passes of TorchScript at a time", "photos/s", "least to greatest")
    print_table(names, [(title, median(each), spread(each)) for title, each in rates.items()])


def _rate(runner: "Runner", images: "Images") -> float:
    batches = [images[at : at + BATCH] for at in range(0, len(images), BATCH)]
    began = time.perf_counter()
    with ThreadPoolExecutor(runner.at_once) as pool:
        list(pool.map(runner.forward, batches))
    return len(images) / (time.perf_counter() - began)


def _row(
    way: Way, scores: dict[Way, "Scores"], costs: dict[Way, float], right: "np.ndarray", threshold: float
) -> Sequence[object]:
    mine, true = scores[way], scores[TRUTH]
    accepted = (mine.max(axis=1) >= threshold) == (true.max(axis=1) >= threshold)
    return [
        way.title,
        costs[way],
        f"{costs[TRUTH] / costs[way]:.2f} x",
        _percent(mine.argmax(axis=1) == right),
        _percent(mine.argmax(axis=1) == true.argmax(axis=1)),
        _percent(accepted),
        f"{np.abs(mine - true).max():.3f}",
    ]


def _percent(alike: "np.ndarray") -> str:
    return f"{100 * alike.mean():.1f} %"


if __name__ == "__main__":
    main()
