"""The paths of a photo's sidecars.

digiKam, darktable, Immich and this program name them `photo.jpg.xmp`; Adobe's programs name them `photo.xmp`.
Whose the latter is, says `owner_of_stem_sidecar`, as for reading.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tagger.errors import BucketUnavailable
from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused, translated_os_errors
from tagger.photos.buckets import sidecars_of
from tagger.photos.folder_walk import read_sidecar_in
from tagger.photos.folders import OpenFolder, open_folder
from tagger.photos.paths import ObjectPath, path_text
from tagger.photos.photo_names import (
    DEVELOPED_EXTENSIONS,
    RAW_EXTENSIONS,
    extension_of,
    is_raw_name,
    may_have_stem_sidecar,
    stem_of,
)
from tagger.photos.side_files import ReadSidecar, folded_name, owner_of_stem_sidecar, stated_extension

_ENDINGS = (".xmp", ".XMP", ".Xmp")


@dataclass(frozen=True)
class Sidecars:
    """A photo's sidecars, the one to write first. `hidden`: those read as long as it has none of its own."""

    paths: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()


def find_sidecars(
    photo: Path, root: Path | None = None, *, may_create: bool = False, adds: bool = False
) -> Sidecars:
    """Find the sidecars that the photo has. No link to a folder is followed below `root`.

    With `may_create`, a new one if it has none. `adds`: values will be added to them.

    Raises:
        WriteRefused: the folder is a link or may not be read, or values would be added to what may be the
            sidecar of another photo.
        WriteFailed: the disk or share failed.
    """
    if isinstance(photo, ObjectPath):
        return _sidecars_in_bucket(photo)
    new = (new_sidecar_name(photo),) if may_create else ()
    with translated_os_errors(photo):
        try:
            folder = open_folder(photo.parent, root)
        except FileNotFoundError:
            return Sidecars(tuple(map(photo.with_name, new)))
        with folder:
            own = _sidecars(folder, photo.name)
            of_stem = _sidecars(folder, photo.stem) if photo.suffix else ()
            names = _file_names(folder) if of_stem else ()
            owned, hidden = sort_stem_sidecars(
                photo.name, of_stem, names, read_sidecar_in(photo.parent, root)
            )
            found = (*own, *owned) or new
            if adds:
                refuse_shared(photo, found, _raw_files_named_after(folder, photo))
    return Sidecars(tuple(map(photo.with_name, found)), tuple(map(photo.with_name, hidden)))


def sort_stem_sidecars(
    photo: str, sidecars: Iterable[str], names: Iterable[str], read_sidecar: ReadSidecar
) -> tuple[list[str], list[str]]:
    """Those sidecars `photo.xmp` that belong to the photo, and those that a new `photo.jpg.xmp` would hide.

    Immich and digiKam read `IMG_1.xmp` for every file of its stem that has no sidecar of its own. Its values
    are the photo's, unless it says that it is for another file (`photoshop:SidecarForExtension`) which is not
    the same photo.
    """
    owned, hidden = [], []
    names = list(filter(may_have_stem_sidecar, names))
    for sidecar in sidecars:
        owner = owner_of_stem_sidecar(sidecar, names, read_sidecar)
        if owner is not None and folded_name(owner) == folded_name(photo):
            owned.append(sidecar)
        elif owner is None and any(folded_name(name) == folded_name(sidecar[:-4]) for name in names):
            continue  # beside `a.jpg`, `a.jpg.xmp` is not the sidecar of `a.jpg.cr3`
        elif _is_same_photo(photo, owner) or stated_extension(read_sidecar(sidecar)) in (
            None,
            extension_of(photo),
        ):
            hidden.append(sidecar)
    return owned, hidden


def _is_same_photo(photo: str, raw_file: str | None) -> bool:
    """Whether a photo was developed from a RAW file of its stem, as far as the names tell."""
    return raw_file is not None and is_raw_name(raw_file) and None not in (stem_of(photo), stem_of(raw_file))


def find_written(path: Path, root: Path | None = None) -> Path:
    """Where the file that was written as `path` is now: under its name, but for case and accents.

    The name may be as the database stores it, with replacements for what is no Unicode. If there is no such
    file, `path` itself.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be read.
    """
    if isinstance(path, ObjectPath):
        return path
    with translated_os_errors(path):
        try:
            folder = open_folder(path.parent, root)
        except FileNotFoundError:
            return path
        with folder:
            if folder.exists(path.name):
                return path
            folded = folded_name(path.name)
            found = [name for name in _file_names(folder) if folded_name(path_text(name)[0]) == folded]
    return path.with_name(found[0]) if len(found) == 1 else path


def _sidecars_in_bucket(photo: ObjectPath) -> Sidecars:
    try:
        return Sidecars(sidecars_of(photo))
    except BucketUnavailable as error:
        text = f"Its sidecars cannot be found: {error.values['reason']}."
        raise WriteFailed("unreadable", text) from error


def new_sidecar_name(photo: Path) -> str:
    """The name of a sidecar that is created."""
    return f"{photo.name}.xmp"


def refuse_shared(photo: Path, sidecars: Iterable[str], names: Iterable[str]) -> None:
    """Refuse to add values to `photo.jpg.xmp` beside a RAW file `photo.jpg.cr3`: Lightroom gives it them.

    Raises:
        WriteRefused: there is such a RAW file.
    """
    own = new_sidecar_name(photo)
    if not any(sidecar.lower() == own.lower() for sidecar in sidecars):
        return
    for name in names:
        if is_raw_name(name) and _stem(name) == photo.name.lower():
            reason = (
                f"Its sidecar {own} may also be that of {name}: Lightroom names it so. Nothing is written. "
                "Rename one of the two photos, then write again."
            )
            raise WriteRefused(RefusalKind.SIDECAR, reason)


def is_sidecar_name(name: str) -> bool:
    """Whether a file of this name is a sidecar."""
    return name.lower().endswith(".xmp")


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].lower()  # noqa: PTH122 - a Path for each is slow


def _sidecars(folder: OpenFolder, base: str) -> tuple[str, ...]:
    """The files `base`.xmp, each once: where the file system ignores case, all spellings are one file.

    Each spelling is checked by name: listing the folder for every photo takes quadratic time. Only where
    several are found, the listing says which there are: some shares number each spelling as a file.
    """
    sidecars: dict[tuple[int, int], str] = {}
    for name in (base + ending for ending in _ENDINGS):
        try:
            status = folder.status(name)
        except FileNotFoundError:
            continue
        sidecars.setdefault((status.st_dev, status.st_ino), name)
    found = tuple(sidecars.values())
    if len(found) > 1:
        listed = set(_file_names(folder))
        found = tuple(name for name in found if name in listed) or found[:1]
    return found


def _file_names(folder: OpenFolder) -> list[str]:
    return [entry.name for entry in folder.entries() if not entry.is_dir(follow_symlinks=False)]


def _raw_files_named_after(folder: OpenFolder, photo: Path) -> Iterator[str]:
    """The RAW files `photo.jpg.cr3` of the folder; each is checked by name, as sidecars are."""
    for extension in sorted(RAW_EXTENSIONS | DEVELOPED_EXTENSIONS):
        yield from filter(folder.exists, (photo.name + extension, photo.name + extension.upper()))
