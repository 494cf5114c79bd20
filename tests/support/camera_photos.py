"""Photos as cameras write them: with a time, a model, and GPS or none."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from PIL import Image
from support.artifacts import colour_of

NOON = datetime(2024, 5, 3, 12)  # noqa: DTZ001 - the camera's local time
GREY = (128, 128, 128)

Degrees = tuple[float, float, float]


# The photos of the documentation: their names in the test data, and there.
SAMPLES = {
    "01.Alai_Minar__a57764.jpg": "IMG_2034.jpg",
    "01.Alai_Minar__da178a.jpg": "IMG_2036.jpg",
    "03.Arc_de_Triomphe_Orange__664a42.jpg": "DSC_0107.jpg",
    "03.Arc_de_Triomphe_Orange__c87034.jpg": "DSC_0112.jpg",
    "41.Palais_de_Justice_Aix__7dba91.jpg": "P1020318.jpg",
    "42.Palais_des_Papes_Avignon__400f16.jpg": "avignon.jpg",
    "45.Place_Massena_Nice__6c4c67.jpg": "nice-2014.jpg",
    "57.Theatre_Antique_Orange__582c62.jpg": "DSC_0131.jpg",
}


def copy_samples(test_data: Path, folder: Path) -> None:
    """Copy the photos of the documentation to a new folder, where they may be written."""
    folder.mkdir(parents=True)
    for name, sample in SAMPLES.items():
        shutil.copyfile(test_data / "originals" / name, folder / sample)


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
    """Draw a photo that was taken `minutes` after noon; None: without date. Each name has an own image."""
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
