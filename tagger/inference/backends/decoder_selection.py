"""Selects the decoder of JPEGs (experimental): the GPU, if it is faster than the CPU and gives the same pixels.

Runs only if TAGGER_GPU_JPEG is set. If the GPU is slower, differs, or fails in any way, the CPU decodes.
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

from tagger.images import decode_photo
from tagger.images.plain_jpeg import MOST_PIXELS, plain_jpeg
from tagger.inference.backends.selection import generated_images
from tagger.inference.devices import core_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.images import Pixels, Resize
    from tagger.inference.backends.protocol import Decoder
    from tagger.inference.devices import Device

log = logging.getLogger(__name__)

MAX_DIFFERENCE_LEVELS = 4.0
"""Mean difference of pixels, of 255 levels. Camera photos measure 1.2 on average and 2.1 at most, because Pillow decodes
them at a fraction of their size. Swapped colour channels or an upside-down image measure about 50."""
CAMERA_SIZE = (4000, 3000)
DISTINCT_PHOTOS, COPIES = 4, 8
ROUNDS = 2
MIN_SPEEDUP = 1.3
"""A GPU that decodes has less time for the model."""


@dataclass(frozen=True)
class DecoderComparison:
    """A decoder compared with the CPU: its speedup, and the mean difference of pixels in levels."""

    speedup: float
    difference_levels: float

    @property
    def is_better(self) -> bool:
        return self.speedup >= MIN_SPEEDUP and self.difference_levels <= MAX_DIFFERENCE_LEVELS


def choose_decoder(device: Device, resize: Resize) -> Decoder | None:
    """Return the device's decoder if it is better than the CPU, else None."""
    if device.kind != "cuda":
        return None
    try:
        decoder = load_decoder(device, resize)
        comparison = compare(decoder, resize, camera_photos())
    except Exception as error:  # noqa: BLE001 - whatever fails on a GPU, the CPU works
        log.warning("the CPU decodes JPEGs, because the GPU cannot: %s", error)
        return None
    log.info(
        "the %s decodes JPEGs: the GPU is %.1f times as fast, with a difference of %.1f levels",
        "GPU" if comparison.is_better else "CPU",
        comparison.speedup,
        comparison.difference_levels,
    )
    return decoder if comparison.is_better else None


def load_decoder(device: Device, resize: Resize) -> Decoder:
    """Load the decoder of a device."""
    from tagger.inference.backends.device_jpeg import JpegDecoder

    return JpegDecoder(device.kind, resize)


def compare(decoder: Decoder, resize: Resize, photos: Sequence[bytes]) -> DecoderComparison:
    """Decode the same plain JPEGs on the CPU and with `decoder`.

    Raises:
        ValueError: the decoder cannot decode one of them.
    """
    expected, cpu_s = _decode_on_cpu(photos, resize)
    actual, device_s = _decode_on_device(decoder, photos)
    difference = np.abs(np.stack(expected).astype(np.int16) - np.stack(actual)).mean()
    return DecoderComparison(cpu_s / device_s, float(difference))


def camera_photos(size: tuple[int, int] = CAMERA_SIZE) -> list[bytes]:
    """Generate JPEGs with a camera's number of pixels and bytes: clouds with sensor noise."""
    noise = np.random.default_rng(21).normal(0, 6, (size[1], size[0], 3)).astype(np.float32)
    clouds = generated_images(64, DISTINCT_PHOTOS)
    return [_camera_photo(Image.fromarray(cloud), size, noise) for cloud in clouds] * COPIES


def _camera_photo(cloud: Image.Image, size: tuple[int, int], noise: np.ndarray) -> bytes:
    large = np.asarray(cloud.resize(size, Image.Resampling.BICUBIC)) + noise
    file = io.BytesIO()
    Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _decode_on_cpu(photos: Sequence[bytes], resize: Resize) -> tuple[list[Pixels], float]:
    """The images, and the seconds of the fastest round on all cores."""

    def decode(data: bytes) -> Pixels:
        return decode_photo(data, resize, max_pixels=MOST_PIXELS).pixels

    seconds = []
    with ThreadPoolExecutor(core_count()) as pool:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            images = list(pool.map(decode, photos))
            seconds.append(time.perf_counter() - start)
    return images, min(seconds)


def _decode_on_device(decoder: Decoder, photos: Sequence[bytes]) -> tuple[list[Pixels], float]:
    """The images, and the seconds of the fastest round, including the check that the JPEGs are plain."""
    seconds = []
    for _ in range(1 + ROUNDS):  # the first round initialises the device
        start = time.perf_counter()
        plain = [plain_jpeg(data, max_pixels=MOST_PIXELS) for data in photos]
        decoded = decoder.decode([photo for photo in plain if photo is not None])
        images = [image for image in decoded if image is not None]
        seconds.append(time.perf_counter() - start)
    if len(images) < len(photos):
        raise ValueError(f"it decodes {len(images)} of {len(photos)} JPEGs")
    return images, min(seconds[1:])
