"""Making a folder of photos as a whole: built beside its place, put there when all is in it, never half there.

Originals are copied or linked; nothing here moves, changes or removes one.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tagger.photos import path_text
from trainer.errors import FolderNotEmpty, InsidePhotos, LinkRefused, NoRoom, OutputUnwritable, writing_to
from trainer.progress import photo_progress

_MARK = ".being-made-by-trainer"
"""A folder with such a file in it is one that an interrupted command left behind, and nobody's photos."""
_MARGIN = 1.02


@dataclass(frozen=True)
class Placement:
    """A photo and the folder it goes to, relative to the new one. `digest` tells it from others of its name."""

    source: Path
    folder: Path
    digest: str


def check_out(out: Path, photos: Path | None = None) -> None:
    """Refuse a place that is not free, or lies in a folder of photos.

    Raises:
        InsidePhotos, FolderNotEmpty, OutputUnwritable: with another choice.
    """
    if photos is not None:
        check_outside(out, photos)
    if os.path.lexists(out) and not out.is_dir():
        raise OutputUnwritable(path=out, reason="it is a file")
    if out.is_dir() and any(out.iterdir()):
        raise FolderNotEmpty(path=out)


def check_outside(out: Path, photos: Path) -> None:
    """Refuse a place in a folder of photos.

    Raises:
        InsidePhotos: with another choice.
    """
    if out.resolve().is_relative_to(photos.resolve()):
        raise InsidePhotos(path=out, folder=photos)


def check_room(out: Path, needed_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        NoRoom: with how much is missing.
    """
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes * _MARGIN:
        raise NoRoom(path=out, needed=_size_text(needed_bytes), free=_size_text(free))


@contextmanager
def placed(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` at the end of the block, and is removed if that is not reached.

    What a killed command left behind is removed by the next one for the same `out`.
    """
    out = out.absolute()
    making = out.with_name(f".{out.name}.partial")
    with writing_to(out):
        making.parent.mkdir(parents=True, exist_ok=True)
        _clear(making)
        making.mkdir()
        (making / _MARK).touch()
    try:
        yield making
        with writing_to(out):
            (making / _MARK).unlink()
            if out.is_dir():
                out.rmdir()
            making.rename(out)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def place_photos(placements: Iterable[Placement], root: Path, *, link: bool = False) -> None:
    """Copy photos, or make hard links, into folders below `root`; those of one name get their digests into it.

    Raises:
        LinkRefused, OutputUnwritable: a photo cannot be copied or linked.
    """
    named = _named(placements)
    with photo_progress("linking photos" if link else "copying photos", len(named)) as advance:
        for source, target in named:
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            if link:
                _link(source, root / target)
            else:
                with writing_to(root / target.parent):
                    shutil.copy2(source, root / target)
            advance(1)


def _named(placements: Iterable[Placement]) -> list[tuple[Path, Path]]:
    """Each source and its target. Who keeps a name that several have is decided by content, not by order."""
    taken: set[str] = set()
    named = []
    ordered = sorted(placements, key=lambda each: (each.folder, each.source.name, each.digest, each.source))
    for each in ordered:
        target = _free(each, taken)
        # Some disks hold A.jpg and a.jpg for the same name.
        taken.add(path_text(target)[0].casefold())
        named.append((each.source, target))
    return named


def _free(placement: Placement, taken: set[str]) -> Path:
    target, number = placement.folder / placement.source.name, 1
    while path_text(target)[0].casefold() in taken:
        digest = placement.digest.rpartition("-")[2][:8]
        more = f"-{number}" if number > 1 else ""
        target = target.with_name(f"{placement.source.stem}-{digest}{more}{placement.source.suffix}")
        number += 1
    return target


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except OSError as error:
        reason = (
            "it is on another disk" if error.errno == errno.EXDEV else (error.strerror or str(error)).lower()
        )
        raise LinkRefused(photo=source, path=target.parent, reason=reason) from error


def _clear(making: Path) -> None:
    if not os.path.lexists(making):
        return
    if not (making / _MARK).is_file():
        raise OutputUnwritable(path=making.parent, reason=f"there is something called {making.name} in it")
    shutil.rmtree(making)


def _size_text(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.1f} MB"
