"""Folders that the page may start jobs in: what the operator allowed and what lies in it, whatever links and dots say.

A folder is named by its path, or by a key, as a path may hold bytes that neither an address nor JSON carries.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Self

from starlette.exceptions import HTTPException

from tagger.database import Database
from tagger.errors import FolderNotFound
from tagger.mounts import Mount, look_into
from tagger.roots import list_roots
from tagger.scan import Selection, select_paths
from tagger.settings import Settings

MOST_SHOWN = 500
SETTING = "TAGGER_WEB_FOLDERS"


class FolderRefused(HTTPException):
    """A folder is none that the page may work in."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.FORBIDDEN,
            "The page may not work in that folder. Choose one inside those that are allowed, or allow it on the server "
            f"with `{SETTING}`.",
        )


@dataclass(frozen=True)
class Allowed:
    """The outermost folders, resolved. `is_set`: the operator named them; else they are the database's roots."""

    folders: tuple[Path, ...]
    is_set: bool

    def checked(self, folder: str | os.PathLike[str]) -> Path:
        """The folder with every link and `..` resolved. What is not inside is refused alike, whether it is there or not.

        Raises:
            FolderRefused: it is not inside.
            FolderNotFound: it is inside, and not there or no folder.
        """
        place = self.inside(folder)
        if look_into(place) in {Mount.MISSING, Mount.SILENT}:
            raise FolderNotFound(path=place)
        return place

    def inside(self, folder: str | os.PathLike[str]) -> Path:
        """The same of a folder that need not be there.

        Raises:
            FolderRefused: it is not inside.
        """
        try:
            # Nothing is made absolute: the server's own folder is nobody's business.
            if not Path(folder).is_absolute():
                raise FolderRefused
            place = Path(folder).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a name no system takes
            raise FolderRefused from error
        if self._outermost(place) is None:
            raise FolderRefused
        return place

    def selection(self, folders: Iterable[str | os.PathLike[str]]) -> Selection:
        """The folders as a scan takes them.

        Raises:
            FolderRefused, FolderNotFound: as `checked`, of any of them.
        """
        chosen = select_paths([self.checked(folder) for folder in folders])
        # They were resolved once more, and may have become links meanwhile.
        if chosen.files or any(self._outermost(folder) is None for folder in chosen.folders):
            raise FolderRefused
        return chosen

    def crumbs(self, folder: Path) -> tuple[Path, ...]:
        """The folders from the outermost allowed one down to this."""
        top = self._outermost(folder)
        above = [parent for parent in folder.parents if top and parent.is_relative_to(top)]
        return (*reversed(above), folder)

    def _outermost(self, place: Path) -> Path | None:
        return next((folder for folder in self.folders if place.is_relative_to(folder)), None)


def allowed_folders(settings: Settings, database: Database) -> Allowed:
    """What may be worked in now."""
    if settings.web_folders is not None:
        return Allowed(_outermost(settings.web_folders), is_set=True)
    with database.read() as connection:
        roots = list_roots(connection, settings.roots)
    return Allowed(_outermost(root.folder for root in roots), is_set=False)


def folders_in(folder: Path) -> tuple[Sequence[Path], int]:
    """The folders a scan would enter, by name, and how many more there are than are shown; links are none.

    Raises:
        FolderNotFound: it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_entered(entry))
    except OSError as error:
        raise FolderNotFound(path=folder) from error
    return [folder / name for name in islice(names, MOST_SHOWN)], max(0, len(names) - MOST_SHOWN)


@dataclass(frozen=True)
class Named:
    """A folder, and the key that stands for it."""

    path: Path
    key: str

    @classmethod
    def of(cls, folder: Path) -> Self:
        return cls(folder, key_of(folder))


@dataclass(frozen=True)
class Listing:
    """The folders in one (null: the outermost that are allowed), and how many more there are."""

    folder: Named | None
    folders: Sequence[Named]
    more: int


def listing(allowed: Allowed, folder: str | None) -> Listing:
    """What lies in a folder.

    Raises:
        FolderRefused, FolderNotFound: as `Allowed.checked`.
    """
    if not folder:
        return Listing(None, [Named.of(each) for each in allowed.folders], 0)
    here = allowed.checked(folder)
    inside, more = folders_in(here)
    return Listing(Named.of(here), [Named.of(each) for each in inside], more)


def key_of(folder: Path) -> str:
    """The folder as an address or a form carries it."""
    return urlsafe_b64encode(os.fsencode(folder)).decode().rstrip("=")


def folder_of(key: str) -> str:
    """The path of which `key_of` made this; it is still to be checked.

    Raises:
        FolderRefused: it is no key.
    """
    try:
        return os.fsdecode(urlsafe_b64decode(key + "=" * (-len(key) % 4)))
    except ValueError as error:
        raise FolderRefused from error


def _outermost(folders: Iterable[Path]) -> tuple[Path, ...]:
    resolved = {folder.resolve() for folder in folders if folder.is_absolute()}
    return tuple(sorted(each for each in resolved if not any(above in resolved for above in each.parents)))


def _is_entered(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
