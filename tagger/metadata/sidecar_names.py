"""The paths of a photo's sidecars.

digiKam, darktable, Immich and this program name them `photo.jpg.xmp`; Adobe's programs name them `photo.xmp`.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tagger.errors import BucketUnavailable
from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused, translated_os_errors
from tagger.photos.buckets import sidecars_of
from tagger.photos.folders import OpenFolder, open_folder
from tagger.photos.paths import ObjectPath
from tagger.photos.photo_names import DEVELOPED_EXTENSIONS, RAW_EXTENSIONS, is_raw_name

SIDECAR_MAX_BYTES = 16 * 2**20
"""A larger file is not read: real sidecars have kilobytes, with a history of edits perhaps a megabyte."""
SIDECAR_ENDINGS = tuple("." + "".join(letters) for letters in itertools.product("xX", "mM", "pP"))
"""`.xmp` in every case, the usual one first."""


def sidecar_paths(
    photo: Path, root: Path | None = None, *, may_create: bool = False, adds: bool = False
) -> tuple[Path, ...]:
    """The sidecars that the photo has; the first is the one to write. No link to a folder is followed below `root`.

    With `may_create`, a new one if it has none. `adds`: values will be added to them.
    The `photo.xmp` of `photo.jpg` counts only if the folder has no other file with this stem: beside `photo.cr3` it belongs to the
    RAW file. That of a RAW file counts unless another RAW file has this stem, or a file has the stem as its whole name: beside
    `photo.jpg`, `photo.jpg.xmp` is not the sidecar of `photo.jpg.cr3`.

    Raises:
        WriteRefused: the folder is a link or may not be read, or values would be added to what may be the sidecar of another photo.
        WriteFailed: the disk or share failed.
    """
    if isinstance(photo, ObjectPath):
        return _sidecars_in_bucket(photo)
    own = (new_sidecar_name(photo),) if may_create else ()
    with translated_os_errors(photo):
        try:
            folder = open_folder(photo.parent, root)
        except FileNotFoundError:
            return tuple(map(photo.with_name, own))
        with folder:
            sidecars = _files_in_any_case(folder, photo.name)
            stem_sidecars = _files_in_any_case(folder, photo.stem) if photo.suffix else ()
            if stem_sidecars and not _shares_stem(folder, photo):
                sidecars += stem_sidecars
            sidecars = sidecars or own
            if adds:
                refuse_shared(photo, sidecars, _raw_files_named_after(folder, photo))
    return tuple(map(photo.with_name, sidecars))


def _sidecars_in_bucket(photo: ObjectPath) -> tuple[Path, ...]:
    try:
        return sidecars_of(photo)
    except BucketUnavailable as error:
        text = f"Its sidecars cannot be found: {error.values['reason']}."
        raise WriteFailed("unreadable", text) from error


def new_sidecar_name(photo: Path) -> str:
    """The name of a sidecar that is created."""
    return f"{photo.name}.xmp"


def refuse_shared(photo: Path, sidecars: Iterable[str], names: Iterable[str]) -> None:
    """Refuse to add values to `photo.jpg.xmp` if one of the `names` is that of a RAW file `photo.jpg.cr3`: programs that name
    sidecars without the extension would take the values for those of the RAW file.

    Raises:
        WriteRefused: there is such a RAW file.
    """
    own = new_sidecar_name(photo)
    if not any(sidecar.lower() == own.lower() for sidecar in sidecars):
        return
    for name in names:
        if is_raw_name(name) and _stem(name) == photo.name.lower():
            reason = f"Its sidecar {own} may also be that of {name}: Lightroom names it so. Nothing is written. Rename one of the two photos, then write again."
            raise WriteRefused(RefusalKind.SIDECAR, reason)


def is_sidecar_name(name: str) -> bool:
    """Whether a file of this name is a sidecar."""
    return name.lower().endswith(".xmp")


def shares_sidecar(photo: Path, name: str) -> bool:
    """Whether `photo.xmp` may also belong to the file `name` of the photo's folder: it has the photo's stem in upper or lower case.

    RAW files often use another case. A file whose whole name is the stem also has this sidecar: `a.jpg` beside `a.jpg.cr3`.
    """
    if name == photo.name or is_sidecar_name(name):
        return False
    stem = photo.stem.lower()
    if "." in stem and name.lower() == stem:
        return True
    return _stem(name) == stem and (is_raw_name(name) or not is_raw_name(photo.name))


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].lower()  # noqa: PTH122 - a Path for each is slow


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


def _raw_files_named_after(folder: OpenFolder, photo: Path) -> Iterator[str]:
    """The RAW files `photo.jpg.cr3` of the folder; each is checked by name, as sidecars are."""
    for extension in sorted(RAW_EXTENSIONS | DEVELOPED_EXTENSIONS):
        yield from filter(folder.exists, (photo.name + extension, photo.name + extension.upper()))
