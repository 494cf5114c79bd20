"""What names of files and folders tell: photos, RAW files of one photo, folders of other programs.

A RAW file and the JPEG or HEIC of the same name in its folder are one photo: cameras write both of one shot,
and programs develop one from the other. The case of the extension does not matter: `IMG_1.CR3` and
`IMG_1.jpg` are one photo, `IMG_1-edited.jpg` is another one. Only RAW files have partners: two JPEGs, a JPEG
and a HEIC, or two RAW files without either are separate photos.

Folders of other programs' copies, and their libraries, in which nothing is written, are a table of names. A
folder belongs to the program whose row it matches. Some names, like `thumbs`, mean something only beside or
around certain others: a row can name such clues. Knows no patterns that users give (see folders), and not how
a clue is looked up.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tagger.photos.formats import HEIC, PHOTO_FORMATS, RAW
from tagger.photos.paths import folded_name, printable_path

# How many extensions are counted: any text may follow the last dot of a name.
MOST_EXTENSIONS = 1000
LONGEST_EXTENSION = 10
NAMED_EXTENSIONS = 8


_PHOTO_EXTENSIONS = frozenset(
    extension for each in PHOTO_FORMATS for extension in each.extensions
)
# The extras that have to be installed to read files with these extensions.
_EXTRAS = {
    extension: each.extra
    for each in PHOTO_FORMATS
    if each.extra
    for extension in each.extensions_of_extra
}
# Extensions of cameras' RAW files that are read.
RAW_EXTENSIONS = frozenset(RAW.extensions + RAW.extensions_of_extra)
# Extensions of RAW files that are not read, but have sidecars of other programs.
_OTHER_RAW_EXTENSIONS = frozenset(
    (
        *(
            ".ari",
            ".bay",
            ".braw",
            ".cap",
            ".cs1",
            ".dcr",
            ".dcs",
            ".drf",
            ".eip",
            ".erf",
            ".gpr",
            ".k25",
        ),
        *(
            ".kc2",
            ".kdc",
            ".mdc",
            ".mef",
            ".mos",
            ".ptx",
            ".pxn",
            ".r3d",
            ".raw",
            ".rwz",
            ".srf",
            ".sti",
        ),
    )
)
# Those of images that are not read.
_OTHER_EXTENSIONS = _OTHER_RAW_EXTENSIONS | {".jp2", ".jxl", ".jxr"}
# The extension of sidecars, in lower case.
SIDECAR_EXTENSION = ".xmp"
JPEG_EXTENSIONS = frozenset((".jpg", ".jpeg", ".jpe"))
_PAIRED = {
    extension[1:]
    for extension in (*JPEG_EXTENSIONS, *HEIC.extensions_of_extra, *RAW.extensions)
}
T = TypeVar("T")


def is_photo_name(name: str) -> bool:
    extension = extension_of(name)
    return extension in _PHOTO_EXTENSIONS or (
        extension in _EXTRAS and _EXTRAS[extension].is_installed
    )


def is_raw_name(name: str) -> bool:
    return extension_of(name) in RAW_EXTENSIONS


def may_have_stem_sidecar(name: str) -> bool:
    """Whether a file may have the sidecar of its stem: `IMG_1.xmp` for `IMG_1.heic`, read or not.

    They do for images and RAW files. Videos, project files, edits (`.aae`, `.dop`), backups (`.jpg_original`)
    and texts have no such sidecar.
    """
    extension = extension_of(name)
    return (
        extension in _PHOTO_EXTENSIONS
        or extension in _EXTRAS
        or extension in _OTHER_EXTENSIONS
    )


def is_any_raw_name(name: str) -> bool:
    return is_raw_name(name) or extension_of(name) in _OTHER_RAW_EXTENSIONS


def words_of_lines(lines: str) -> list[str]:
    """The words of a table, in any case: `|` and line ends stand between them."""
    return lines.strip().casefold().replace("\n", "|").split("|")


def extension_of(path: str) -> str:
    """The extension in lower case, with its dot; empty if there is none."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - a Path for each is slow


def needed_extra(extension: str) -> str | None:
    extra = _EXTRAS.get(extension)
    return None if extra is None or extra.is_installed else extra.name


@dataclass
class LeftOutPaths:
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        self.count += 1
        if len(self.first) < NAMED_PATHS:
            self.first.append(path)


class OtherFiles:
    """The files that a listing leaves out by extension, without sidecars, and the copies of photos."""

    def __init__(self) -> None:
        self.count = 0
        # JSON files with the name of a photo that is not beside them.
        self.lone_json = 0
        # Without rare and long extensions: its sum may be less than `count`.
        self.by_extension: Counter[str] = Counter()
        # By reason.
        self.folders: defaultdict[str, LeftOutPaths] = defaultdict(LeftOutPaths)
        # Links to folders elsewhere, each with its target.
        self.outward_links = LeftOutPaths()
        # All links that are not photos: folders may have been in their place.
        self.links: set[str] = set()
        # The folders on which another file system is mounted.
        self.mounts: set[str] = set()

    def add(self, extension: str) -> None:
        """Count one more file; the extension begins with a dot, or is empty."""
        self.count += 1
        known = self.by_extension
        if extension in known or (
            1 < len(extension) <= LONGEST_EXTENSION and len(known) < MOST_EXTENSIONS
        ):
            known[extension] += 1

    def extensions_text(self) -> str:
        """The extensions, the most frequent first: ` (3 .mp4, .jp2)`; empty if none is counted."""
        known = sorted(self.by_extension.items(), key=lambda item: (-item[1], item[0]))
        frequent = known[:NAMED_EXTENSIONS]
        others = self.count - sum(number for _, number in frequent)
        parts = [
            f"{number} {extension}" if number > 1 else extension
            for extension, number in frequent
        ]
        if len(frequent) == 1 and not others:
            parts = [frequent[0][0]]
        return (
            f" ({', '.join((*parts, *([f'{others} others'] if others else ())))})"
            if parts
            else ""
        )

    def copies_lines(self) -> list[str]:
        lines = [
            f"left out: {_paths_text(paths, 'folder')} with {reason}"
            for reason, paths in sorted(self.folders.items())
        ]
        if self.outward_links.count:
            links = _paths_text(self.outward_links, "link")
            lines.append(
                f"left out: {links}; links are not followed, so tag the folders they lead to"
            )
        if self.lone_json:
            files = (
                "1 JSON file has"
                if self.lone_json == 1
                else f"{self.lone_json} JSON files have"
            )
            it = "it" if self.lone_json == 1 else "them"
            lines.append(
                f"{files} no photo beside {it}: unpack all parts of a Google Takeout into one folder"
            )
        return lines


def _paths_text(paths: LeftOutPaths, noun: str) -> str:
    # `2 folders (a, b)`
    more = (
        [f"{paths.count - len(paths.first)} more"]
        if paths.count > len(paths.first)
        else []
    )
    named = ", ".join((*map(printable_path, paths.first), *more))
    return f"{paths.count} {noun}{'s' if paths.count > 1 else ''} ({named})"


def stem_of(path: str) -> str | None:
    """The path without its extension; None if no file of this extension is in a pair."""
    stem, _, extension = path.rpartition(".")
    # Like os.path.splitext, several times as fast: a name that begins with its only dots has no extension.
    return (
        stem
        if extension.lower() in _PAIRED and stem.rpartition("/")[2].strip(".")
        else None
    )


def primary_files(paths: Collection[str]) -> Mapping[str, str]:
    """The file that stands for each RAW file of one stem: the first JPEG by name, else the first HEIC."""
    raw_files = [path for path in paths if is_raw_name(path)]
    others = [path for path in paths if not is_raw_name(path)]
    if not others:
        return {}
    primary = min(
        others, key=lambda path: (extension_of(path) not in JPEG_EXTENSIONS, path)
    )
    return dict.fromkeys(raw_files, primary)


class StemGroups(Generic[T]):
    """Groups the files of each stem, from photos in the order of their paths.

    Files of one stem are almost neighbours: between `a.cr3` and `a.jpg` come `a.edit.jpg` and the folder
    `a.d`. Only the stems that begin the current path are kept, so memory stays flat.
    """

    def __init__(self, path_of: Callable[[T], str]) -> None:
        self._path_of = path_of
        self._open: list[tuple[str, list[T]]] = []

    def of(self, photos: Iterable[T]) -> Iterator[list[T]]:
        yield from self.add(photos)
        yield from self.rest()

    def add(self, photos: Iterable[T]) -> Iterator[list[T]]:
        """Add photos. Yields the groups that they complete, and each photo that is in no pair."""
        for photo in photos:
            path = self._path_of(photo)
            while self._open and not path.startswith(self._open[-1][0] + "."):
                yield self._open.pop()[1]
            stem = stem_of(path)
            if stem is None:
                yield [photo]
            elif self._open and self._open[-1][0] == stem:
                self._open[-1][1].append(photo)
            else:
                self._open.append((stem, [photo]))

    def rest(self) -> Iterator[list[T]]:
        """Yield the groups that are still open, after the last photo of all or of a folder."""
        while self._open:
            yield self._open.pop()[1]


# Whether there is a file or folder at a path.
HasEntry = Callable[[str], bool]

# Files with which people keep a folder, and the folders in it, out of the programs that show
# photos.
PRIVACY_MARKERS = frozenset((".nomedia", ".noimage", ".nomemories", ".ppignore"))
IMMICH_MARKER, PHOTOPRISM_MARKER = ".immich", ".ppstorage"
NAMED_PATHS = 3


@dataclass(frozen=True)
class ProgramFolder:
    """A folder of another program. `content`: what copies it holds; empty if they are originals.

    `names` and `inside` are patterns of its name and the one around it. `clues` are paths relative to it, one
    of which exists.
    """

    names: str
    program: str
    content: str = ""
    inside: str = ""
    clues: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """What the folder holds, to be read after `with`."""
        return (
            f"{self.content} of {self.program}"
            if self.content
            else f"photos of {self.program}"
        )


_APPLE = r".+\.(photoslibrary|photolibrary|aplibrary|migratedphotolibrary|migratedaplibrary)|iphoto library"
# The trash in all languages: as GNOME's translations (gvfs) call it, and as Google does where that differs.
_TRASH_WORDS = """
trash|bin|papierkorb|corbeille|papelera|cestino|lixeira|lixo|prullenbak|kosz|корзина
papperskorg|papperskorgen|papirkurv|papirkurven|papirkorg|roskakori|koš|kôš|kuka|lomtár
coș de gunoi|coș|paperera|çöp|çöp kutusu|кошик|смітник|сметніца|кошче|κάδος
κάδος απορριμμάτων|κάδος ανακύκλωσης|απορρίμματα|אשפה|סל המחזור|المهملات|سلة المهملات
زباله‌دان|سطل زباله|रद्दी|ट्रैश|कचरापेटी|रद्दी टोकरी|ট্র্যাশ|আবর্জনা|மீள்சேமிப்பு|ట్రాష్
చెత్తకుండి|ಕಸಬುಟ್ಟಿ|ചവറ്റുകുട്ട|કચરાપેટી|ਰੱਦੀ|ถังขยะ|thùng rác|sampah|tempat sampah
tong sampah|basurahan|ゴミ箱|回收站|垃圾桶|回收筒|已删除|휴지통|smeće|otpad|смеће|отпад|smeti|smetnjak
šiukšlės|šiukšlinė|miskaste|atkritne|prügikast|ruslið|asblik|zakarrontzia|papeleira|ნაგავი
ѓубре|koshi|wastebasket|bruscar|scovacere|escobilhièr
"""
_IMMICH = (IMMICH_MARKER, "../encoded-video")
_TABLE = (
    # Libraries, whose originals are photos.
    ProgramFolder(_APPLE, "Apple Photos"),
    ProgramFolder(
        r"(?!(originals|masters)$).*", "Apple Photos", "derivatives", inside=_APPLE
    ),
    ProgramFolder(r"photo booth library", "Photo Booth"),
    ProgramFolder(
        r"(?!pictures$).*", "Photo Booth", "copies", inside=r"photo booth library"
    ),
    ProgramFolder(r".+\.cocatalog", "Capture One"),
    ProgramFolder(
        r"(?!originals$).*", "Capture One", "previews", inside=r".+\.cocatalog"
    ),
    ProgramFolder(r"cache", "Capture One", "previews", inside=r"captureone"),
    ProgramFolder(r".+\.lrlibrary", "Lightroom"),
    ProgramFolder(r".+\.lrdata|.+\.lrcat-data", "Lightroom", "previews"),
    ProgramFolder(r"encoded-video", "Immich", "converted videos"),
    ProgramFolder(
        r"thumbs",
        "Immich",
        "thumbnails",
        clues=(*_IMMICH, "../upload", "../library", "../profile"),
    ),
    ProgramFolder(r"profile", "Immich", "profile pictures", clues=_IMMICH),
    ProgramFolder(r"backups", "Immich", "backups", clues=_IMMICH),
    ProgramFolder(r"upload|library", "Immich", clues=_IMMICH),
    # Caches, thumbnails and previews.
    ProgramFolder(r"cache|sidecar", "PhotoPrism", "copies", inside=r"storage"),
    ProgramFolder(
        r"cache",
        "PhotoPrism",
        "thumbnails",
        clues=("../sidecar", f"../{PHOTOPRISM_MARKER}"),
    ),
    ProgramFolder(
        r"sidecar",
        "PhotoPrism",
        "converted photos",
        clues=("../cache", f"../{PHOTOPRISM_MARKER}"),
    ),
    ProgramFolder(r"\.photoprism", "PhotoPrism", "converted photos"),
    ProgramFolder(r"appdata_.+", "Nextcloud", "previews"),
    ProgramFolder(r"files_versions", "Nextcloud", "older versions"),
    ProgramFolder(r"files_trashbin", "Nextcloud", "deleted files"),
    ProgramFolder(
        r"cache|uploads|thumbnails",
        "Nextcloud",
        "copies",
        clues=("../files_versions", "../files_trashbin"),
    ),
    ProgramFolder(r"@eadir|@img_bkp_cache", "Synology", "thumbnails"),
    ProgramFolder(r"\.@__thumb", "QNAP", "thumbnails"),
    ProgramFolder(r"mipmaps-.+\.d", "darktable", "thumbnails"),
    ProgramFolder(r"thmbnl", "Sony", "thumbnails", inside=r"m4root"),
    ProgramFolder(
        r"thumb|thumb2x|small|small2x|medium|medium2x|placeholder",
        "Lychee",
        "smaller copies",
        inside=r"uploads",
        clues=("../original", "../big"),
    ),
    ProgramFolder(r"media[_-]cache", "Photoview", "smaller copies"),
    ProgramFolder(r"cache|storage", "Photoview", "smaller copies", inside=r"photoview"),
    ProgramFolder(
        r"_data", "Piwigo", "thumbnails", clues=("../galleries", "../upload")
    ),
    ProgramFolder(r"pwg_representative", "Piwigo", "thumbnails"),
    ProgramFolder(r"protected_media", "LibrePhotos", "thumbnails"),
    ProgramFolder(r"plex media server", "Plex", "thumbnails"),
    ProgramFolder(
        r"\.thumbnails|\.thumbs|\.xvpics|\.pics_thumbs", "photo viewers", "thumbnails"
    ),
    # Photos before they were edited: the edited ones are beside them.
    ProgramFolder(r"\.picasaoriginals", "Picasa", "unedited copies"),
    ProgramFolder(r"\[originals\]", "ACDSee", "unedited copies"),
    # Snapshots, older versions and backups.
    ProgramFolder(r"#snapshot|@sharesnap", "Synology", "snapshots"),
    ProgramFolder(r"@synologydrive|@sharebin", "Synology", "older versions"),
    ProgramFolder(r"@recently-snapshot", "QNAP", "snapshots"),
    ProgramFolder(r"[.~]snapshots?", "the file server", "snapshots"),
    ProgramFolder(r"\.zfs", "ZFS", "snapshots"),
    ProgramFolder(r"timeshift-btrfs", "Timeshift", "snapshots"),
    ProgramFolder(
        r".+\.(backupdb|sparsebundle|backupbundle)", "Time Machine", "backups"
    ),
    ProgramFolder(r"\.stversions", "Syncthing", "older versions"),
    ProgramFolder(r"\.sync", "Resilio Sync", "older versions"),
    # Deleted files.
    ProgramFolder(
        r"\.trash|\.trash-.*|\.trashes|\.trashed", "the trash", "deleted files"
    ),
    ProgramFolder(r"\$recycle\.bin|recycler", "Windows", "deleted files"),
    ProgramFolder(r"trashbox", "Buffalo", "deleted files"),
    ProgramFolder(r"network trash folder", "macOS", "deleted files"),
    ProgramFolder(r"#recycle", "Synology", "deleted files"),
    ProgramFolder(r"@recycle", "QNAP", "deleted files"),
    ProgramFolder(
        r"\.recycle(\.bin)?|\.recyclebin", "the file server", "deleted files"
    ),
    ProgramFolder(r"\.dropbox\.cache", "Dropbox", "deleted files"),
    ProgramFolder(r"\.dtrash", "digiKam", "deleted photos"),
    ProgramFolder(r"recently deleted", "iCloud", "deleted photos"),
    ProgramFolder(
        "|".join(words_of_lines(_TRASH_WORDS)),
        "Google Photos",
        "deleted photos",
        inside=r"google .+|.+ google",
    ),
    # Files of systems.
    ProgramFolder(r"lost\+found|found\.\d{3}", "a file system check", "fragments"),
    ProgramFolder(r"system volume information", "Windows", "system files"),
    ProgramFolder(r"__macosx|\.appledouble", "macOS", "metadata"),
    ProgramFolder(r"temporary items|\.temporaryitems", "macOS", "unfinished transfers"),
    ProgramFolder(
        r"\.tmp\.drive(download|upload)", "Google Drive", "unfinished transfers"
    ),
)
_ROWS = tuple((re.compile(row.names), re.compile(row.inside), row) for row in _TABLE)
_NAMES = re.compile("|".join(row.names for row in _TABLE if not row.inside))
_OUTER_NAMES = re.compile("|".join(row.inside for row in _TABLE if row.inside))
_MARKED = {
    **{marker: marker for marker in PRIVACY_MARKERS},
    IMMICH_MARKER: "copies of Immich",
}
# Files that may keep their folders out.
MARKERS = frozenset(_MARKED)


def find_program_folder(path: str, has_entry: HasEntry) -> ProgramFolder | None:
    around, _, last = path.rpartition("/")
    outer, name = (folded_name(each) for each in (around.rpartition("/")[2], last))
    if not (_NAMES.fullmatch(name) or _OUTER_NAMES.fullmatch(outer)):
        return None
    for names, inside, row in _ROWS:
        is_named = names.fullmatch(name) and (not row.inside or inside.fullmatch(outer))
        clues = (
            f"{around}/{clue[3:]}" if clue.startswith("../") else f"{path}/{clue}"
            for clue in row.clues
        )
        if is_named and (not row.clues or any(map(has_entry, clues))):
            return row
    return None


def owning_folder(path: str, has_entry: HasEntry) -> tuple[str, ProgramFolder] | None:
    """The outermost folder on a file's path that belongs to another program, which alone writes there."""
    ends = [at for at, letter in enumerate(path) if letter == "/" and at]
    for folder in (path[:end] for end in ends):
        if (owner := find_program_folder(folder, has_entry)) is not None:
            return folder, owner
    return None


def is_marker(name: str) -> bool:
    return name.startswith(".") and name.lower() in _MARKED


def marked_reason(folder: str, marker: str) -> str | None:
    """Why a folder with this marker is left out. Immich's is also in the folders of its originals."""
    if marker.lower() == IMMICH_MARKER and folder.rpartition("/")[2].casefold() in {
        "upload",
        "library",
    }:
        return None
    return _MARKED[marker.lower()]
