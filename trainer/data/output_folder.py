"""Create a folder of photos atomically: build it beside its destination, and rename it once it is complete.

Originals are copied, and never moved, changed or removed.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tagger.errors import PhotoFailed
from tagger.photos.paths import ObjectPath, path_text
from tagger.photos.source import read_named
from trainer.data.folders import MAX_BYTES
from trainer.errors import DataUnusable, OutputUnwritable, writing_to
from trainer.progress import photo_progress


@dataclass(frozen=True)
class PhotoCopy:
    """A photo and its folder in the new one. `digest` distinguishes photos of the same name."""

    source: Path
    folder: Path
    digest: str


def require_free_folder(out: Path, photos: Path | None = None) -> None:
    """Check that `out` is empty or missing, and outside the folder `photos`."""
    if photos is not None:
        require_outside(out, photos)
    if os.path.lexists(out) and not out.is_dir():
        raise OutputUnwritable(path=out, reason="it is a file")
    if out.is_dir() and any(out.iterdir()):
        raise OutputUnwritable(path=out, reason="the folder is not empty")


def require_outside(out: Path, photos: Path) -> None:
    """Check that `out` is outside the folder `photos`."""
    if out.resolve().is_relative_to(photos.resolve()):
        raise OutputUnwritable(
            path=out, reason=f"it is inside the photo folder {photos}, which is never written to"
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `out` at the end of the block; on failure it is removed."""
    out = out.absolute()
    partial = out.with_name(f".{out.name}.{uuid4().hex[:8]}.partial")
    with writing_to(out):
        partial.mkdir(parents=True)
    try:
        yield partial
        with writing_to(out):
            if out.is_dir():
                out.rmdir()
            partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def copy_photos(copies: Iterable[PhotoCopy], root: Path) -> list[tuple[Path, Path]]:
    """Copy photos into folders below `root`. Photos of the same name get their digest in the name.

    Returns:
        each photo, and its copy relative to `root`, in the order of the copies' folders and names
    """
    targets = _targets(copies)
    with photo_progress("copying photos", len(targets)) as advance:
        for source, target in targets:
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            _copy(source, root / target)
            advance(1)
    return targets


def _targets(copies: Iterable[PhotoCopy]) -> list[tuple[Path, Path]]:
    """Each source and its target. Of photos of one name, the content decides which keeps it."""
    names: set[str] = set()
    targets = []
    for copy in sorted(copies, key=lambda copy: (copy.folder, copy.source.name, copy.digest, copy.source)):
        target, number = copy.folder / copy.source.name, 1
        while path_text(target)[0].casefold() in names:
            digest = copy.digest.rpartition("-")[2][:8]
            suffix = f"-{number}" if number > 1 else ""
            target = target.with_name(f"{copy.source.stem}-{digest}{suffix}{copy.source.suffix}")
            number += 1
        # Some file systems treat A.jpg and a.jpg as the same name.
        names.add(path_text(target)[0].casefold())
        targets.append((copy.source, target))
    return targets


def _copy(source: Path, target: Path) -> None:
    if not isinstance(source, ObjectPath):
        with writing_to(target.parent):
            shutil.copy2(source, target)
        return
    try:
        data = read_named(source, max_bytes=MAX_BYTES).data
    except PhotoFailed as error:
        reason = str(error).rstrip(".")
        remedy = "Nothing was written; run this again"
        raise DataUnusable(path=source, reason=reason, remedy=remedy) from None
    with writing_to(target.parent):
        target.write_bytes(data)
