"""The paths of a photo's sidecars.

digiKam, darktable, Immich and this program name them `photo.jpg.xmp`; Adobe's programs name them `photo.xmp`.
"""

import itertools
import os
from pathlib import Path

from tagger.metadata.files.os_errors import translated_os_errors
from tagger.photos.folder_walk import is_raw_name
from tagger.photos.folders import OpenFolder, open_folder

SIDECAR_MAX_BYTES = 16 * 2**20
"""A larger file is not read: real sidecars have kilobytes, with a history of edits perhaps a megabyte."""
SIDECAR_ENDINGS = tuple("." + "".join(letters) for letters in itertools.product("xX", "mM", "pP"))
"""`.xmp` in every case, the usual one first."""


def existing_sidecars(photo: Path, root: Path | None = None) -> tuple[Path, ...]:
    """The sidecars that the photo has; the first is the one to write. No link to a folder is followed below `root`.

    `photo.xmp` counts only if the folder has no other file with this stem: beside `photo.cr3` it belongs to the RAW file. A RAW
    file shares it with other RAW files only.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be read.
    """
    with translated_os_errors(photo):
        try:
            folder = open_folder(photo.parent, root)
        except FileNotFoundError:
            return ()
        with folder:
            sidecars = _files_in_any_case(folder, photo.name)
            stem_sidecars = _files_in_any_case(folder, photo.stem) if photo.suffix else ()
            if stem_sidecars and not _shares_stem(folder, photo):
                sidecars += stem_sidecars
    return tuple(photo.with_name(name) for name in sidecars)


def is_sidecar_name(name: str) -> bool:
    """Whether a file of this name is a sidecar."""
    return name.lower().endswith(".xmp")


def shares_sidecar(photo: Path, name: str) -> bool:
    """Whether `photo.xmp` may belong to the file `name` of the photo's folder, too: it has the photo's stem in any case.

    RAW files often use another case.
    """
    return (
        os.path.splitext(name)[0].lower() == photo.stem.lower()  # noqa: PTH122 - a Path for each is slow
        and name != photo.name
        and not is_sidecar_name(name)
        and (is_raw_name(name) or not is_raw_name(photo.name))
    )


def _files_in_any_case(folder: OpenFolder, base: str) -> tuple[str, ...]:
    """The files `base`.xmp of a folder, with the suffix in any case.

    Each spelling is checked by name: listing the folder for every photo takes quadratic time.
    """
    sidecars: dict[tuple[int, int], str] = {}
    for ending in SIDECAR_ENDINGS:
        try:
            status = folder.status(base + ending)
        except FileNotFoundError:
            continue
        # On case-insensitive file systems all spellings are the same file.
        sidecars.setdefault((status.st_dev, status.st_ino), base + ending)
    return tuple(sidecars.values())


def _shares_stem(folder: OpenFolder, photo: Path) -> bool:
    return any(
        shares_sidecar(photo, entry.name) and not entry.is_dir(follow_symlinks=False)
        for entry in folder.entries()
    )
