"""Measures a GPU: photos/s end to end, and each part alone.

    python -m bench.gpu FOLDER [--photos 512] [--rounds 3]

Two sets are prepared from the folder's photos: 12 megapixels, as from a camera, and 500 pixels wide, as on a web page. For
comparison, a plain PyTorch program classifies the same photos: a DataLoader decodes them at reduced size, and the network runs on
the device.

Without a GPU it ends with code 2. `--device cpu` runs the same code on a CPU, to test the benchmark itself.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.utils.data import DataLoader

from bench.models import MAX_BYTES, MAX_PIXELS, SHIPPED, load_model
from bench.peers.loader import PhotoDataset
from bench.peers.network import load_network
from bench.photos import photos_in, save_resized
from bench.report import note, print_heading, print_table, value_range
from tagger.model.devices import Device, choose_device, core_count, quiet_threads
from tagger.model.model import Model
from tagger.photos.decoding import decode_photo
from tagger.photos.source import FolderSource
from tagger.pipeline.pipeline import Pipeline
from tagger.pipeline.requests import Limits, Request, RequestResult

CACHE = Path("build") / "gpu"
SIZES = {"12 megapixels": (4000, 3000), "500 pixels": (500, 375)}
STEP = 0.004
"""The share of the border that each further copy of a photo lacks, so that no two have the same pixels."""
LOADER_BATCH = 32
NO_GPU = 2


def main() -> None:
    """Measure tagging on a GPU."""
    args = _arguments()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("torch finds no GPU; nothing was measured (--device cpu tests the benchmark)\n")
        raise SystemExit(NO_GPU)
    quiet_threads()
    sets = {name: _photo_set(args, name, size) for name, size in SIZES.items()}
    bench = _Bench.load(args.device, args.cache)
    print_heading("A GPU" if args.device == "cuda" else "A GPU: the same code on a CPU")
    print(f"- {bench.description}\n")
    measurements = bench.measurements()
    rows = [
        _row(name, measurement, files, args.rounds, measurements[measurement])
        for name, files in sets.items()
        for measurement in measurements
    ]
    print_table(("photos/s", "median", "range"), rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=512, help="in each set [512]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"folder of prepared photos [{CACHE}]")
    return parser.parse_args()


def _photo_set(args: argparse.Namespace, name: str, size: tuple[int, int]) -> list[Path]:
    """JPEGs of that size, made once."""
    sources = photos_in(args.folder)
    folder = args.cache / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05}.jpg" for number in range(args.photos)]
    missing = [(number, file) for number, file in enumerate(files) if not file.exists()]
    note(f"{name}: {len(missing)} photos to prepare")
    with ThreadPoolExecutor(core_count()) as pool:
        list(pool.map(lambda each: _make(sources, each[0], each[1], size), missing))
    return files


def _make(sources: Sequence[Path], number: int, file: Path, size: tuple[int, int]) -> None:
    copy, index = divmod(number, len(sources))
    partial = file.with_suffix(".partial")
    save_resized(sources[index], partial, size, STEP * copy)
    partial.rename(file)


def _row(
    name: str, measurement: str, files: Sequence[Path], rounds: int, process: Callable[[Sequence[Path]], None]
) -> tuple[object, ...]:
    rates = []
    for number in range(rounds + 1):  # the first warms up: caches, processes, the device
        note(f"{name}, {measurement}: round {number} of {rounds}")
        start = time.monotonic()
        process(files)
        rates.append(len(files) / (time.monotonic() - start))
    return f"{name}: {measurement}", median(rates[1:]), value_range(rates[1:])


@dataclass(frozen=True)
class _Bench:
    """The model of the package on a device."""

    device: Device
    model: Model

    @classmethod
    def load(cls, kind: str, cache: Path) -> "_Bench":
        return cls(choose_device(kind, None), load_model(SHIPPED, cache, kind=kind))

    @property
    def description(self) -> str:
        name = torch.cuda.get_device_name() if self.device.kind == "cuda" else "no GPU"
        return f"{name}; {self.model.backend_name}, batches of {self.model.batch_size}"

    def measurements(self) -> dict[str, Callable[[Sequence[Path]], None]]:
        """What is measured, by name."""
        return {
            "end to end": self._end_to_end,
            "decoding": self._decode,
            "the model": self._model_alone,
            "DataLoader and network": self._data_loader,
        }

    def _end_to_end(self, files: Sequence[Path]) -> None:
        pipeline = Pipeline(self.model, Limits(core_count(), MAX_BYTES, MAX_PIXELS))
        sink = _CountingSink(len(files))
        for file in files:
            pipeline.submit(Request(FolderSource(file.parent), file.name, sink))
        sink.finished.wait()
        pipeline.close()

    def _decode(self, files: Sequence[Path]) -> None:
        resize = self.model.manifest.input.resize

        def decode(file: Path) -> None:
            decode_photo(file.read_bytes(), resize, max_pixels=MAX_PIXELS)

        with ThreadPoolExecutor(core_count()) as pool:
            list(pool.map(decode, files))

    def _model_alone(self, files: Sequence[Path]) -> None:
        size = self.model.manifest.input.size
        noise = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
        batch_size = self.model.batch_size
        counts = [min(batch_size, len(files) - first) for first in range(0, len(files), batch_size)]
        with ThreadPoolExecutor(self.model.at_once) as pool:
            list(pool.map(lambda count: self.model.outputs([noise] * count), counts))

    def _data_loader(self, files: Sequence[Path]) -> None:
        network = load_network(SHIPPED)
        network.module.to(device=self.device.kind, dtype=self.device.dtype)
        photos = PhotoDataset(files, network.input_rule, scaled=True)
        pinned = self.device.kind == "cuda"
        for images, _ in DataLoader(photos, LOADER_BATCH, num_workers=core_count(), pin_memory=pinned):
            network.predict(images.to(self.device.kind, non_blocking=True))


class _CountingSink:
    """A sink that only counts results."""

    top_k = 5
    threshold = 0.5

    def __init__(self, expected: int) -> None:
        self._remaining = expected
        self._lock = threading.Lock()
        self.finished = threading.Event()

    def is_classified(self, digest: str) -> bool:  # noqa: ARG002 - the pipeline's protocol
        return False

    def deliver(self, results: "Sequence[RequestResult]") -> None:
        with self._lock:
            self._remaining -= len(results)
            if not self._remaining:
                self.finished.set()

    def fail(self, error: Exception) -> None:
        sys.stderr.write(f"the model failed: {error}\n")
        os._exit(1)


if __name__ == "__main__":
    main()
