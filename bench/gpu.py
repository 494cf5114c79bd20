"""What a GPU brings: photos/s end to end with JPEGs decoded by the cores and by the device, beside each part alone.

    python -m bench.gpu FOLDER [--photos 512] [--rounds 3] [--batches 500]

Of the folder's photos two sets are made: 12 megapixels, as a camera's, and 500 pixels wide, as a web page's. A plain
PyTorch program goes over the same photos: a DataLoader whose processes decode at a fraction, and the network on the
device. The last table is a soak: the device decodes the same batches again and again, and memory should not grow.

Where there is no GPU it says so and ends with code 2; `--device cpu` runs the same code there, whose figures say
nothing of any GPU.
"""

import argparse
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from bench.copies import photos_in
from bench.peers.loader import Photos
from bench.peers.network import load as load_plain
from bench.processes import resident_mib
from bench.report import median, note, print_heading, print_table, spread
from tagger.artifact import file_digest, read_manifest
from tagger.devices import Device, choose_device, core_count, passes_at_once, quiet_threads
from tagger.images import decode_photo
from tagger.images.plain_jpeg import PlainJpeg, plain_jpeg
from tagger.model import HowToRun, Model, load_fastest
from tagger.pipeline import Pipeline
from tagger.reading import Answer, Limits, Request
from tagger.runners.choosing_decoder import make_decoder
from tagger.runners.interface import Decoder

SHIPPED = Path(__file__).parent.parent / "tagger" / "shipped" / "landmarks.pt"
MADE = Path("build") / "gpu"
MAX_BYTES, MAX_PIXELS = 512 * 2**20, 250_000_000
SIZES = {"12 megapixels": (4000, 3000), "500 pixels": (500, 375)}
STEP = 0.004
"""How much more of the border each further picture of one photo leaves away, so that no two have the same pixels."""
LOADER_BATCH, SOAK_BATCH, SOAK_ROWS = 32, 32, 10
NO_GPU = 2


def main() -> None:
    """Measure a GPU's part in tagging."""
    asked = _arguments()
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write(
            "there is no GPU here that torch can use; nothing was measured (--device cpu tries the code)\n"
        )
        raise SystemExit(NO_GPU)
    quiet_threads()
    sets = {name: _photo_set(asked, name, size) for name, size in SIZES.items()}
    bench = _Bench.of(asked.device, asked.made)
    print_heading(
        "Decoding on a GPU" if asked.device == "cuda" else "Decoding on a GPU: the same code on a CPU"
    )
    print(f"- {bench.described}; the self-test had JPEGs decoded by the {bench.chosen}\n")
    ways = bench.ways()
    rows = [_row(name, way, files, asked.rounds, ways[way]) for name, files in sets.items() for way in ways]
    print_table(("photos/s", "median", "least to greatest"), rows)
    camera = next(iter(sets.values()))
    print_table(
        ("batches decoded", "GPU MiB in use", "of it torch's", "process MiB"),
        bench.soak(camera, asked.batches),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=512, help="in each set [512]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=500, help="of the soak [500]")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--made", type=Path, default=MADE, help="where the sets are kept [build/gpu]")
    return parser.parse_args()


def _photo_set(asked: argparse.Namespace, name: str, size: tuple[int, int]) -> list[Path]:
    """As many JPEGs of that size as are asked for, made once."""
    sources = photos_in(asked.folder)
    folder = asked.made / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [folder / f"{number:05}.jpg" for number in range(asked.photos)]
    missing = [(number, file) for number, file in enumerate(wanted) if not file.exists()]
    note(f"{name}: {len(missing)} photos to make")
    with ThreadPoolExecutor(core_count()) as cores:
        list(cores.map(lambda each: _make(sources, each[0], each[1], size), missing))
    return wanted


def _make(sources: Sequence[Path], number: int, file: Path, size: tuple[int, int]) -> None:
    round_, which = divmod(number, len(sources))
    with Image.open(sources[which]) as photo:
        border = round(min(photo.size) * STEP * round_)
        inner = photo.convert("RGB").crop((border, border, photo.width - border, photo.height - border))
    partial = file.with_suffix(".partial")
    ImageOps.fit(inner, size, Image.Resampling.BICUBIC).save(partial, "JPEG", quality=90)
    partial.rename(file)


def _row(
    name: str, way: str, files: Sequence[Path], rounds: int, go_over: Callable[[Sequence[Path]], None]
) -> tuple[object, ...]:
    rates = []
    for number in range(rounds + 1):  # the first warms up: caches, processes, the device
        note(f"{name}, {way}: round {number} of {rounds}")
        began = time.monotonic()
        go_over(files)
        rates.append(len(files) / (time.monotonic() - began))
    return f"{name}: {way}", median(rates[1:]), spread(rates[1:])


@dataclass(frozen=True)
class _Bench:
    """The model that ships on a device, and both decoders."""

    device: Device
    model: Model
    decoder: Decoder
    chosen: str

    @classmethod
    def of(cls, kind: str, made: Path) -> "_Bench":
        device = choose_device(kind, None)
        how = HowToRun(None, passes_at_once(device, None), None, made / "self-tests.json")
        model = load_fastest(SHIPPED, file_digest(SHIPPED), read_manifest(SHIPPED), device, how)
        chosen = "cores" if model.decoder is None else "device"
        return cls(device, model, make_decoder(device, model.manifest.input.resize), chosen)

    @property
    def described(self) -> str:
        name = torch.cuda.get_device_name() if self.device.kind == "cuda" else "no GPU"
        return f"{name}; {self.model.runner_name}, batches of {self.model.batch_size}"

    def ways(self) -> dict[str, Callable[[Sequence[Path]], None]]:
        """All that is measured."""
        return {
            "end to end, the device decodes": lambda files: self._end_to_end(files, self.decoder),
            "end to end, the cores decode": lambda files: self._end_to_end(files, None),
            "decoding alone, the device": self._decode_on_device,
            "decoding alone, the cores": self._decode_on_cores,
            "the model alone": self._model_alone,
            "a DataLoader and the network": self._data_loader,
        }

    def soak(self, files: Sequence[Path], batches: int) -> list[tuple[object, ...]]:
        """Memory after parts of the way, the first of them after one batch."""
        photos = list(itertools.islice(itertools.cycle(_plain(files)), SOAK_BATCH))
        rows: list[tuple[object, ...]] = []
        shown = {1, batches, *range(0, batches, max(1, batches // SOAK_ROWS))}
        for number in range(1, batches + 1):
            images = [image for image in self.decoder.decode(photos) if image is not None]
            self.model.scores(images)
            if number in shown:
                rows.append((number, *_memory_mib(self.device)))
        return rows

    def _end_to_end(self, files: Sequence[Path], decoder: Decoder | None) -> None:
        self.model.decoder = decoder
        pipeline = Pipeline(self.model, Limits(core_count(), MAX_BYTES, MAX_PIXELS))
        sink = _Counting(len(files))
        for file in files:
            pipeline.submit(Request(file, sink))
        sink.finished.wait()
        pipeline.close()

    def _decode_on_device(self, files: Sequence[Path]) -> None:
        with ThreadPoolExecutor(core_count()) as cores:
            batch: list[PlainJpeg] = []
            for photo in cores.map(_read_plain, files):
                batch.append(photo)
                if len(batch) == SOAK_BATCH:
                    self.decoder.decode(batch)
                    batch = []
            self.decoder.decode(batch)

    def _decode_on_cores(self, files: Sequence[Path]) -> None:
        resize = self.model.manifest.input.resize

        def decode(file: Path) -> None:
            decode_photo(file.read_bytes(), resize, max_pixels=MAX_PIXELS)

        with ThreadPoolExecutor(core_count()) as cores:
            list(cores.map(decode, files))

    def _model_alone(self, files: Sequence[Path]) -> None:
        size = self.model.manifest.input.size
        noise = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
        full = self.model.batch_size
        counts = [min(full, len(files) - done) for done in range(0, len(files), full)]
        with ThreadPoolExecutor(self.model.at_once) as passes:
            list(passes.map(lambda count: self.model.scores([noise] * count), counts))

    def _data_loader(self, files: Sequence[Path]) -> None:
        plain = load_plain(SHIPPED)
        module = plain.module.to(device=self.device.kind, dtype=self.device.dtype)
        network = replace(plain, module=module)
        photos = Photos(files, network.rule, scaled=True)
        pinned = self.device.kind == "cuda"
        for images, _ in DataLoader(photos, LOADER_BATCH, num_workers=core_count(), pin_memory=pinned):
            network.best(images.to(self.device.kind, non_blocking=True))


def _plain(files: Sequence[Path]) -> list[PlainJpeg]:
    return [_read_plain(file) for file in files[:SOAK_BATCH]]


def _read_plain(file: Path) -> PlainJpeg:
    photo = plain_jpeg(file.read_bytes(), max_pixels=MAX_PIXELS)
    if photo is None:
        raise SystemExit(f"{file.name} is no plain JPEG; remove the folder of made photos and start again")
    return photo


def _memory_mib(device: Device) -> tuple[object, object, float]:
    """Of the whole GPU, other programs' included: what nvJPEG takes, torch does not know of."""
    if device.kind != "cuda":
        return "-", "-", resident_mib(os.getpid())
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20, torch.cuda.memory_reserved() / 2**20, resident_mib(os.getpid())


class _Counting:
    """A sink that stores nothing."""

    top_k = 5
    threshold = 0.5

    def __init__(self, expected: int) -> None:
        self._left = expected
        self._lock = threading.Lock()
        self.finished = threading.Event()

    def is_known(self, digest: str) -> bool:  # noqa: ARG002 - the pipeline's protocol
        return False

    def deliver(self, answers: "Sequence[Answer]") -> None:
        with self._lock:
            self._left -= len(answers)
            if not self._left:
                self.finished.set()

    def broken(self, error: Exception) -> None:
        sys.stderr.write(f"the model failed: {error}\n")
        os._exit(1)


if __name__ == "__main__":
    main()
