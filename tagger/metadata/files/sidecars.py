"""The paths of a photo's sidecars.

digiKam, darktable, Immich and this program name them `photo.jpg.xmp`; Adobe's programs name them `photo.xmp`.
"""

import itertools
import os
from pathlib import Path

from tagger.metadata.files.os_errors import translated_os_errors


def sidecar_path(photo: Path) -> Path:
    """The sidecar to write: an existing one, else a new `photo.jpg.xmp`.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be read.
    """
    return next(iter(existing_sidecars(photo)), photo.with_name(photo.name + ".xmp"))


def existing_sidecars(photo: Path) -> tuple[Path, ...]:
    """The sidecars that the photo has; the first is the one to write.

    `photo.xmp` counts only if the folder has no other file with this stem: beside `photo.raw` it belongs to the RAW file.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be read.
    """
    with translated_os_errors(photo):
        sidecars = _files_in_any_case(photo)
        stem_sidecars = _files_in_any_case(photo.with_name(photo.stem)) if photo.suffix else ()
        if stem_sidecars and not _shares_stem(photo):
            sidecars += stem_sidecars
    return sidecars


def is_sidecar_name(name: str) -> bool:
    """Whether a file of this name is a sidecar."""
    return name.lower().endswith(".xmp")


_ENDINGS = tuple("." + "".join(letters) for letters in itertools.product("xX", "mM", "pP"))


def _files_in_any_case(base: Path) -> tuple[Path, ...]:
    """The files `base`.xmp, with the suffix in any case.

    Each spelling is checked by name: listing the folder for every photo takes quadratic time.
    """
    sidecars: dict[tuple[int, int], Path] = {}
    for ending in _ENDINGS:
        path = base.with_name(base.name + ending)
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        # On case-insensitive file systems all spellings are the same file.
        sidecars.setdefault((status.st_dev, status.st_ino), path)
    return tuple(sidecars.values())


def _shares_stem(photo: Path) -> bool:
    """Whether another file, not a sidecar, has the photo's stem in any case. RAW files often use another case."""
    with os.scandir(photo.parent) as entries:
        return any(
            os.path.splitext(entry.name)[0].lower() == photo.stem.lower()  # noqa: PTH122 - a Path for each is slow
            and entry.name != photo.name
            and not is_sidecar_name(entry.name)
            and not entry.is_dir(follow_symlinks=False)
            for entry in entries
        )
