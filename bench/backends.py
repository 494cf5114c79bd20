"""Compares backends by accuracy, difference from float32 and CPU time, with several batch sizes; and one forward pass on all cores
with one per core.

    python -m bench.backends FOLDER [--rounds 5]

FOLDER contains a folder of photos for each label of the model, like the test data. Runs on a CPU; the first row is the
reference. *nearest* rounds each weight to the nearest bfloat16 value, as a cast does; the other bfloat16 rows keep the sums
of depthwise kernels.
"""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from bench.models import MAX_BYTES, MAX_PIXELS, SHIPPED
from bench.photos import photos_in
from bench.report import note, print_heading, print_table, value_range
from tagger.inference.devices import core_count

if TYPE_CHECKING:
    from tagger.inference.artifact import Manifest
    from tagger.inference.backends import Backend, Images, Scores
    from tagger.inference.backends.protocol import BackendName

BATCH = 8


@dataclass(frozen=True)
class Variant:
    """A backend and a precision. `nearest`: each weight is rounded by itself."""

    backend: "BackendName"
    precision: str
    nearest: bool = False

    @property
    def title(self) -> str:
        return f"{self.backend}, {self.precision}{', nearest' if self.nearest else ''}"


REFERENCE = Variant("torchscript", "float32")
VARIANTS = (
    REFERENCE,
    Variant("torchscript", "bfloat16", nearest=True),
    Variant("torchscript", "bfloat16"),
    Variant("openvino", "float32"),
    Variant("openvino", "bfloat16"),
)
FASTEST = (VARIANTS[2], VARIANTS[4])
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def main() -> None:
    """Compare backends by accuracy, agreement and CPU time."""
    parser = argparse.ArgumentParser(prog="python -m bench.backends", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder of photos for each label")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="a model file [the one of the package]")
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from tagger.inference.artifact import read_manifest

    manifest = read_manifest(args.model)
    images, label_positions = _decode(args.folder, manifest)
    backends = {variant: _load(variant, args.model, manifest.input.size) for variant in VARIANTS}
    scores = {variant: _scores(backend, images) for variant, backend in backends.items()}
    costs = _costs(backends, images, args.rounds)
    print_heading("Backends")
    rows = [_row(variant, scores, costs, label_positions, manifest.threshold) for variant in VARIANTS]
    names = ("", "CPU ms/photo", "speedup", "top-1", "same top-1", "same outcome", "largest difference")
    print_table(names, rows)
    print(f"{len(images)} photos, batches of {BATCH}, one thread; medians of {args.rounds} rounds.\n")
    _print_batch_sizes({variant: backends[variant] for variant in FASTEST}, images, args.rounds)
    _print_passes(args.model, manifest.input.size, images, args.rounds)


def _decode(folder: Path, manifest: "Manifest") -> tuple["Images", "np.ndarray"]:
    """Return the photos of the model's labels, uint8 (N, size, size, 3), and the position of each photo's label."""
    from tagger.images import decode_photo
    from tagger.photos.files import read_photo

    positions = {label.label: position for position, label in enumerate(manifest.labels)}
    files = [file for file in photos_in(folder) if file.parent.name in positions]
    if not files:
        raise SystemExit(f"no folder in {folder} has the name of one of the model's labels")
    note(f"decoding {len(files)} photos")
    photos = (read_photo(file, max_bytes=MAX_BYTES).data for file in files)
    pixels = [decode_photo(data, manifest.input.resize, max_pixels=MAX_PIXELS).pixels for data in photos]
    return np.stack(pixels), np.array([positions[file.parent.name] for file in files])


def _load(variant: Variant, model: Path, size: int, at_once: int = 1, threads: int = 1) -> "Backend":
    import torch

    from tagger.inference.artifact import file_digest, load_module
    from tagger.inference.backends.selection import BackendSelector
    from tagger.inference.devices import Device

    def load() -> torch.jit.ScriptModule:
        module = load_module(model, file_digest(model))
        if variant.nearest:
            module.to(torch.bfloat16).to(torch.float32)
        return module

    torch.set_num_threads(threads)
    device = Device("cpu", getattr(torch, variant.precision), BATCH)
    return BackendSelector(load, device, size, at_once).load(variant.backend)


def _scores(backend: "Backend", images: "Images") -> "Scores":
    return np.concatenate(
        [backend.forward(images[at : at + BATCH]).scores for at in range(0, len(images), BATCH)]
    )


def _costs(backends: dict[Variant, "Backend"], images: "Images", rounds: int) -> dict[Variant, float]:
    """CPU milliseconds per photo. The variants alternate in each round."""
    sample = images[: 16 * BATCH]
    costs: dict[Variant, list[float]] = {variant: [] for variant in backends}
    for number in range(rounds):
        note(f"round {number + 1} of {rounds}")
        for variant, backend in backends.items():
            start = time.process_time()
            _scores(backend, sample)
            costs[variant].append((time.process_time() - start) / len(sample) * 1000)
    return {variant: median(each) for variant, each in costs.items()}


def _print_batch_sizes(backends: dict[Variant, "Backend"], images: "Images", rounds: int) -> None:
    costs: dict[tuple[Variant, int], list[float]] = {}
    for _ in range(rounds):
        for variant, backend in backends.items():
            for size in BATCH_SIZES:
                backend.forward(images[:size])
                start = time.process_time()
                for at in range(0, 64, size):
                    backend.forward(images[at : at + size])
                costs.setdefault((variant, size), []).append((time.process_time() - start) / 64 * 1000)
    names = ("CPU ms/photo, batches of", *map(str, BATCH_SIZES))
    print_table(
        names,
        [(variant.title, *(median(costs[variant, size]) for size in BATCH_SIZES)) for variant in backends],
    )


def _print_passes(model: Path, size: int, images: "Images", rounds: int) -> None:
    """TorchScript with one pass on all cores and with one per core, in photos/s, because waiting takes no CPU time."""
    cores = core_count()
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for title, at_once, threads in (("one pass on all cores", 1, cores), ("one pass per core", cores, 1)):
            backend = _load(VARIANTS[2], model, size, at_once, threads)
            _rate(backend, images[: 4 * BATCH])
            rates.setdefault(title, []).append(_rate(backend, images[: 32 * BATCH]))
    names = ("forward passes of TorchScript", "photos/s", "range")
    print_table(names, [(title, median(each), value_range(each)) for title, each in rates.items()])


def _rate(backend: "Backend", images: "Images") -> float:
    batches = [images[at : at + BATCH] for at in range(0, len(images), BATCH)]
    start = time.perf_counter()
    with ThreadPoolExecutor(backend.at_once) as pool:
        list(pool.map(backend.forward, batches))
    return len(images) / (time.perf_counter() - start)


def _row(
    variant: Variant,
    scores: dict[Variant, "Scores"],
    costs: dict[Variant, float],
    label_positions: "np.ndarray",
    threshold: float,
) -> Sequence[object]:
    own, reference = scores[variant], scores[REFERENCE]
    same_outcome = (own.max(axis=1) >= threshold) == (reference.max(axis=1) >= threshold)
    return [
        variant.title,
        costs[variant],
        f"{costs[REFERENCE] / costs[variant]:.2f} x",
        _percent(own.argmax(axis=1) == label_positions),
        _percent(own.argmax(axis=1) == reference.argmax(axis=1)),
        _percent(same_outcome),
        f"{np.abs(own - reference).max():.3f}",
    ]


def _percent(matches: "np.ndarray") -> str:
    return f"{100 * matches.mean():.1f} %"


if __name__ == "__main__":
    main()
