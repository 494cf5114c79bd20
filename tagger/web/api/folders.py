"""Folders and prefixes of buckets in which the page may start jobs. Links are resolved before a check.

A folder is named by its path, or by a key: a path may hold bytes that neither an address nor JSON can carry.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self

from starlette.exceptions import HTTPException

from tagger.database.connection import Database
from tagger.errors import ObjectAddressInvalid, PathNotFound
from tagger.jobs.enqueue.scan import Selection, select_paths
from tagger.photos.paths import parse_path
from tagger.photos.source import open_source
from tagger.roots.roots import list_roots
from tagger.settings import Settings
from tagger.texts.text_format import gettext

MAX_FOLDERS = 500


class FolderRefused(HTTPException):
    """The folder is not one in which the page may start jobs."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.FORBIDDEN,
            gettext(
                "The page has no access to that folder. Choose a folder inside the allowed ones, or allow it "
                "on the server with `TAGGER_WEB_FOLDERS`."
            ),
        )


@dataclass(frozen=True)
class AllowedFolders:
    """The outermost folders, resolved: those of the setting (`is_set`), else the database's roots."""

    folders: tuple[Path, ...]
    is_set: bool

    def check(self, folder: str | os.PathLike[str]) -> Path:
        """Return the folder, resolved. Whether a folder outside exists is not revealed.

        Raises:
            FolderRefused: the folder is outside the allowed ones.
            PathNotFound: it is inside, but does not exist or is not a folder.
        """
        path = self.check_inside(folder)
        if not open_source(str(path)).may_have_photos():
            raise PathNotFound(path=path)
        return path

    def check_inside(self, folder: str | os.PathLike[str]) -> Path:
        """Return the folder, resolved; it need not exist.

        Raises:
            FolderRefused: the folder is outside the allowed ones.
        """
        try:
            path = parse_path(folder if isinstance(folder, Path) else os.fspath(folder))
            # A relative path would depend on the server's working directory.
            if not path.is_absolute():
                raise FolderRefused
            path = path.resolve()
        except (
            ObjectAddressInvalid,
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # a loop of links, an invalid name
            raise FolderRefused from error
        if self._outermost(path) is None:
            raise FolderRefused
        return path

    def selection(self, folders: Iterable[str | os.PathLike[str]]) -> Selection:
        """Return the folders as a scan takes them.

        Raises:
            FolderRefused, PathNotFound: as in `check`, for any of them.
        """
        selection = select_paths([self.check(folder) for folder in folders])
        # `select_paths` resolves again, and a folder may have been replaced by a link in between.
        if any(self._outermost(path) is None for path in (*selection.folders, *selection.files)):
            raise FolderRefused
        return selection

    def breadcrumbs(self, folder: Path) -> tuple[Path, ...]:
        """Return the folders from the outermost allowed one down to this one."""
        top = self._outermost(folder)
        parents = [parent for parent in folder.parents if top and parent.is_relative_to(top)]
        return (*reversed(parents), folder)

    def _outermost(self, path: Path) -> Path | None:
        return next((folder for folder in self.folders if path.is_relative_to(folder)), None)


def allowed_folders(settings: Settings, database: Database) -> AllowedFolders:
    """Return the folders in which the page may start jobs now."""
    folders: Sequence[Path] | None = settings.web_folders
    if folders is None:
        with database.read() as connection:
            folders = [root.folder for root in list_roots(connection, settings.roots)]
    parsed = map(parse_path, folders)
    resolved = {path.resolve() for path in parsed if path.is_absolute()}
    outermost = (path for path in resolved if not any(parent in resolved for parent in path.parents))
    return AllowedFolders(tuple(sorted(outermost)), settings.web_folders is not None)


def list_subfolders(folder: Path) -> tuple[Sequence[Path], int]:
    """Return the first `MAX_FOLDERS` folders that a scan would enter, by name, and how many more there are.

    Raises:
        PathNotFound: the folder cannot be listed.
    """
    names = open_source(str(folder)).subfolders()
    return [folder / name for name in names[:MAX_FOLDERS]], max(0, len(names) - MAX_FOLDERS)


@dataclass(frozen=True)
class FolderEntry:
    """A folder and its key."""

    path: Path
    key: str

    @classmethod
    def of(cls, folder: Path) -> Self:
        return cls(folder, folder_key(folder))

    @property
    def noun(self) -> str:
        """What people call it: a folder or a bucket."""
        return open_source(str(self.path)).noun


def folder_key(folder: Path) -> str:
    """Encode a folder's path for addresses and forms."""
    return urlsafe_b64encode(os.fsencode(str(folder))).decode().rstrip("=")


def path_of_key(key: str) -> str:
    """Decode a key of `folder_key`. The path is not yet checked.

    Raises:
        FolderRefused: the key is invalid.
    """
    try:
        return os.fsdecode(urlsafe_b64decode(key + "=" * (-len(key) % 4)))
    except ValueError as error:
        raise FolderRefused from error
