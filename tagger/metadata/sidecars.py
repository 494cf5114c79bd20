"""Which file is a photo's sidecar: what is there already, in either of the namings people meet, or ours.

`photo.jpg.xmp` is how digiKam, darktable and Immich call it, and how a new one is called; `photo.xmp` is Adobe's way.
"""

import itertools
import os
from pathlib import Path

from tagger.metadata.trouble import explained


def sidecar_of(photo: Path) -> Path:
    """Where this photo's tags are written beside it: into the sidecar that is there, else into a new `photo.jpg.xmp`.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be looked into.
    """
    return next(iter(sidecars_there(photo)), photo.with_name(photo.name + ".xmp"))


def sidecars_there(photo: Path) -> tuple[Path, ...]:
    """The sidecars this photo has now; the first is the one to write.

    `photo.xmp` counts only where no other file of that stem is in the folder: beside `photo.raw` it is the RAW's.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be looked into.
    """
    with explained(photo):
        found = _in_any_case(photo)
        adobes = _in_any_case(photo.with_name(photo.stem)) if photo.suffix else ()
        if adobes and not _shares_stem(photo):
            found += adobes
    return found


def is_sidecar_name(name: str) -> bool:
    """Whether a file of this name is a sidecar, of whatever photo."""
    return name.lower().endswith(".xmp")


_ENDINGS = tuple("." + "".join(letters) for letters in itertools.product("xX", "mM", "pP"))


def _in_any_case(base: Path) -> tuple[Path, ...]:
    """The files `base`.xmp, in whatever case.

    They are asked for by name: listing a folder for each of its photos takes ever longer, the larger it is.
    """
    found: dict[tuple[int, int], Path] = {}
    for ending in _ENDINGS:
        path = base.with_name(base.name + ending)
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        # Where case does not matter, they are all the same file.
        found.setdefault((status.st_dev, status.st_ino), path)
    return tuple(found.values())


def _shares_stem(photo: Path) -> bool:
    """Whether another file than a sidecar has the photo's stem, in whatever case, since a RAW's is often another."""
    with os.scandir(photo.parent) as entries:
        return any(
            os.path.splitext(entry.name)[0].lower() == photo.stem.lower()  # noqa: PTH122 - a Path for each is slow
            and entry.name != photo.name
            and not is_sidecar_name(entry.name)
            and not entry.is_dir(follow_symlinks=False)
            for entry in entries
        )
