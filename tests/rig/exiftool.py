"""Checks with exiftool that a write neither removes nor changes the owner's fields."""

import base64
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Fields: TypeAlias = Mapping[str, list[Any]]
"""All values by group and name, such as `IFD0:Make`; binary values in full."""

_OPTIONS = ("-G1:4", "-a", "-u", "-b", "-n", "-struct", "-json", "-r")
_DERIVED = re.compile(
    r"SourceFile|(System|ExifTool|Composite):.*"  # of the file system, or computed from other fields
    r"|File:(ExifByteOrder|CurrentIPTCDigest|FileType|FileTypeExtension|MIMEType)|RIFF:WebP_Flags"
    r"|IFD1:ThumbnailOffset|MPImage\d+:MPImageStart|MPImage1:MPImageLength"
)
"""Fields about how and where blocks are stored."""
_DUPLICATED = frozenset(("RIFF:ImageWidth", "RIFF:ImageHeight"))
"""The header that a WebP file with metadata has repeats the image's size."""
_FOREIGN_IPTC = "Photoshop:Photoshop_Unknown_0x0404"
"""IPTC under another signature than Photoshop's, which exiftool does not parse."""
_COPY = re.compile(r":Copy\d+(?=:)")
_EXTENDABLE = frozenset(
    (
        "XMP-dc:Subject",
        "XMP-lr:HierarchicalSubject",
        "XMP-digiKam:TagsList",
        "XMP-iptcExt:LocationShown",
        "IPTC:Keywords",
        "IFD0:XPKeywords",
    )
)
"""Fields that our values are added to."""
_FILLED_IF_EMPTY = frozenset(("IFD0:ImageDescription",))
_DIGEST, _CURRENT_DIGEST = "Photoshop:IPTCDigest", "File:CurrentIPTCDigest"


def is_installed() -> bool:
    return shutil.which("exiftool") is not None


def read_fields(folder: Path) -> dict[str, Fields]:
    """The fields of every file in a folder, by the file's name."""
    process = subprocess.run(
        ["exiftool", *_OPTIONS, str(folder)], capture_output=True, check=False, timeout=600
    )
    documents = json.loads(process.stdout.decode(errors="replace") or "[]", strict=False)
    return {Path(fields["SourceFile"]).name: _without_copy_numbers(fields) for fields in documents}


def lost_fields(before: Fields, after: Fields) -> list[str]:
    """The names of fields that are missing or have another value although they must not change."""
    return [name for name in fixed_fields(before) if not _is_preserved(name, before, after)]


def fixed_fields(before: Fields) -> list[str]:
    """The names of the fields that must not change."""
    return [name for name in before if not _DERIVED.fullmatch(name)]


def new_warnings(before: Fields, after: Fields) -> list[str]:
    """Warnings that exiftool did not give before."""
    return list((Counter(_warnings(after)) - Counter(_warnings(before))).elements())


def _without_copy_numbers(fields: Mapping[str, Any]) -> Fields:
    """Merge the copies of a field: their numbers change when a copy is inserted before them."""
    values: dict[str, list[Any]] = {}
    for name, value in fields.items():
        values.setdefault(_COPY.sub("", name), []).append(value)
    return values


def _is_preserved(name: str, before: Fields, after: Fields) -> bool:
    old_values, new_values = before[name], after.get(name, [])
    if name == _DIGEST and old_values == before.get(_CURRENT_DIGEST):
        return new_values == after.get(
            _CURRENT_DIGEST
        )  # a correct digest must stay correct, a wrong one must not change
    if old_values == new_values:
        return True
    if name in _DUPLICATED:
        return set(map(str, old_values)) == set(map(str, new_values))
    if name == _FOREIGN_IPTC:
        return len(old_values) == len(new_values) and all(map(_only_inserted, old_values, new_values))
    if name in _FILLED_IF_EMPTY:
        return not any(str(value).strip() for value in old_values)
    return name in _EXTENDABLE and not Counter(_parts(old_values)) - Counter(_parts(new_values))


def _only_inserted(old_values: Any, new_values: Any) -> bool:
    """Whether the new value is the old one with bytes inserted at one offset."""
    old_bytes, new_bytes = _raw(str(old_values)), _raw(str(new_values))
    growth = len(new_bytes) - len(old_bytes)
    common = next(
        (at for at, (a, b) in enumerate(zip(old_bytes, new_bytes, strict=False)) if a != b), len(old_bytes)
    )
    return growth >= 0 and new_bytes[common + growth :] == old_bytes[common:]


def _raw(text: str) -> bytes:
    return base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()


def _parts(values: list[Any]) -> Iterator[str]:
    """Each value that is not empty, from lists and from texts with several values."""
    for value in values:
        for part in value if isinstance(value, list) else str(value).split(";"):
            if part:
                yield json.dumps(part, sort_keys=True)


def _warnings(fields: Fields) -> Iterator[str]:
    for name, values in fields.items():
        if name.startswith("ExifTool:") and name.endswith(("Warning", "Error")):
            yield from map(str, values)
