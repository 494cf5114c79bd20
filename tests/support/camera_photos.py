"""Photos as cameras write them: with a time, a model, and GPS or none."""

from datetime import datetime, timedelta
from pathlib import Path

from PIL import Image
from support.artifacts import colour_of

NOON = datetime(2024, 5, 3, 12)  # noqa: DTZ001 - the camera's local time
GREY = (128, 128, 128)

Degrees = tuple[float, float, float]


def draw_shot(
    path: Path,
    minutes: float | None,
    *,
    gps: tuple[float, float] | None = None,
    label: int | None = None,
    model: str = "EOS 5D",
    offset: str | None = None,
    noon: datetime = NOON,
) -> Path:
    """Draw a photo that was taken `minutes` after noon; None: it has no date. Each name has an image of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x10F], exif[0x110] = "Canon", model
    details = exif.get_ifd(0x8769)
    if minutes is not None:
        details[0x9003] = (noon + timedelta(minutes=minutes)).isoformat(" ", "seconds").replace("-", ":")
    if offset is not None:
        details[0x9011] = offset
    if gps is not None:
        exif.get_ifd(0x8825).update(gps_tags(*gps))
    number = sum(at * byte for at, byte in enumerate(path.name.encode(), 1))
    size = (80 + number % 41, 60 + number % 37)
    Image.new("RGB", size, GREY if label is None else colour_of(label)).save(path, quality=90, exif=exif)
    return path


def gps_tags(latitude: float, longitude: float) -> dict[int, str | Degrees]:
    return {
        1: "S" if latitude < 0 else "N",
        2: _degrees(latitude),
        3: "W" if longitude < 0 else "E",
        4: _degrees(longitude),
    }


def _degrees(degrees: float) -> Degrees:
    minutes, seconds = divmod(abs(degrees) * 3600, 60)
    return minutes // 60, minutes % 60, round(seconds, 4)
