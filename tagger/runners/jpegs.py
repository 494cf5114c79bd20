"""Plain JPEGs decoded on the device itself, by torchvision: nvJPEG on a GPU, and on a CPU the same steps for tests.

The pixels come back to the processor's memory, which costs little beside decoding: whatever follows need not know who
decoded. What cannot be decoded here is not judged here; whoever asked has it decoded as all other photos are.
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
"""What is decoded in one go: three bytes each on the device."""
MANY = 8
"""If none of so many can be decoded, it is not they that are broken."""


class JpegDecoder:
    """Decodes for one resize rule; any thread may ask, and one is served at a time, as torchvision does it too."""

    def __init__(self, kind: str, resize: Resize) -> None:
        self._kind = kind
        self._resize = resize
        self._lock = threading.Lock()
        self._stream = torch.cuda.Stream() if kind == "cuda" else None  # type: ignore[no-untyped-call]
        self.works = True
        """False once it could decode none of many."""

    def decode(self, photos: Sequence[PlainJpeg]) -> list[Pixels | None]:
        """Upright images of the rule's size, uint8 (size, size, 3) RGB; None for each that cannot be decoded here."""
        with self._lock, torch.inference_mode(), torch.cuda.stream(self._stream):
            decoded = [square for group in _groups(photos) for square in self._squares(group)]
            images = self._fetched([square for square in decoded if square is not None])
        if len(photos) >= MANY and not images:
            log.warning("the device decodes no JPEG any more; from now on the cores decode them")
            self.works = False
        fetched = iter(images)
        return [None if square is None else next(fetched) for square in decoded]

    def _squares(self, photos: Sequence[PlainJpeg]) -> list[Tensor | None]:
        """What the model is to see, uint8 (3, size, size) on the device."""
        try:
            return list(self._decoded(photos))
        except Exception as error:  # noqa: BLE001 - torchvision fails a list for one that is broken, and memory may run out
            log.debug("of %d JPEGs in a list at least one cannot be decoded: %s", len(photos), error)
            self._wait()
        return [self._alone(photo) for photo in photos] if len(photos) > 1 else [None]

    def _alone(self, photo: PlainJpeg) -> Tensor | None:
        return self._squares([photo])[0]

    def _decoded(self, photos: Sequence[PlainJpeg]) -> Iterator[Tensor]:
        # torchvision has nvJPEG write, on a stream of its own, into memory that this one may still read from.
        self._wait_here()
        # Not copied, and without the warning that other ways have for bytes, which nobody may write to.
        files = [from_dlpack(np.frombuffer(photo.data, np.uint8)) for photo in photos]
        images = decode_jpeg(files, ImageReadMode.RGB, device=self._kind)
        for photo, image in zip(photos, images, strict=True):
            yield _turned(_scaled(image, self._resize), photo.orientation)

    def _fetched(self, squares: Sequence[Tensor]) -> list[Pixels]:
        if not squares:
            return []
        batch = torch.stack(list(squares)).permute(0, 2, 3, 1).contiguous()  # (B, size, size, 3)
        here = torch.empty(batch.shape, dtype=torch.uint8, pin_memory=self._stream is not None)
        return list(here.copy_(batch).numpy())  # waits for the copy

    def _wait_here(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()

    def _wait(self) -> None:
        """After a failure decoding may still go on, into memory that is free now."""
        if self._stream is not None:
            torch.cuda.synchronize()


def _groups(photos: Sequence[PlainJpeg]) -> Iterator[list[PlainJpeg]]:
    """As many together as the device has memory for, in order."""
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


def _scaled(image: Tensor, resize: Resize) -> Tensor:
    """An image (3, H, W) as (3, size, size), each pixel the average of those it covers, as Pillow scales."""
    seen = image if resize.fit == "stretch" else _middle(image, resize)
    square = (resize.size, resize.size)
    small = interpolate(seen[None].float(), square, mode="bilinear", antialias=True)[0]
    return small.round_().clamp_(0, 255).to(torch.uint8)


def _middle(image: Tensor, resize: Resize) -> Tensor:
    """The middle in whole pixels: its edges are half a pixel off at most, its centre never."""
    height, width = image.shape[-2:]
    side = min(width, height) * resize.size / resize.short_side
    top, left = round((height - side) / 2), round((width - side) / 2)
    return image[:, top : height - top, left : width - left]


def _turned(square: Tensor, orientation: int) -> Tensor:
    """Upright, by what EXIF says of how it lies: mirrored from 5 on along the diagonal, then left and right, up and down."""
    if orientation >= 5:
        square = square.transpose(1, 2)
    flips = _FLIPS.get(orientation, ())
    return square.flip(flips) if flips else square


_FLIPS = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}
