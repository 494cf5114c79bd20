"""Compares decoders: CPU milliseconds per photo, from bytes to the model's input, by format and size.

    python -m bench.decoders FOLDER [--rounds 5]

Eight photos of the folder are saved as JPEG, PNG and WebP in three sizes. *Ours* is `decode_photo`. The others are a decoder
and Pillow's scaling, without orientation and colours: Pillow decoding the whole photo, torchvision, and simplejpeg and
OpenCV if they are installed (this project does not depend on them), the latter two with their own scaled decoding of JPEGs.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from bench.photos import photos_in
from bench.report import note, print_heading, print_table

SIZES = ((640, 480), (1600, 1200), (4000, 3000))
FORMATS = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 1}, "WEBP": {"quality": 90, "method": 0}}
PHOTOS = 8
SIDE = 256

Decode = Callable[[bytes], object]


def main() -> None:
    """Compare decoders by CPU time, format and size."""
    parser = argparse.ArgumentParser(prog="python -m bench.decoders", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    args = parser.parse_args()
    print_heading("Decoders")
    names: list[str] = []
    rows = []
    for title, photos, decoders in _cases(args.folder):
        note(title)
        costs = {name: _cost_ms(decode, photos, args.rounds) for name, decode in decoders.items()}
        names = names or list(costs)
        rows.append((title, *(costs.get(name, "-") for name in names)))
    print_table(("CPU ms/photo", *names), rows)
    print(f"{PHOTOS} photos; medians of {args.rounds} rounds, one thread.\n")


def _cases(folder: Path) -> Iterator[tuple[str, list[bytes], dict[str, Decode]]]:
    files = photos_in(folder)
    sample = files[:: max(1, len(files) // PHOTOS)][:PHOTOS]
    for kind, options in FORMATS.items():
        for size in SIZES:
            photos = [_saved(file, size, kind, options) for file in sample]
            yield f"{kind} {size[0]} x {size[1]}", photos, _decoders(kind)


def _saved(file: Path, size: tuple[int, int], kind: str, options: dict[str, int]) -> bytes:
    with Image.open(file) as photo:
        scaled = photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    saved = io.BytesIO()
    scaled.save(saved, kind, **options)
    return saved.getvalue()


def _decoders(kind: str) -> dict[str, Decode]:
    decoders: dict[str, Decode] = {
        "ours": _ours(),
        "Pillow, whole": _pillow,
        "torchvision, whole": _torchvision(),
    }
    if find_spec("cv2"):
        decoders["OpenCV"] = _opencv(scaled=kind == "JPEG")
    if kind == "JPEG" and find_spec("simplejpeg"):
        decoders["simplejpeg"] = _simplejpeg()
    return decoders


def _ours() -> Decode:
    from tagger.images import Resize, decode_photo

    resize = Resize(SIDE, SIDE, "stretch")
    return lambda data: decode_photo(data, resize, max_pixels=100_000_000)


def _pillow(data: bytes) -> object:
    return _fitted(Image.open(io.BytesIO(data)).convert("RGB"))


def _torchvision() -> Decode:
    import torch
    from torchvision.io import ImageReadMode, decode_image

    torch.set_num_threads(1)

    def decode(data: bytes) -> object:
        pixels = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        return _fitted(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()))

    return decode


def _opencv(*, scaled: bool) -> Decode:
    import cv2

    cv2.setNumThreads(1)
    ways = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
    ways[8] = cv2.IMREAD_REDUCED_COLOR_8

    def decode(data: bytes) -> object:
        with Image.open(io.BytesIO(data)) as header:
            least = min(header.size)
        by = max(by for by in ways if by == 1 or (scaled and least / by >= SIDE * 15 / 16))
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), ways[by])
        return _fitted(Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))

    return decode


def _simplejpeg() -> Decode:
    import simplejpeg

    least = SIDE * 15 // 16
    return lambda data: _fitted(
        Image.fromarray(simplejpeg.decode_jpeg(data, "RGB", min_height=least, min_width=least))
    )


def _fitted(image: Image.Image) -> object:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0))


def _cost_ms(decode: Decode, photos: list[bytes], rounds: int) -> float:
    costs = []
    for _ in range(rounds):
        start = time.process_time()
        for data in photos:
            decode(data)
        costs.append((time.process_time() - start) / len(photos) * 1000)
    return median(costs)


if __name__ == "__main__":
    main()
