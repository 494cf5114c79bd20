"""Measures a GPU: photos/s end to end with JPEGs decoded on the CPU and on the GPU, and each part alone.

    python -m bench.gpu FOLDER [--photos 512] [--rounds 3] [--batches 500]

Two sets are prepared from the folder's photos: 12 megapixels, as from a camera, and 500 pixels wide, as on a web page. For
comparison, a plain PyTorch program classifies the same photos: a DataLoader decodes them at reduced size, and the network runs on
the device. The last table is a soak test: the device decodes the same batches again and again, and memory should not grow.

Without a GPU it ends with code 2. `--device cpu` runs the same code on a CPU, to test the benchmark itself.
"""

import argparse
import itertools
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
from bench.process_tree import resident_mib
from bench.report import note, print_heading, print_table, value_range
from tagger.images import decode_photo
from tagger.images.plain_jpeg import PlainJpeg, plain_jpeg
from tagger.inference.backends.decoder_selection import load_decoder
from tagger.inference.backends.protocol import Decoder
from tagger.inference.devices import Device, choose_device, core_count, quiet_threads
from tagger.inference.model import Model
from tagger.photos.source import FolderSource
from tagger.pipeline.pipeline import Pipeline
from tagger.pipeline.requests import Limits, Request, RequestResult

CACHE = Path("build") / "gpu"
SIZES = {"12 megapixels": (4000, 3000), "500 pixels": (500, 375)}
STEP = 0.004
"""The share of the border that each further copy of a photo lacks, so that no two have the same pixels."""
LOADER_BATCH, SOAK_BATCH, SOAK_ROWS = 32, 32, 10
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
    print_heading(
        "Decoding on a GPU" if args.device == "cuda" else "Decoding on a GPU: the same code on a CPU"
    )
    print(f"- {bench.description}; the backend selection decodes JPEGs on the {bench.selected}\n")
    measurements = bench.measurements()
    rows = [
        _row(name, measurement, files, args.rounds, measurements[measurement])
        for name, files in sets.items()
        for measurement in measurements
    ]
    print_table(("photos/s", "median", "range"), rows)
    camera = next(iter(sets.values()))
    print_table(
        ("batches decoded", "GPU MiB in use", "torch's part", "process MiB"),
        bench.soak(camera, args.batches),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=512, help="in each set [512]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=500, help="batches of the soak test [500]")
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
    """The model of the package on a device, and both decoders."""

    device: Device
    model: Model
    decoder: Decoder
    selected: str

    @classmethod
    def load(cls, kind: str, cache: Path) -> "_Bench":
        device = choose_device(kind, None)
        model = load_model(SHIPPED, cache, kind=kind, gpu_jpeg=True)
        selected = "CPU" if model.decoder is None else "device"
        return cls(device, model, load_decoder(device, model.manifest.input.resize), selected)

    @property
    def description(self) -> str:
        name = torch.cuda.get_device_name() if self.device.kind == "cuda" else "no GPU"
        return f"{name}; {self.model.backend_name}, batches of {self.model.batch_size}"

    def measurements(self) -> dict[str, Callable[[Sequence[Path]], None]]:
        """What is measured, by name."""
        return {
            "end to end, decoding on the device": lambda files: self._end_to_end(files, self.decoder),
            "end to end, decoding on the CPU": lambda files: self._end_to_end(files, None),
            "decoding on the device": self._decode_on_device,
            "decoding on the CPU": self._decode_on_cpu,
            "the model": self._model_alone,
            "DataLoader and network": self._data_loader,
        }

    def soak(self, files: Sequence[Path], batches: int) -> list[tuple[object, ...]]:
        """Memory after one batch and at regular intervals."""
        photos = list(itertools.islice(itertools.cycle(map(_read_plain, files[:SOAK_BATCH])), SOAK_BATCH))
        rows: list[tuple[object, ...]] = []
        reported = {1, batches, *range(0, batches, max(1, batches // SOAK_ROWS))}
        for number in range(1, batches + 1):
            images = [image for image in self.decoder.decode(photos) if image is not None]
            self.model.outputs(images)
            if number in reported:
                rows.append((number, *_memory_mib(self.device)))
        return rows

    def _end_to_end(self, files: Sequence[Path], decoder: Decoder | None) -> None:
        self.model.decoder = decoder
        pipeline = Pipeline(self.model, Limits(core_count(), MAX_BYTES, MAX_PIXELS))
        sink = _CountingSink(len(files))
        for file in files:
            pipeline.submit(Request(FolderSource(file.parent), file.name, sink))
        sink.finished.wait()
        pipeline.close()

    def _decode_on_device(self, files: Sequence[Path]) -> None:
        with ThreadPoolExecutor(core_count()) as pool:
            batch: list[PlainJpeg] = []
            for photo in pool.map(_read_plain, files):
                batch.append(photo)
                if len(batch) == SOAK_BATCH:
                    self.decoder.decode(batch)
                    batch = []
            self.decoder.decode(batch)

    def _decode_on_cpu(self, files: Sequence[Path]) -> None:
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


def _read_plain(file: Path) -> PlainJpeg:
    photo = plain_jpeg(file.read_bytes(), max_pixels=MAX_PIXELS)
    if photo is None:
        raise SystemExit(
            f"{file.name} is not a plain JPEG; remove the folder of generated photos and start again"
        )
    return photo


def _memory_mib(device: Device) -> tuple[object, object, float]:
    """Memory of the whole GPU, including other programs: torch does not report the memory of nvJPEG."""
    if device.kind != "cuda":
        return "-", "-", resident_mib(os.getpid())
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20, torch.cuda.memory_reserved() / 2**20, resident_mib(os.getpid())


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
