"""What an EXIF block says, for people; and the differences between two blocks beyond our values, of which a write must cause none.

Lenient for people: values that cannot be read are absent. Blocks are compared without piexif, which writes them.
"""

from collections.abc import Sequence
from dataclasses import replace

from tagger.metadata.exif.block import (
    BLOCK_LIMIT,
    EXIF,
    GPS,
    MAIN,
    POINTERS,
    ExifRewriteError,
    ParsedBlock,
    difference,
    parse_block,
    rewrite_obstacle,
)
from tagger.metadata.exif.values import (
    LATITUDE,
    LONGITUDE,
    OUR_FIELDS,
    AddedValue,
    with_values,
    without_blank_values,
    without_values,
)
from tagger.metadata.gps import exif_position
from tagger.photos.tiff import ORIENTATION, TiffBlock, TiffDirectory, open_tiff


def read(block: bytes | None) -> dict[str, str]:
    """The block's values by their names in exiftool."""
    tiff = open_tiff(block or b"")
    if block is None or tiff is None:
        return {}
    directories = _directories(tiff)
    values = {}
    for (directory, tag), (name, encoding) in _NAMES.items():
        entry = directories[directory].tags.get(tag) if directory in directories else None
        values[name] = _text(bytes(entry.raw[:BLOCK_LIMIT]), encoding) if entry else ""
    values["EXIF:Orientation"] = _orientation(tiff, directories)
    latitude, longitude = exif_position(tiff)
    if latitude is not None and longitude is not None:
        values |= {"EXIF:GPSLatitude": f"{latitude:.7f}", "EXIF:GPSLongitude": f"{longitude:.7f}"}
    return {name: text for name, text in values.items() if text}


def has_position(block: bytes | None) -> bool:
    """Whether the block has a latitude or longitude, even zeros: the field is taken then."""
    tiff = open_tiff(block or b"")
    gps = _directories(tiff).get(GPS) if tiff else None
    return gps is not None and any(tag in gps.tags for tag in (LATITUDE, LONGITUDE))


_NAMES = {
    (MAIN, 0x010E): ("EXIF:ImageDescription", "utf-8"),
    (MAIN, 0x010F): ("EXIF:Make", "utf-8"),
    (MAIN, 0x0110): ("EXIF:Model", "utf-8"),
    (MAIN, 0x0131): ("EXIF:Software", "utf-8"),
    (MAIN, 0x013B): ("EXIF:Artist", "utf-8"),
    (MAIN, 0x8298): ("EXIF:Copyright", "utf-8"),
    (EXIF, 0x9003): ("EXIF:DateTimeOriginal", "utf-8"),
    (MAIN, 0x9C9B): ("EXIF:XPTitle", "utf-16-le"),
    (MAIN, 0x9C9C): ("EXIF:XPComment", "utf-16-le"),
    (MAIN, 0x9C9E): ("EXIF:XPKeywords", "utf-16-le"),
    (MAIN, 0x9C9F): ("EXIF:XPSubject", "utf-16-le"),
}
_ORIENTATIONS = (
    "Horizontal (normal)",
    "Mirror horizontal",
    "Rotate 180",
    "Mirror vertical",
    "Mirror horizontal and rotate 270 CW",
    "Rotate 90 CW",
    "Mirror horizontal and rotate 90 CW",
    "Rotate 270 CW",
)


def _directories(tiff: TiffBlock) -> dict[str, TiffDirectory]:
    """The directories that can be read."""
    main = tiff.directory(tiff.first)
    directories = {MAIN: main} if main else {}
    for (parent, tag), name in POINTERS.items():
        offsets = tiff.integers(directories[parent].tags.get(tag)) if parent in directories else ()
        directory = tiff.directory(offsets[0]) if len(offsets) == 1 else None
        if directory:
            directories[name] = directory
    return directories


def _orientation(tiff: TiffBlock, directories: dict[str, TiffDirectory]) -> str:
    values = tiff.integers(directories[MAIN].tags.get(ORIENTATION)) if MAIN in directories else ()
    return _ORIENTATIONS[values[0] - 1] if len(values) == 1 and 1 <= values[0] <= len(_ORIENTATIONS) else ""


def _text(raw: bytes, encoding: str) -> str:
    """Decode a text up to its first NUL. Most texts that are not UTF-8 are Latin-1."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("latin-1" if encoding == "utf-8" else encoding, errors="replace")
    return text.split("\0", 1)[0].strip()


def insertion_difference(
    before: bytes | None, after: bytes | None, added: Sequence[AddedValue]
) -> str | None:
    """Return None if `after` is `before` plus the `added` values, else the first other difference in words."""
    our_values = _exif_values(added)
    if before == after and not our_values:
        return None
    try:
        return _insertion_difference(parse_block(before), parse_block(after), our_values)
    except ExifRewriteError as error:
        return error.text


def removal_difference(before: bytes | None, after: bytes | None, added: Sequence[AddedValue]) -> str | None:
    """Return None if `after` is `before`, which others may have changed, less some of the `added` values.

    Otherwise the first other difference in words.
    """
    if before == after:
        return None
    try:
        old = parse_block(before)
        remaining = replace(old, tags=without_values(old.tags, _exif_values(added)))
        return _described(difference(remaining, parse_block(after)))
    except ExifRewriteError as error:
        return error.text


def _insertion_difference(old: ParsedBlock, new: ParsedBlock, our_values: Sequence[AddedValue]) -> str | None:
    """Compare both ways: the old block with our values is the new one, and the new one without them is the old."""
    if obstacle := rewrite_obstacle(old):
        return f"The EXIF was rewritten although it holds {obstacle}."
    return _described(
        difference(replace(old, tags=with_values(old.tags, our_values)), new)
        or difference(
            replace(old, tags=without_blank_values(old.tags, our_values)),
            replace(new, tags=without_values(new.tags, our_values)),
        )
    )


def _exif_values(added: Sequence[AddedValue]) -> list[AddedValue]:
    return [(field, value) for field, value in added if field in OUR_FIELDS]


def _described(found: str | None) -> str | None:
    return f"The EXIF differs in more than our values; {found}." if found else None
