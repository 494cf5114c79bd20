"""Compares decoders: CPU milliseconds per photo, from bytes to the model's input, by format and size.

    python -m bench.decoders FOLDER [--rounds 5]

Eight photos of the folder are saved as JPEG, PNG and WebP in three sizes. *Ours* is `decode_photo`. The others are a decoder
and Pillow's scaling, without orientation and colours: Pillow decoding the whole photo, torchvision, and simplejpeg and
OpenCV if they are installed (this project does not depend on them), the latter two with their own scaled decoding of JPEGs.
*simplejpeg, fast* has a faster transform and upsampling, which change the pixels. *Ours, half of the lines* leaves out every second
row of blocks, where a JPEG has restart markers between them, as those of many cameras do: no smaller part can be skipped.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from bench.limits import cpu_ms_per_input
from bench.photos import evenly_spread, photos_in
from bench.report import note, print_heading, print_table
from bench.restart_intervals import without_every_second_interval

SIZES = ((640, 480), (1600, 1200), (4000, 3000))
SIZES_WITH_MARKERS = ((4000, 3000), (6000, 4000))
JPEG = {"quality": 90}
FORMATS = {"JPEG": JPEG, "PNG": {"compress_level": 1}, "WEBP": {"quality": 90, "method": 0}}
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
        costs = {name: cpu_ms_per_input(decode, photos, args.rounds) for name, decode in decoders.items()}
        names += [name for name in costs if name not in names]
        rows.append((title, costs))
    print_table(
        ("CPU ms/photo", *names),
        ([title, *(costs.get(name, "-") for name in names)] for title, costs in rows),
    )
    print(f"{PHOTOS} photos; medians of {args.rounds} rounds, one thread.\n")


def _cases(folder: Path) -> Iterator[tuple[str, list[bytes], dict[str, Decode]]]:
    sample = evenly_spread(photos_in(folder), PHOTOS)
    for kind, options in FORMATS.items():
        for size in SIZES:
            photos = [_encoded(file, size, kind, options) for file in sample]
            yield f"{kind} {size[0]} x {size[1]}", photos, _decoders(kind)
    ours = _ours()
    half = {"ours": ours, "ours, half of the lines": lambda data: ours(without_every_second_interval(data))}
    for size in SIZES_WITH_MARKERS:
        photos = [_encoded(file, size, "JPEG", JPEG | {"restart_marker_rows": 1}) for file in sample]
        yield f"JPEG {size[0]} x {size[1]}, restart markers", photos, half


def _encoded(file: Path, size: tuple[int, int], kind: str, options: dict[str, int]) -> bytes:
    with Image.open(file) as photo:
        scaled = photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    output = io.BytesIO()
    scaled.save(output, kind, **options)
    return output.getvalue()


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
        decoders["simplejpeg, fast"] = _simplejpeg(fastdct=True, fastupsample=True)
    return decoders


def _ours() -> Decode:
    from tagger.images import Resize, decode_photo

    resize = Resize(SIDE, SIDE, "stretch")
    return lambda data: decode_photo(data, resize, max_pixels=100_000_000)


def _pillow(data: bytes) -> object:
    return _resized(Image.open(io.BytesIO(data)).convert("RGB"))


def _torchvision() -> Decode:
    import torch
    from torchvision.io import ImageReadMode, decode_image

    torch.set_num_threads(1)

    def decode(data: bytes) -> object:
        pixels = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        return _resized(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()))

    return decode


def _opencv(*, scaled: bool) -> Decode:
    import cv2

    cv2.setNumThreads(1)
    flags = {1: cv2.IMREAD_COLOR}
    if scaled:
        flags |= {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}

    def decode(data: bytes) -> object:
        with Image.open(io.BytesIO(data)) as header:
            short_side = min(header.size)
        divisor = max(each for each in flags if each == 1 or short_side / each >= SIDE * 15 / 16)
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags[divisor])
        return _resized(Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))

    return decode


def _simplejpeg(**options: bool) -> Decode:
    import simplejpeg

    min_side = SIDE * 15 // 16
    return lambda data: _resized(
        Image.fromarray(
            simplejpeg.decode_jpeg(data, "RGB", min_height=min_side, min_width=min_side, **options)
        )
    )


def _resized(image: Image.Image) -> object:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0))


if __name__ == "__main__":
    main()
