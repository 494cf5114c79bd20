"""Decodes plain JPEGs on a GPU with torchvision's nvJPEG (experimental, see TAGGER_GPU_JPEG); on a CPU for tests.

The images are copied back to main memory, which costs little compared with decoding, so that later steps do not depend on
where a photo was decoded. Photos that fail here are decoded on the CPU like all others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import interpolate
from torch.utils.dlpack import from_dlpack
from torchvision.io import ImageReadMode, decode_jpeg

if TYPE_CHECKING:
    from torch import Tensor

    from tagger.images import Pixels, Resize
    from tagger.images.plain_jpeg import PlainJpeg

log = logging.getLogger(__name__)

GROUP_PIXELS = 256_000_000
"""Most pixels decoded in one call; each takes three bytes on the device."""
MANY = 8
"""If not one of this many photos can be decoded, the device is at fault and not the photos."""


class JpegDecoder:
    """A `Decoder` for one resize rule. Thread-safe; calls run one at a time, as in torchvision itself."""

    def __init__(self, kind: str, resize: Resize) -> None:
        self._kind = kind
        self._resize = resize
        self._lock = threading.Lock()
        self._stream = torch.cuda.Stream() if kind == "cuda" else None  # type: ignore[no-untyped-call]
        self.works = True

    def decode(self, photos: Sequence[PlainJpeg]) -> list[Pixels | None]:
        """Return upright images, uint8 (size, size, 3) RGB; None for those that cannot be decoded here."""
        with self._lock, torch.inference_mode(), torch.cuda.stream(self._stream):
            tensors = [tensor for group in _groups(photos) for tensor in self._decode_group(group)]
            images = self._to_pixels([tensor for tensor in tensors if tensor is not None])
        if len(photos) >= MANY and not images:
            log.warning("the GPU cannot decode any JPEG; from now on the CPU decodes them")
            self.works = False
        remaining = iter(images)
        return [None if tensor is None else next(remaining) for tensor in tensors]

    def _decode_group(self, photos: Sequence[PlainJpeg]) -> list[Tensor | None]:
        """uint8 (3, size, size) on the device. If a group fails, each photo of it is decoded alone."""
        try:
            return list(self._tensors(photos))
        except Exception as error:  # noqa: BLE001 - torchvision fails the list for one broken photo; memory may run out
            log.debug("at least one of %d JPEGs cannot be decoded: %s", len(photos), error)
            self._wait_for_device()
        return [self._decode_group([photo])[0] for photo in photos] if len(photos) > 1 else [None]

    def _tensors(self, photos: Sequence[PlainJpeg]) -> Iterator[Tensor]:
        # nvJPEG writes on a stream of its own into memory that this stream may still be reading.
        self._wait_for_stream()
        # from_dlpack neither copies nor warns that the bytes are read-only.
        files = [from_dlpack(np.frombuffer(photo.data, np.uint8)) for photo in photos]
        images = decode_jpeg(files, ImageReadMode.RGB, device=self._kind)
        for photo, image in zip(photos, images, strict=True):
            yield _upright(_resized(image, self._resize), photo.orientation)

    def _to_pixels(self, tensors: Sequence[Tensor]) -> list[Pixels]:
        if not tensors:
            return []
        batch = torch.stack(list(tensors)).permute(0, 2, 3, 1).contiguous()  # (B, size, size, 3)
        copy = torch.empty(batch.shape, dtype=torch.uint8, pin_memory=self._stream is not None)
        return list(copy.copy_(batch).numpy())  # waits for the copy

    def _wait_for_stream(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()

    def _wait_for_device(self) -> None:
        """After a failure, decoding may continue into memory that has been freed."""
        if self._stream is not None:
            torch.cuda.synchronize()


def _groups(photos: Sequence[PlainJpeg]) -> Iterator[list[PlainJpeg]]:
    """Split photos, in order, into groups of at most GROUP_PIXELS."""
    group: list[PlainJpeg] = []
    pixels = 0
    for photo in photos:
        size = photo.width * photo.height
        if group and pixels + size > GROUP_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(photo)
        pixels += size
    if group:
        yield group


def _resized(image: Tensor, resize: Resize) -> Tensor:
    """Resize (3, H, W) to (3, size, size) with antialiasing, as Pillow does."""
    region = image if resize.fit == "stretch" else _centre(image, resize)
    shape = (resize.size, resize.size)
    small = interpolate(region[None].float(), shape, mode="bilinear", antialias=True)[0]
    return small.round_().clamp_(0, 255).to(torch.uint8)


def _centre(image: Tensor, resize: Resize) -> Tensor:
    """The central crop in whole pixels: its edges are off by half a pixel at most, its centre is exact."""
    height, width = image.shape[-2:]
    side = min(width, height) * resize.size / resize.short_side
    top, left = round((height - side) / 2), round((width - side) / 2)
    return image[:, top : height - top, left : width - left]


def _upright(image: Tensor, orientation: int) -> Tensor:
    """Apply an EXIF orientation: transpose for 5 to 8, then flip."""
    if orientation >= 5:
        image = image.transpose(1, 2)
    flips = _FLIPS.get(orientation, ())
    return image.flip(flips) if flips else image


_FLIPS = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}
