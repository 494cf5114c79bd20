"""The pixels of RAW photos: of the largest preview or, without one, developed by LibRaw (the extra `raw`).

Previews are stored as the sensor sees, and the RAW file's own orientation applies to them. LibRaw reads the
files of a thousand cameras in C++, and critical memory errors were found in it. So it is loaded only in
processes that decode photos and can do nothing else (see pipeline.sandbox); all others refer such photos to
them.
"""

import importlib
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

from PIL import Image

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.decoding.limits import MEMORY_BUDGET
from tagger.photos.formats import (
    JPEG,
    LIBRAW,
    RAW,
    PhotoFormat,
    check_pixels,
    require_format,
)
from tagger.photos.raw import read_raw

# The most memory per pixel of the sensor: with one colour in each, of which four make up a pixel of
# the result; and with all colours in each pixel, or none.
_HALVED_BYTES, _WHOLE_BYTES = 8, 26

_FIXED_BYTES = 8 * 2**20

# No camera compresses more. LibRaw develops what is missing at the end of a file as black or as
# stripes.
_PIXELS_PER_BYTE = 32

# A bit of LibRaw's orientation.
_SWAPS_SIDES = 4


class RawDeveloper:
    """LibRaw in this process, if it is loaded."""

    def __init__(self) -> None:
        self._rawpy: Any = None

    def load(self) -> None:
        """Load LibRaw if it is installed. Only for processes that decode photos and can do nothing else."""
        if LIBRAW.is_installed:
            self._rawpy = importlib.import_module(LIBRAW.module)

    @property
    def is_loaded(self) -> bool:
        return self._rawpy is not None

    @contextmanager
    def developed(
        self, data: bytes, max_pixels: int, *, turns: bool
    ) -> Iterator[tuple[Image.Image, int, int]]:
        """Develop a photo to an image in sRGB, and the photo's width and height, usually twice the image's.

        Its memory is reserved inside the context.

        `turns`: LibRaw turns the photo upright, by what it reads in the file; else the photo stays as the
        sensor saw it.

        Raises:
            PhotoFailed: LibRaw does not read it, it is damaged, or it has more pixels than the limit.
        """
        with ExitStack() as reserved:
            with (
                _failing_alone(self._rawpy),
                self._rawpy.imread(io.BytesIO(data)) as raw,
            ):
                sizes = raw.sizes
                check_pixels(sizes.raw_width, sizes.raw_height, max_pixels)
                pixels = sizes.raw_width * sizes.raw_height
                if pixels > len(data) * _PIXELS_PER_BYTE:
                    raise _truncated()
                reserved.enter_context(
                    MEMORY_BUDGET.reserve(pixels * _HALVED_BYTES + _FIXED_BYTES)
                )
                # Developing at half the size halves it, if each pixel of the sensor has one colour.
                if raw.raw_type is not self._rawpy.RawType.Flat or raw.num_colors <= 1:
                    reserved.close()
                    reserved.enter_context(
                        MEMORY_BUDGET.reserve(pixels * _WHOLE_BYTES + _FIXED_BYTES)
                    )
                flip = None if turns else 0
                values = raw.postprocess(
                    half_size=True, use_camera_wb=True, user_flip=flip
                )  # (H, W, 1 or 3)
                image = Image.fromarray(
                    values[..., 0] if values.shape[2] == 1 else values
                )
            width, height = sizes.width, sizes.height
            if turns and sizes.flip & _SWAPS_SIDES:
                width, height = height, width
            yield image, width, height


# The developer of this process.
RAW_DEVELOPER = RawDeveloper()


@contextmanager
def _failing_alone(rawpy: ModuleType) -> Iterator[None]:
    # Turn LibRaw's errors into failures of the photo that say what to do.
    try:
        yield
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError from error
    except rawpy.LibRawIOError as error:
        raise _truncated() from error
    except rawpy.LibRawDataError as error:
        raise PhotoFailed(
            FailureKind.CORRUPT,
            "The RAW photo has no preview, and the data of its sensor are damaged. Restore it from a backup.",
        ) from error
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else ""
        reason = (
            reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        )
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            f"The RAW photo has no preview, and LibRaw does not develop it ({reason}). Export it as JPEG.",
        ) from error


def _truncated() -> PhotoFailed:
    return PhotoFailed(
        FailureKind.TRUNCATED,
        "The file ends before the data of its sensor do. Copy it again from where it came from.",
    )


# A smaller longer side is that of a thumbnail, often between black bars.
LEAST_SIDE = 320


class NoPreview(PhotoFailed):
    """A RAW photo has no preview to show. It can be developed where LibRaw is loaded (see RawDeveloper)."""


def shown_file(data: bytes, *, max_pixels: int) -> tuple[bytes, PhotoFormat]:
    """Return the file to decode, and its format.

    Raises:
        NoPreview: a RAW photo has none.
        PhotoFailed: as `require_format`; or a RAW photo is truncated, or has only larger previews than the
            limit.
    """
    photo_format = require_format(data)
    if photo_format is not RAW:
        return data, photo_format
    raw = read_raw(data)
    previews = [
        preview
        for preview in raw.previews
        if max(preview.width, preview.height) >= LEAST_SIDE
    ]
    if not previews and raw.is_truncated and not raw.image:
        raise PhotoFailed(
            FailureKind.TRUNCATED,
            "The file ends before its preview does. Copy it again from where it came from.",
        )
    if not previews:
        largest = "none"
        if raw.previews:
            width, height = raw.previews[0].width, raw.previews[0].height
            largest = f"only a thumbnail of {width} x {height} pixels"
        remedy = (
            "Export it as JPEG."
            if LIBRAW.is_installed
            else "To develop it, install the extra raw and retry; or export it as JPEG."
        )
        raise NoPreview(
            FailureKind.UNSUPPORTED,
            f"RAW photos are shown by the preview in them, and this one has {largest}. {remedy}",
        )
    chosen = next(
        (preview for preview in previews if preview.pixels <= max_pixels), previews[0]
    )
    check_pixels(chosen.width, chosen.height, max_pixels)
    return bytes(chosen.data), JPEG
