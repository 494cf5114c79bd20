"""What exiftool says of photos before and after they were written: nothing of the owner's may be missing or differ."""

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
"""Values by group and name, `IFD0:Make`: all of them where a file has several; binary ones in full."""

_ASKED = ("-G1:4", "-a", "-u", "-b", "-n", "-struct", "-json", "-r")
_FOLLOWS = re.compile(
    r"SourceFile|(System|ExifTool|Composite):.*"  # the file system's, or worked out from other fields
    r"|File:(ExifByteOrder|CurrentIPTCDigest|FileType|FileTypeExtension|MIMEType)|RIFF:WebP_Flags"
    r"|IFD1:ThumbnailOffset|MPImage\d+:MPImageStart|MPImage1:MPImageLength"
)
"""What says how and where the blocks are stored."""
_REPEATED = frozenset(("RIFF:ImageWidth", "RIFF:ImageHeight"))
"""A WebP file with metadata has a header that says again how large the picture is."""
_IPTC_OF_OTHERS = "Photoshop:Photoshop_Unknown_0x0404"
"""IPTC under another signature than Photoshop's, which exiftool does not take apart."""
_COPY = re.compile(r":Copy\d+(?=:)")
_GROWS = frozenset(
    (
        "XMP-dc:Subject",
        "XMP-lr:HierarchicalSubject",
        "XMP-digiKam:TagsList",
        "XMP-iptcExt:LocationShown",
        "IPTC:Keywords",
        "IFD0:XPKeywords",
    )
)
"""Fields that others' values stay in when ours come."""
_WHERE_EMPTY = frozenset(("IFD0:ImageDescription", "XMP-dc:Description"))
_DIGEST, _TRUE_DIGEST = "Photoshop:IPTCDigest", "File:CurrentIPTCDigest"


def is_installed() -> bool:
    return shutil.which("exiftool") is not None


def said_of(folder: Path) -> dict[str, Fields]:
    """The fields of every file in a folder, by the file's name."""
    done = subprocess.run(["exiftool", *_ASKED, str(folder)], capture_output=True, check=False, timeout=600)
    found = json.loads(done.stdout.decode(errors="replace") or "[]", strict=False)
    return {Path(fields["SourceFile"]).name: _without_numbers(fields) for fields in found}


def lost_fields(before: Fields, after: Fields) -> list[str]:
    """The names of what is gone or has another value, but for what has to follow."""
    return [name for name in owners_fields(before) if not _is_kept(name, before, after)]


def owners_fields(before: Fields) -> list[str]:
    """The names of what must not change."""
    return [name for name in before if not _FOLLOWS.fullmatch(name)]


def new_warnings(before: Fields, after: Fields) -> list[str]:
    """What exiftool had nothing to say about before."""
    return list((Counter(_warnings(after)) - Counter(_warnings(before))).elements())


def _without_numbers(fields: Mapping[str, Any]) -> Fields:
    """Which copy of several a value is says nothing: one more ahead of it, and it is the next."""
    values: dict[str, list[Any]] = {}
    for name, value in fields.items():
        values.setdefault(_COPY.sub("", name), []).append(value)
    return values


def _is_kept(name: str, before: Fields, after: Fields) -> bool:
    was, now = before[name], after.get(name, [])
    if name == _DIGEST and was == before.get(_TRUE_DIGEST):
        return now == after.get(
            _TRUE_DIGEST
        )  # one that was right is to be right, one that was not is to stay
    if was == now:
        return True
    if name in _REPEATED:
        return set(map(str, was)) == set(map(str, now))
    if name == _IPTC_OF_OTHERS:
        return len(was) == len(now) and all(map(_only_inserted, was, now))
    if name in _WHERE_EMPTY:
        return not any(str(value).strip() for value in was)
    return name in _GROWS and not Counter(_parts(was)) - Counter(_parts(now))


def _only_inserted(was: Any, now: Any) -> bool:
    """Whether the new value is the old one with something more in one place."""
    old, new = _raw(str(was)), _raw(str(now))
    more = len(new) - len(old)
    alike = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), len(old))
    return more >= 0 and new[alike + more :] == old[alike:]


def _raw(text: str) -> bytes:
    return base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()


def _parts(values: list[Any]) -> Iterator[str]:
    """Each value that is not empty, of lists and of several in one text."""
    for value in values:
        for part in value if isinstance(value, list) else str(value).split(";"):
            if part:
                yield json.dumps(part, sort_keys=True)


def _warnings(fields: Fields) -> Iterator[str]:
    for name, values in fields.items():
        if name.startswith("ExifTool:") and name.endswith(("Warning", "Error")):
            yield from map(str, values)
