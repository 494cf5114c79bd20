"""Sources of photos: what the scan lists and the pipeline reads. A folder is the only kind so far."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tagger.photos.files import PhotoBytes, PhotoVersion, file_version, read_photo
from tagger.photos.folder_walk import FolderProblem, FoundPhoto, find_photos
from tagger.photos.mounts import MountState, check_mount


class PhotoSource(Protocol):
    """A store of photos, each identified by its path within the source (text with slashes)."""

    @property
    def location(self) -> str:
        """The address with which `open_source` opens the source, in this process or another."""
        ...

    def mount_state(self) -> MountState:
        """Check whether the source responds, and whether it has any content."""
        ...

    def photos(
        self, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Iterator[FoundPhoto | FolderProblem]:
        """List the photos in ascending order of their paths; the patterns are those of `find_photos`."""
        ...

    def read(self, path: str, *, max_bytes: int, settle_s: float = 0.0) -> PhotoBytes:
        """Read one whole photo, unless it changed less than `settle_s` ago.

        Raises:
            PhotoFailed: it is gone, unreadable, empty, too large, or still being written (`settling`).
        """
        ...

    def version(self, path: str) -> PhotoVersion | None:
        """Identify the photo's current content without reading it; None if it cannot be accessed."""
        ...

    def exists(self, path: str) -> bool:
        """Return whether the photo exists; also true if an error leaves that open."""
        ...


@dataclass(frozen=True)
class FolderSource:
    """The photos in a folder of a file system."""

    folder: Path

    @property
    def location(self) -> str:
        return str(self.folder)

    def mount_state(self) -> MountState:
        return check_mount(self.folder)

    def photos(
        self, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Iterator[FoundPhoto | FolderProblem]:
        return find_photos(self.folder, include=include, exclude=exclude)

    def read(self, path: str, *, max_bytes: int, settle_s: float = 0.0) -> PhotoBytes:
        return read_photo(self.folder / path, max_bytes=max_bytes, settle_s=settle_s, root=self.folder)

    def version(self, path: str) -> PhotoVersion | None:
        return file_version(self.folder / path)

    def exists(self, path: str) -> bool:
        try:
            os.lstat(self.folder / path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True


def open_source(location: str) -> PhotoSource:
    """Open the source at a `PhotoSource.location`: the only place that knows the kinds of sources."""
    return FolderSource(Path(location))
