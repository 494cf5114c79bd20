"""The self-test of JPEG decoding: whether a GPU decodes camera photos faster than the cores do, to the same pixels.

Where it does not, or anything at all goes wrong, the cores decode. Only a GPU is asked; elsewhere nothing is imported.
"""

from __future__ import annotations

import io
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tagger.devices import core_count
from tagger.images import decode_photo
from tagger.images.plain_jpeg import MOST_PIXELS, plain_jpeg
from tagger.runners.choosing import FASTER_BY, pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.devices import Device
    from tagger.images import Pixels, Resize
    from tagger.runners.interface import Decoder

log = logging.getLogger(__name__)

SAME_WITHIN_LEVELS = 4.0
"""Mean difference of pixels, of 255 levels. Of camera photos it was 1.2, 2.1 at most: Pillow decodes them at a fraction.

With red for blue, or upside down, it is some 50.
"""
CAMERA_SIZE = (4000, 3000)
DIFFERENT, TIMES = 4, 8
ROUNDS = 2


@dataclass(frozen=True)
class Compared:
    """A decoder beside the cores: how many times as fast, and how far apart in levels."""

    gain: float
    apart: float

    @property
    def is_worth_it(self) -> bool:
        return self.gain >= FASTER_BY and self.apart <= SAME_WITHIN_LEVELS


def choose_decoder(device: Device, resize: Resize) -> Decoder | None:
    """The device's decoder where it serves better than the cores; None where they decode."""
    if device.kind != "cuda":
        return None
    try:
        decoder = make_decoder(device, resize)
        compared = compare(decoder, resize, camera_photos())
    except Exception as error:  # noqa: BLE001 - whatever a GPU's decoder trips over, the cores are there
        log.warning("JPEGs are decoded by the cores; the device cannot: %s", error)
        return None
    who = "device" if compared.is_worth_it else "cores"
    log.info(
        "JPEGs are decoded by the %s: the device is %.1f times as fast, %.1f levels apart",
        who,
        compared.gain,
        compared.apart,
    )
    return decoder if compared.is_worth_it else None


def make_decoder(device: Device, resize: Resize) -> Decoder:
    """The decoder of a device."""
    from tagger.runners.jpegs import JpegDecoder

    return JpegDecoder(device.kind, resize)


def compare(decoder: Decoder, resize: Resize, photos: Sequence[bytes]) -> Compared:
    """Have both decode the same photos, all of them plain.

    Raises:
        ValueError: the decoder cannot decode one of them.
    """
    by_cores, cores_s = _by_cores(photos, resize)
    by_device, device_s = _by_device(decoder, photos)
    apart = np.abs(np.stack(by_cores).astype(np.int16) - np.stack(by_device)).mean()
    return Compared(cores_s / device_s, float(apart))


def camera_photos(size: tuple[int, int] = CAMERA_SIZE) -> list[bytes]:
    """JPEGs as large as a camera's, in pixels and bytes: clouds with the noise of a sensor."""
    noise = np.random.default_rng(21).normal(0, 6, (size[1], size[0], 3)).astype(np.float32)
    drawn = [_photographed(Image.fromarray(cloud), size, noise) for cloud in pictures(64, DIFFERENT)]
    return drawn * TIMES


def _photographed(cloud: Image.Image, size: tuple[int, int], noise: np.ndarray) -> bytes:
    large = np.asarray(cloud.resize(size, Image.Resampling.BICUBIC)) + noise
    file = io.BytesIO()
    Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _by_cores(photos: Sequence[bytes], resize: Resize) -> tuple[list[Pixels], float]:
    """What all cores together decode, and the seconds that it takes at best."""

    def decode(data: bytes) -> Pixels:
        return decode_photo(data, resize, max_pixels=MOST_PIXELS).pixels

    seconds = []
    with ThreadPoolExecutor(core_count()) as cores:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            images = list(cores.map(decode, photos))
            seconds.append(time.perf_counter() - began)
    return images, min(seconds)


def _by_device(decoder: Decoder, photos: Sequence[bytes]) -> tuple[list[Pixels], float]:
    """The same of the device, which has to be told first which photos are plain."""
    seconds = []
    for _ in range(1 + ROUNDS):  # the first time it sets itself up
        began = time.perf_counter()
        plain = [plain_jpeg(data, max_pixels=MOST_PIXELS) for data in photos]
        decoded = decoder.decode([photo for photo in plain if photo is not None])
        images = [image for image in decoded if image is not None]
        seconds.append(time.perf_counter() - began)
    if len(images) < len(photos):
        raise ValueError(f"it decodes {len(images)} of {len(photos)} JPEGs")
    return images, min(seconds[1:])
