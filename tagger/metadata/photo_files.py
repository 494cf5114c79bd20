"""The files that lie beside a photo: its sidecars by every naming, and those on record.

digiKam, darktable, Immich and this program name them `photo.jpg.xmp`; Adobe's programs name them `photo.xmp`.
Whose the latter is, says `owner_of_stem_sidecar`, as for reading. What this program wrote is looked for where
it was written: what stands beside a photo today decides only about what is not on record.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tagger.database.enums import Target
from tagger.errors import BucketUnavailable, PhotoFailed
from tagger.metadata import xmp
from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused, translated_os_errors
from tagger.metadata.photo_fields import xmp_packet
from tagger.metadata.temporary_files import remove_leftovers
from tagger.photos.buckets import sidecars_of
from tagger.photos.files import OpenFolder, open_folder
from tagger.photos.folders import read_sidecar_in
from tagger.photos.names import (
    RAW_EXTENSIONS,
    extension_of,
    find_program_folder,
    is_photo_name,
    is_raw_name,
    may_have_stem_sidecar,
    stem_of,
)
from tagger.photos.paths import ObjectPath, folded_name, path_text
from tagger.photos.side_files import (
    SIDECAR_MAX_BYTES,
    ReadSidecar,
    owner_of_stem_sidecar,
    stated_extension,
)
from tagger.photos.source import has_entry, read_named

_ENDINGS = (".xmp", ".XMP", ".Xmp")
# In a JPEG, our XMP comes before the image, whose bytes are not read.
_JPEG_HEAD_BYTES = 2**20


@dataclass(frozen=True)
class WrittenFile:
    """A file on record: where it was written, the digests of its content and of its original (None: none).

    `is_complete`: it is known that it was written. `is_own`: it is one of this photo, and not of a photo with
    the same image that is gone, which may be this photo under its former name. `has_moved`: its photo is
    gone, and its image is elsewhere.
    """

    path: Path
    target: Target
    written_digest: str
    base_digest: str | None
    is_complete: bool = True
    is_own: bool = True
    has_moved: bool = False


@dataclass(frozen=True)
class PhotoFiles:
    """The sidecars of a photo: those beside it, the one to write first, and those on record elsewhere.

    `hidden`: those read as long as it has none of its own. `absent`: those on record that are not there, and
    whether it is known that they were written. `left`: what was written for the photo under a former name,
    with its digest.
    """

    beside: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    recorded: tuple[Path, ...] = ()
    absent: Mapping[Path, bool] = field(default_factory=dict)
    left: Mapping[Path, str] = field(default_factory=dict)


def find_photo_files(
    photo: Path, root: Path | None = None, written: Sequence[WrittenFile] = ()
) -> PhotoFiles:
    """Find the sidecars of a photo. No link to a folder is followed below `root`.

    `written`: the photo's files on record.

    Raises:
        WriteRefused: the folder is a link or may not be read.
        WriteFailed: the disk or share failed.
    """
    beside, hidden = _find_beside(photo, root)
    recorded: list[Path] = []
    absent: dict[Path, bool] = {}
    left: dict[Path, str] = {}
    for file in written:
        if file.target is not Target.SIDECAR:
            continue
        path = _find_written(file.path, root)
        if not file.is_own:
            left[path] = file.written_digest
        elif not has_entry(str(path)):
            absent[path] = absent.get(path, True) and file.is_complete
        elif not is_among(path, (*beside, *recorded)):
            recorded.append(path)
    return PhotoFiles(beside, hidden, tuple(recorded), absent, left)


def _find_beside(photo: Path, root: Path | None) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    if isinstance(photo, ObjectPath):
        return _sidecars_in_bucket(photo), ()
    with translated_os_errors(photo):
        try:
            folder = open_folder(photo.parent, root)
        except FileNotFoundError:
            return (), ()
        with folder:
            own = _sidecars(folder, photo.name)
            of_stem = _sidecars(folder, photo.stem) if photo.suffix else ()
            names = _file_names(folder) if of_stem else ()
            owned, hidden = _sort_stem_sidecars(
                photo.name, of_stem, names, read_sidecar_in(photo.parent, root)
            )
    return tuple(map(photo.with_name, (*own, *owned))), tuple(map(photo.with_name, hidden))


def _sort_stem_sidecars(
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


def _find_written(path: Path, root: Path | None = None) -> Path:
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


def _sidecars_in_bucket(photo: ObjectPath) -> tuple[Path, ...]:
    try:
        return sidecars_of(photo)
    except BucketUnavailable as error:
        text = f"Its sidecars cannot be found: {error.values['reason']}."
        raise WriteFailed("unreadable", text) from error


def is_among(path: Path, others: Collection[Path]) -> bool:
    """Whether a path leads to one of these files, also by another spelling of its name."""
    if path in others:
        return True
    folded = folded_name(path.name)
    return any(
        folded_name(other.name) == folded and _is_same_file(path, other)
        for other in others
        if not isinstance(other, ObjectPath) and other.parent == path.parent
    )


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def new_sidecar(photo: Path) -> Path:
    """The sidecar that is created for a photo."""
    return photo.with_name(f"{photo.name}.xmp")


def refuse_shared(photo: Path, root: Path | None, sidecars: Iterable[Path]) -> None:
    """Refuse to add values to `photo.jpg.xmp` beside a RAW file `photo.jpg.cr3`: Lightroom gives it them.

    Raises:
        WriteRefused: there is such a RAW file.
    """
    own = new_sidecar(photo).name
    if not any(sidecar.name.lower() == own.lower() for sidecar in sidecars):
        return
    with translated_os_errors(photo), suppress(FileNotFoundError), open_folder(photo.parent, root) as folder:
        for name in _raw_files_named_after(folder, photo):
            reason = (
                f"Its sidecar {own} may also be that of {name}: Lightroom names it so. Nothing is written. "
                "Rename one of the two photos, then write again."
            )
            raise WriteRefused(RefusalKind.SIDECAR, reason)


def is_sidecar_name(name: str) -> bool:
    """Whether a file of this name is a sidecar."""
    return name.lower().endswith(".xmp")


def files_with_our_values(paths: Iterable[Path], max_bytes: int) -> Iterator[Path]:
    """Yield the photos and sidecars at or below `paths` that hold values of ours, by what they say.

    Folders of other programs below them are left out: libraries, snapshots, trash. So are buckets. What
    writers that died left in the folders is removed.
    """
    for path in paths:
        if isinstance(path, ObjectPath):
            continue
        if path.is_file() and _holds_our_values(path, max_bytes):
            yield path
        top = path.resolve()
        for parent, folders, names in os.walk(top):
            folders[:] = sorted(
                name for name in folders if not find_program_folder(f"{parent}/{name}", os.path.lexists)
            )
            with suppress(WriteRefused, WriteFailed):
                remove_leftovers(Path(parent), top)
            for name in sorted(names):
                file = Path(parent, name)
                if not file.is_symlink() and file.is_file() and _holds_our_values(file, max_bytes):
                    yield file


def _holds_our_values(file: Path, max_bytes: int) -> bool:
    """Whether a photo or sidecar says that it holds values of ours. False for one that cannot be read."""
    try:
        if is_sidecar_name(file.name):
            return xmp.names_our_namespace(read_named(file, max_bytes=SIDECAR_MAX_BYTES).data)
        if extension_of(file.name) in (".jpg", ".jpeg", ".jpe"):
            with file.open("rb") as jpeg:
                return xmp.names_our_namespace(jpeg.read(_JPEG_HEAD_BYTES))
        if not is_photo_name(file.name):
            return False
        return xmp.has_our_fields(xmp_packet(read_named(file, max_bytes=max_bytes).data))
    except (OSError, PhotoFailed, WriteRefused):
        return False


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
    for extension in sorted(RAW_EXTENSIONS):
        yield from filter(folder.exists, (photo.name + extension, photo.name + extension.upper()))
