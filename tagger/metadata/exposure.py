"""How a photo was exposed, as its EXIF says: to be shown to people. Nothing is decided by it."""

import math
from dataclasses import dataclass

from tagger.metadata.camera import exif_directory, name_in
from tagger.metadata.formats.jpeg_segments import EXIF
from tagger.photos.containers import exif_of
from tagger.photos.tiff import TiffBlock, TiffTag, open_tiff


@dataclass(frozen=True)
class Exposure:
    """What EXIF says of an exposure; None where it says nothing valid."""

    time_s: float | None = None
    f_number: float | None = None
    iso: int | None = None
    focal_length_mm: float | None = None
    lens: str | None = None

    @property
    def text(self) -> str:
        """`1/250 s · f/8 · ISO 100 · 50 mm`, as photographers write it in every language."""
        parts = (
            self.time_s and f"{_time_text(self.time_s)} s",
            self.f_number and f"f/{self.f_number:.2g}",
            self.iso and f"ISO {self.iso}",
            self.focal_length_mm and f"{self.focal_length_mm:.3g} mm",
        )
        return " · ".join(part for part in parts if part)


def read_exposure(data: bytes) -> Exposure:
    """Read the exposure of a photo whose beginning this is; never raises."""
    block = open_tiff((exif_of(data) or b"").removeprefix(EXIF))
    main = block.directory(block.first) if block else None
    if block is None or main is None:
        return Exposure()
    tags = exif_directory(block, main).tags
    iso = next(iter(block.integers(tags.get(_ISO))), 0)
    return Exposure(
        time_s=_positive(block, tags.get(_TIME)),
        f_number=_positive(block, tags.get(_F_NUMBER)),
        iso=iso if iso > 0 else None,
        focal_length_mm=_positive(block, tags.get(_FOCAL_LENGTH)),
        lens=name_in(tags.get(_LENS)),
    )


_TIME, _F_NUMBER, _ISO, _FOCAL_LENGTH, _LENS = 33434, 33437, 34855, 37386, 42036
_MOST = 1e6
"""Larger numbers are damage."""


def _positive(block: TiffBlock, entry: TiffTag | None) -> float | None:
    fraction = next(iter(block.fractions(entry)), None)
    if fraction is None or not fraction[1]:
        return None
    number = fraction[0] / fraction[1]
    return number if math.isfinite(number) and 1 / _MOST < number < _MOST else None


def _time_text(time_s: float) -> str:
    return f"1/{round(1 / time_s)}" if time_s < 0.3 else f"{time_s:.3g}"
