"""How values are put into words for XMP: texts that XML can hold, coordinates, and paths of places."""

import math
import re
import unicodedata

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COORDINATE = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d{1,12})?)([NSEW])")
_LONG = 1_000
_SAME_DEGREES = 1e-5


def clean(text: str | None) -> str:
    """Drop what XML cannot hold; "" where only space is left."""
    cleaned = _NOT_XML.sub("", text or "")
    return cleaned if cleaned.strip() else ""


def alike(text: str) -> str:
    """Give what texts have in common that people take for the same keyword: NFC, without case."""
    # Normalising takes quadratic time over a hostile text, and no keyword is this long.
    return (text if len(text) > _LONG else unicodedata.normalize("NFC", text)).casefold()


def lightroom_path(names: tuple[str, ...]) -> str:
    """'Places|France|Paris'; a '|' within a name is written '¦'."""
    return "|".join(_path_names(names))


def digikam_path(names: tuple[str, ...]) -> str:
    """'Places/France/Paris'; a '/' within a name is written as a backslash, as digiKam has it too."""
    return "/".join(name.replace("/", "\\") for name in _path_names(names))


def coordinate(degrees: float, directions: str) -> str:
    """'48,51.5040N' for 48.8584 and "NS": degrees, and minutes to 20 centimetres."""
    parts = round(abs(degrees) * 600_000)
    whole, rest = divmod(parts, 600_000)
    return f"{whole},{rest // 10_000}.{rest % 10_000:04d}{directions[degrees < 0]}"


def same_coordinate(one: str, other: str) -> bool:
    """Whether both mean one place: other programs write more or fewer decimals."""
    first, second = _degrees(one), _degrees(other)
    return one == other or (first is not None and second is not None and abs(first - second) < _SAME_DEGREES)


def is_on_earth(latitude: float | None, longitude: float | None) -> bool:
    """Whether both are there and are coordinates."""
    if latitude is None or longitude is None:
        return False
    return abs(latitude) <= 90 and abs(longitude) <= 180  # Not so for NaN.


def metres(error_m: float) -> str:
    """'250/1': whole metres, rounded up, as the rational number that XMP wants."""
    return f"{math.ceil(error_m)}/1"


def _path_names(names: tuple[str, ...]) -> list[str]:
    return [name for name in (clean(name).replace("|", "¦") for name in names) if name]


def _degrees(text: str) -> float | None:
    found = _COORDINATE.fullmatch(text)
    if found is None:
        return None
    degrees = int(found[1]) + float(found[2]) / 60
    return -degrees if found[3] in "SW" else degrees
