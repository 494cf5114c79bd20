"""Folders of other programs' copies, and their libraries, in which nothing is written: a table of names.

A folder belongs to the program whose row it matches. Some names, like `thumbs`, mean something only beside or
around certain others: a row can name such clues. Knows no patterns that users give (see folder_walk), and not
how a clue is looked up.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

# Whether there is a file or folder at a path.
HasEntry = Callable[[str], bool]

# Files with which people keep a folder, and the folders in it, out of the programs that show
# photos.
PRIVACY_MARKERS = frozenset((".nomedia", ".noimage", ".nomemories", ".ppignore"))
IMMICH_MARKER, PHOTOPRISM_MARKER = ".immich", ".ppstorage"
NAMED_PATHS = 3


@dataclass(frozen=True)
class ProgramFolder:
    """A folder of another program. `content`: what copies it holds; empty if they are originals."""

    program: str
    content: str = ""

    @property
    def reason(self) -> str:
        """What the folder holds, to be read after `with`."""
        return f"{self.content} of {self.program}" if self.content else f"photos of {self.program}"


@dataclass(frozen=True)
class _Row:
    """Patterns of the folder's name and the one around it; paths relative to it, one of which exists."""

    names: str
    folder: ProgramFolder
    inside: str = ""
    clues: tuple[str, ...] = ()


def _row(
    names: str, program: str, content: str = "", *, inside: str = "", clues: tuple[str, ...] = ()
) -> _Row:
    return _Row(names, ProgramFolder(program, content), inside, clues)


_APPLE = r".+\.(photoslibrary|photolibrary|aplibrary|migratedphotolibrary|migratedaplibrary)|iphoto library"
_IMMICH = (IMMICH_MARKER, "../encoded-video")
_TABLE = (
    # Libraries, whose originals are photos.
    _row(_APPLE, "Apple Photos"),
    _row(r"(?!(originals|masters)$).*", "Apple Photos", "derivatives", inside=_APPLE),
    _row(r"photo booth library", "Photo Booth"),
    _row(r"(?!pictures$).*", "Photo Booth", "copies", inside=r"photo booth library"),
    _row(r".+\.cocatalog", "Capture One"),
    _row(r"(?!originals$).*", "Capture One", "previews", inside=r".+\.cocatalog"),
    _row(r"cache", "Capture One", "previews", inside=r"captureone"),
    _row(r".+\.lrlibrary", "Lightroom"),
    _row(r".+\.lrdata|.+\.lrcat-data", "Lightroom", "previews"),
    _row(r"encoded-video", "Immich", "converted videos"),
    _row(r"thumbs", "Immich", "thumbnails", clues=(*_IMMICH, "../upload", "../library", "../profile")),
    _row(r"profile", "Immich", "profile pictures", clues=_IMMICH),
    _row(r"backups", "Immich", "backups", clues=_IMMICH),
    _row(r"upload|library", "Immich", clues=_IMMICH),
    # Caches, thumbnails and previews.
    _row(r"cache|sidecar", "PhotoPrism", "copies", inside=r"storage"),
    _row(r"cache", "PhotoPrism", "thumbnails", clues=("../sidecar", f"../{PHOTOPRISM_MARKER}")),
    _row(r"sidecar", "PhotoPrism", "converted photos", clues=("../cache", f"../{PHOTOPRISM_MARKER}")),
    _row(r"\.photoprism", "PhotoPrism", "converted photos"),
    _row(r"appdata_.+", "Nextcloud", "previews"),
    _row(r"files_versions", "Nextcloud", "older versions"),
    _row(r"files_trashbin", "Nextcloud", "deleted files"),
    _row(
        r"cache|uploads|thumbnails", "Nextcloud", "copies", clues=("../files_versions", "../files_trashbin")
    ),
    _row(r"@eadir|@img_bkp_cache", "Synology", "thumbnails"),
    _row(r"\.@__thumb", "QNAP", "thumbnails"),
    _row(r"mipmaps-.+\.d", "darktable", "thumbnails"),
    _row(r"thmbnl", "Sony", "thumbnails", inside=r"m4root"),
    _row(
        r"thumb|thumb2x|small|small2x|medium|medium2x|placeholder",
        "Lychee",
        "smaller copies",
        inside=r"uploads",
        clues=("../original", "../big"),
    ),
    _row(r"media[_-]cache", "Photoview", "smaller copies"),
    _row(r"cache|storage", "Photoview", "smaller copies", inside=r"photoview"),
    _row(r"_data", "Piwigo", "thumbnails", clues=("../galleries", "../upload")),
    _row(r"pwg_representative", "Piwigo", "thumbnails"),
    _row(r"protected_media", "LibrePhotos", "thumbnails"),
    _row(r"plex media server", "Plex", "thumbnails"),
    _row(r"\.thumbnails|\.thumbs|\.xvpics|\.pics_thumbs", "photo viewers", "thumbnails"),
    # Photos before they were edited: the edited ones are beside them.
    _row(r"\.picasaoriginals", "Picasa", "unedited copies"),
    _row(r"\[originals\]", "ACDSee", "unedited copies"),
    # Snapshots, older versions and backups.
    _row(r"#snapshot|@sharesnap", "Synology", "snapshots"),
    _row(r"@synologydrive|@sharebin", "Synology", "older versions"),
    _row(r"@recently-snapshot", "QNAP", "snapshots"),
    _row(r"[.~]snapshots?", "the file server", "snapshots"),
    _row(r"\.zfs", "ZFS", "snapshots"),
    _row(r"timeshift-btrfs", "Timeshift", "snapshots"),
    _row(r".+\.(backupdb|sparsebundle|backupbundle)", "Time Machine", "backups"),
    _row(r"\.stversions", "Syncthing", "older versions"),
    _row(r"\.sync", "Resilio Sync", "older versions"),
    # Deleted files.
    _row(r"\.trash|\.trash-.*|\.trashes|\.trashed", "the trash", "deleted files"),
    _row(r"\$recycle\.bin|recycler", "Windows", "deleted files"),
    _row(r"trashbox", "Buffalo", "deleted files"),
    _row(r"network trash folder", "macOS", "deleted files"),
    _row(r"#recycle", "Synology", "deleted files"),
    _row(r"@recycle", "QNAP", "deleted files"),
    _row(r"\.recycle(\.bin)?|\.recyclebin", "the file server", "deleted files"),
    _row(r"\.dropbox\.cache", "Dropbox", "deleted files"),
    _row(r"\.dtrash", "digiKam", "deleted photos"),
    _row(r"recently deleted", "iCloud", "deleted photos"),
    _row(
        r"trash|bin|papierkorb|corbeille|papelera|cestino|lixeira|prullenbak",
        "Google Photos",
        "deleted photos",
        inside=r"google (photos|fotos|foto)",
    ),
    # Files of systems.
    _row(r"lost\+found|found\.\d{3}", "a file system check", "fragments"),
    _row(r"system volume information", "Windows", "system files"),
    _row(r"__macosx|\.appledouble", "macOS", "metadata"),
    _row(r"temporary items|\.temporaryitems", "macOS", "unfinished transfers"),
    _row(r"\.tmp\.drive(download|upload)", "Google Drive", "unfinished transfers"),
)
_ROWS = tuple((re.compile(row.names), re.compile(row.inside), row) for row in _TABLE)
_NAMES = re.compile("|".join(row.names for row in _TABLE if not row.inside))
_OUTER_NAMES = re.compile("|".join(row.inside for row in _TABLE if row.inside))
_MARKED = {
    **{marker: marker for marker in PRIVACY_MARKERS},
    IMMICH_MARKER: ProgramFolder("Immich", "copies").reason,
}
# Files that may keep their folders out.
MARKERS = frozenset(_MARKED)


def find_program_folder(path: str, has_entry: HasEntry) -> ProgramFolder | None:
    """The program to which a folder belongs by its name; None if it is one of the user's."""
    outer, _, name = path.rpartition("/")
    outer, name = outer.rpartition("/")[2].casefold(), name.casefold()
    if not (_NAMES.fullmatch(name) or _OUTER_NAMES.fullmatch(outer)):
        return None
    for names, inside, row in _ROWS:
        is_named = names.fullmatch(name) and (not row.inside or inside.fullmatch(outer))
        if is_named and (not row.clues or any(has_entry(_joined(path, clue)) for clue in row.clues)):
            return row.folder
    return None


def owning_folder(path: str, has_entry: HasEntry) -> tuple[str, ProgramFolder] | None:
    """The outermost folder on a file's path that belongs to another program, which alone writes there."""
    ends = [at for at, letter in enumerate(path) if letter == "/" and at]
    for folder in (path[:end] for end in ends):
        if (owner := find_program_folder(folder, has_entry)) is not None:
            return folder, owner
    return None


def is_marker(name: str) -> bool:
    """Whether a file of this name may keep its folder out."""
    return name.startswith(".") and name.lower() in _MARKED


def marked_reason(folder: str, marker: str) -> str | None:
    """Why a folder with this marker is left out. Immich's is also in the folders of its originals."""
    if marker.lower() == IMMICH_MARKER and folder.rpartition("/")[2].casefold() in {"upload", "library"}:
        return None
    return _MARKED[marker.lower()]


def _joined(path: str, clue: str) -> str:
    return f"{path.rpartition('/')[0]}/{clue[3:]}" if clue.startswith("../") else f"{path}/{clue}"


@dataclass
class LeftOutPaths:
    """Folders that were left out for one reason."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        self.count += 1
        if len(self.first) < NAMED_PATHS:
            self.first.append(path)
