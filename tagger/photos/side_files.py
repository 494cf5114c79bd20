"""Side files: XMP sidecars, and files of Google Takeout, ente and iCloud, and to which photos they belong.

Names decide, and where several photos share a stem, what its sidecar says.

Sidecars are `photo.jpg.xmp` and `photo.xmp`; whose the latter is, for reading and for writing, says
`owner_of_stem_sidecar`.

Takeout names the JSON file of `IMG_1.jpg` `IMG_1.jpg.json` or `IMG_1.jpg.supplemental-metadata.json`, cut to
51 characters with `.json`. A number moves behind the extension: `IMG_1.jpg(1).json` is that of
`IMG_1(1).jpg`. An edited copy, `IMG_1-edited.jpg` in the language of the account, has the file of its
original, and so has a JPEG that was made from a HEIC. Names of photos are cut, too: to `…-edi.jpg`.

ente writes the same files as `metadata/IMG_1.jpg.json`. iCloud has one `Photo Details.csv`, or several, for
all photos in its folder.

Parts of a Takeout lie side by side, as `Takeout` and `Takeout 2` do: the JSON file of a photo may be in the
same folder of another part, so its name may be `../../../Takeout 2/Google Photos/Rome/IMG_1.jpg.json`.
"""

import json
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from tagger.photos.formats import HEIC
from tagger.photos.names import (
    JPEG_EXTENSIONS,
    SIDECAR_EXTENSION,
    extension_of,
    is_any_raw_name,
    is_photo_name,
    is_raw_name,
    may_have_stem_sidecar,
    stem_of,
    words_of_lines,
)
from tagger.photos.paths import folded_name
from tagger.texts import encoding_of

# Reads the sidecar of this name; None if it cannot be read.
ReadSidecar = Callable[[str], bytes | None]
TAKEOUT_EXTENSION = ".json"
# The folder beside photos in which ente has their JSON files.
METADATA_FOLDER = "metadata"
_DETAILS = re.compile(r"photo details.*\.csv", re.IGNORECASE)


@dataclass(frozen=True)
class SideFile:
    """A side file by its path from the photo's folder, mostly a name. Size and time show a change."""

    name: str
    size_bytes: int
    mtime_ns: int

    @property
    def is_sidecar(self) -> bool:
        return extension_of(self.name) == SIDECAR_EXTENSION

    @property
    def is_of_folder(self) -> bool:
        return _DETAILS.fullmatch(self.name) is not None


def is_side_file_name(name: str) -> bool:
    extension = extension_of(name)
    return extension in (SIDECAR_EXTENSION, TAKEOUT_EXTENSION) or (
        extension == ".csv" and _DETAILS.fullmatch(name) is not None
    )


def counts_beside_photos(name: str) -> bool:
    """Whether a file that is not listed as a photo may be a side file, or have one."""
    return is_side_file_name(name) or may_have_stem_sidecar(name)


def metadata_files(folder: str) -> list[str]:
    """The JSON files in the folder `metadata` of a folder, as `metadata/NAME`; none if it cannot be read."""
    names = _names_in(os.path.join(folder, METADATA_FOLDER))  # noqa: PTH118 - see names
    return [
        f"{METADATA_FOLDER}/{name}"
        for name in names
        if extension_of(name) == TAKEOUT_EXTENSION
    ]


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - see names
    except OSError:
        return []


def is_in_takeout(folder: str) -> bool:
    """Whether the same folder may be in other parts of a Takeout."""
    return "takeout" in folder.lower()


def side_files_of_parts(
    folder: str, photos: Collection[str], json_files: Collection[str]
) -> tuple[Mapping[str, str], Collection[str]]:
    """What other parts of a Takeout add to a folder, whose photos have no JSON file, or the other way round.

    Returns the JSON file of each photo that is in another part, and those of these JSON files whose photo is.
    """
    files_of: dict[str, str] = {}
    of_photos: set[str] = set()
    for part in _folders_of_other_parts(folder):
        names = _names_in(f"{folder}/{part}")
        others = [name for name in names if is_photo_name(name)]
        # Where both have a photo of this name, they are two archives.
        lone = set(photos).difference(others)
        files = [name for name in names if extension_of(name) == TAKEOUT_EXTENSION]
        for photo, name in takeout_pairs(lone, files):
            files_of.setdefault(photo, part + name)
        of_photos.update(name for _, name in takeout_pairs(others, json_files))
    return files_of, of_photos


def side_files_below(path: str, files: Iterable[SideFile]) -> tuple[SideFile, ...]:
    """Those side files of a photo that are in the folder where its path begins."""
    depth = path.count("/")
    return tuple(file for file in files if file.name.count("../") <= depth)


def _folders_of_other_parts(folder: str) -> Iterator[str]:
    # The same folder in the other parts of a Takeout, from here: `../../Takeout 2/Google Photos/`.
    # Names of parts, or of the folders around them, differ by digits and marks: `takeout-001`, `Takeout (2)`.
    names = os.path.abspath(folder).split("/")  # noqa: PTH100 - see names
    for at, part in enumerate(names):
        if not any(map(is_in_takeout, names[at : at + 2])):
            continue
        inner = names[at + 1 :]
        outer = "/".join([*names[:at], ""])
        for other in _names_in(outer):
            is_part = other != part and _letters(other) == _letters(part)
            if not is_part or os.path.islink(outer + other):  # noqa: PTH114 - see names
                continue
            if os.path.isdir("/".join([outer + other, *inner])):  # noqa: PTH112
                yield "/".join([*[".."] * (len(inner) + 1), other, *inner, ""])


def _letters(name: str) -> str:
    return re.sub(r"[\W\d_]", "", name.lower())


# A larger sidecar is not read: real ones have kilobytes, with a history of edits perhaps a
# megabyte.
SIDECAR_MAX_BYTES = 16 * 2**20


def side_files_to_text(files: Iterable[SideFile]) -> str | None:
    rows = [list(astuple(file)) for file in files]
    return json.dumps(rows) if rows else None


def side_files_from_text(text: str | None) -> tuple[SideFile, ...]:
    """The inverse of `side_files_to_text`.

    Raises:
        ValueError: the text has another form, or a name that is not of a file in the photo's folder.
    """
    rows = json.loads(text) if text else []
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise ValueError("the side files of a photo are stored as name, size and time")
    return tuple(SideFile(*row) for row in rows)


def _is_row(row: Any) -> bool:
    if not isinstance(row, list) or [type(each) for each in row] != [str, int, int]:
        return False
    return _PATH.fullmatch(row[0]) is not None and is_side_file_name(row[0])


# Sources refuse paths that lead out of them.
_PATH = re.compile(rf"(?:{METADATA_FOLDER}/|(?:\.\./)+(?:[^/\0]+/)+)?[^/\0]+")


def side_files_of(
    photos: Collection[str],
    others: Iterable[str],
    read_sidecar: ReadSidecar = lambda _: None,
) -> Mapping[str, tuple[str, ...]]:
    """The names of the side files of each photo in a folder that has some, the one that counts first.

    `others` are the side files and the images that are not listed as photos: their sidecars are theirs.
    """
    by_extension = _grouped(others, extension_of)
    sidecars = by_extension.pop(SIDECAR_EXTENSION, [])
    takeout = by_extension.pop(TAKEOUT_EXTENSION, [])
    details = tuple(sorted(by_extension.pop(".csv", [])))
    unlisted = [name for names in by_extension.values() for name in names]
    names_of: dict[str, list[str]] = {}
    for photo, name in _sidecars(photos, unlisted, sidecars, read_sidecar):
        names_of.setdefault(photo, []).append(name)
    for photo, name in takeout_pairs(photos, takeout):
        names_of.setdefault(photo, []).append(name)
    if details:
        return {photo: (*names_of.get(photo, ()), *details) for photo in photos}
    return {photo: tuple(names) for photo, names in names_of.items()}


def owner_of_stem_sidecar(
    sidecar: str, names: Iterable[str], read_sidecar: ReadSidecar
) -> str | None:
    """The photo among `names` to which the sidecar `IMG_1.xmp` belongs; None if that is not known.

    It belongs to the only image of its stem. Of several, it belongs to the one whose extension it states
    (`photoshop:SidecarForExtension`), else to the only RAW file. A sidecar that has the whole name of a file,
    as `a.jpg.xmp` has beside `a.jpg` and `a.jpg.cr3`, is no stem's.
    """
    base = folded_name(sidecar[: -len(SIDECAR_EXTENSION)])
    sharing = []
    for name in filter(may_have_stem_sidecar, names):
        if folded_name(name) == base:
            return None
        if folded_name(_stem(name)) == base:
            sharing.append(name)
    raw_files = [name for name in sharing if is_any_raw_name(name)]
    if len(sharing) > 1 and not _are_one_photo(sharing, raw_files):
        extension = stated_extension(read_sidecar(sidecar))
        if extension is not None:
            sharing = raw_files = [
                name for name in sharing if extension_of(name) == extension
            ]
    owners = raw_files or sharing
    return owners[0] if len(owners) == 1 else None


@dataclass(frozen=True)
class Sidecars:
    """The names of a photo's sidecars, and of those that a new `photo.jpg.xmp` would hide."""

    own: Sequence[str] = ()
    hidden: Sequence[str] = ()


def sort_stem_sidecars(
    photo: str, sidecars: Iterable[str], names: Iterable[str], read_sidecar: ReadSidecar
) -> Sidecars:
    """Those sidecars `photo.xmp` that belong to the photo, and those that are hidden.

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
        elif owner is None and any(
            folded_name(name) == folded_name(sidecar[:-4]) for name in names
        ):
            continue  # beside `a.jpg`, `a.jpg.xmp` is not the sidecar of `a.jpg.cr3`
        elif (
            owner is not None and _are_one_photo([photo, owner], [owner])
        ) or stated_extension(read_sidecar(sidecar)) in (None, extension_of(photo)):
            hidden.append(sidecar)
    return Sidecars(owned, hidden)


def stated_extension(sidecar: bytes | None) -> str | None:
    """The extension of the file that a sidecar says it is for; None if it does not say so."""
    data = sidecar or b""
    match = _SIDECAR_FOR.search(data.decode(encoding_of(data), "replace"))
    return f".{match[1].lower()}" if match else None


_SIDECAR_FOR = re.compile(
    r"""\bSidecarForExtension\s*(?:=\s*["']|>)\s*\.?(\w{1,10})\s*["'<]""", re.ASCII
)


def _are_one_photo(names: Sequence[str], raw_files: Sequence[str]) -> bool:
    # Whether files are a RAW file and what was developed from it, so that the sidecar is one photo's.
    return (
        len(raw_files) == 1
        and is_raw_name(raw_files[0])
        and None not in map(stem_of, names)
    )


def _sidecars(
    photos: Collection[str],
    unlisted: Collection[str],
    sidecars: Collection[str],
    read_sidecar: ReadSidecar,
) -> Iterator[tuple[str, str]]:
    # Pairs of photos and their sidecars: for each photo, `photo.jpg.xmp` comes before `photo.xmp`.
    if not sidecars:
        return
    by_name = _grouped(photos, folded_name)
    by_stem = _grouped((*photos, *unlisted), lambda name: folded_name(_stem(name)))
    unlisted_names = set(map(folded_name, unlisted))
    of_stem = []
    for sidecar in sorted(sidecars):
        base = sidecar[: -len(SIDECAR_EXTENSION)]
        named = by_name.get(folded_name(base), ())
        if named:
            yield (base if base in named else named[0]), sidecar
        elif folded_name(base) not in unlisted_names:
            owner = owner_of_stem_sidecar(
                sidecar,
                by_stem.get(folded_name(base), ()),
                read_sidecar,
            )
            if owner is not None:
                of_stem.append((owner, sidecar))
    listed = set(photos) if of_stem else ()
    yield from ((owner, sidecar) for owner, sidecar in of_stem if owner in listed)


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - see names.extension_of


_NUMBER = re.compile(r"(?P<before>.*)\((?P<number>\d{1,6})\)(?P<after>.*)", re.DOTALL)
# What Google adds to the name of an edited copy, in the language of the account, and to its creations.
_EDITED_WORDS = """
edited|bearbeitet|modifié|modifie|retouché|modificato|modificata|ha editado|editado
editada|editat|editată|bewerkt|edytowane|edytowany|zedytowane|redigerad|redigeret|redigert
muokattu|breytt|upraveno|upravené|upravená|szerkesztve|szerkesztett|düzenlendi|düzenlenmiş
uređeno|urejeno|уређено|измењено|изменено|изменённое|отредактировано|відредаговано|змінено
редактирано|рэдагавана|redaguota|rediģēts|muudetud|redigeeritud|editatua|editouse
επεξεργασμένο|επεξεργασία|τροποποιήθηκε|נערך|נערכה|معدّل|معدل|معدّلة|معدلة|تم التعديل
ویرایش شده|ویرایش‌شده|ترمیم شدہ|संपादित|बदलाव किया गया|सम्पादित|সম্পাদিত|সম্পাদনা করা
संपादित केले|திருத்தப்பட்டது|సవరించబడింది|ಎಡಿಟ್ ಮಾಡಲಾಗಿದೆ|എഡിറ്റ് ചെയ്തത്|સંપાદિત|ਸੰਪਾਦਿਤ
แก้ไข|แก้ไขแล้ว|đã chỉnh sửa|diedit|telah diedit|disunting|na-edit|in-edit|imehaririwa
geredigeer
編集済み|编辑|已编辑|已修改|已編輯|已修改過|수정됨|편집됨|수정|편집|խմբագրված|რედაქტირებული|redaktə edilib
tahrirlangan|өңделген|засварласан|effects|smile|mix|motion|animation|collage
"""
# Some write them between letters, and some do not.
_JOINERS = "\u200c\u200d"
_MOTION = ".mp"
# The least bytes of names that Takeout cuts, without number and extension: 46 UTF-16 units or less.
_CUT_BYTES = 44
# The least bytes of a cut photo's name, without number and extension: it has 51 UTF-16 units with
# `.jpg`.
_CUT_STEM_BYTES = 46
_SHORTEST_CUT = 11

# The folded title of a photo, and the number that tells equal titles apart, or an empty text.
_Key = tuple[str, str]


class _TakeoutFiles:
    # The JSON files of a folder by the titles of their photos.
    def __init__(self, names: Iterable[str]) -> None:
        self._by_title: dict[_Key, list[str]] = {}
        self._by_stem: dict[_Key, list[str]] = {}
        self._cut: dict[_Key, str] = {}
        for name in sorted(names):
            base, number = _base_and_number(name)
            key = folded_name(_title(base)), number
            self._by_title.setdefault(key, []).append(name)
            if is_photo_name(key[0]) or key[0].endswith((_MOTION, ".mp4", ".mov")):
                self._by_stem.setdefault((_stem(key[0]), number), []).append(name)
            if len(os.fsencode(base)) >= _CUT_BYTES:
                self._cut[folded_name(base), number] = name

    def of_title(self, title: str, number: str) -> str | None:
        # The file of a photo with this title. Where only their case differs, that in the same case.
        names = self._by_title.get((folded_name(title), number), ())
        return next(
            (name for name in names if name.startswith(title)),
            names[0] if names else None,
        )

    def of_extensions(
        self, stem: str, extensions: Iterable[str], number: str
    ) -> str | None:
        # The file of the first title with this stem and one of these extensions that has one.
        for extension in extensions:
            if (name := self.of_title(stem + extension, number)) is not None:
                return name
        return None

    def of_stem(self, stem: str, number: str) -> str | None:
        # The only file of a title with this stem, whatever its extension.
        names = self._by_stem.get((folded_name(stem), number), ())
        return names[0] if len(names) == 1 else None

    def of_cut_title(self, title: str, number: str) -> str | None:
        # The file whose name is the longest beginning of a long title.
        folded = folded_name(title)
        for end in range(len(folded) - 1, _SHORTEST_CUT - 1, -1) if self._cut else ():
            if (name := self._cut.get((folded[:end], number))) is not None:
                return name
        return None


def _base_and_number(name: str) -> tuple[str, str]:
    base = name[: -len(TAKEOUT_EXTENSION)].removeprefix(f"{METADATA_FOLDER}/")
    match = _NUMBER.fullmatch(base) if base.endswith(")") else None
    return (base, "") if match is None else (match["before"], match["number"])


def _title(base: str) -> str:
    # The name of a photo in that of its JSON file, without `.supplemental-metadata` or a beginning of it.
    # Some archives have `.metadata`.
    title, dot, supplement = base.rpartition(".")
    is_supplement = (
        "supplemental-metadata".startswith(supplement.lower())
        or supplement.lower() == "metadata"
    )
    return title if dot and title and is_supplement else base


def names_a_photo(json_file: str) -> bool:
    return is_photo_name(_title(_base_and_number(json_file)[0]))


def takeout_pairs(
    photos: Collection[str], names: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Pairs of photos and JSON files. A cut name or a stem that fits several photos is that of none."""
    if not names:
        return
    files = _TakeoutFiles(names)
    stems = _grouped(photos, lambda photo: folded_name(_stem(photo)))
    guessed: dict[str, list[str]] = {}
    for photo in photos:
        if (name := _file_of(photo, files)) is not None:
            yield photo, name
        elif (name := _guessed_file(photo, files)) is not None and len(
            stems[folded_name(_stem(photo))]
        ) == 1:
            guessed.setdefault(name, []).append(photo)
    for name, candidates in guessed.items():
        originals = [
            photo
            for photo in candidates
            if all(_original(_stem(title)) is None for title, _ in _titles(photo))
        ] or candidates
        if len(originals) == 1:
            yield from ((photo, name) for photo in candidates)


def _titles(photo: str) -> Iterator[tuple[str, str]]:
    # A photo's possible titles with their numbers: `IMG_1(1).jpg` may be the second `IMG_1.jpg`.
    yield photo, ""
    if ("(" in photo) and (match := _NUMBER.fullmatch(_stem(photo))):
        yield (
            match["before"] + match["after"] + photo[len(_stem(photo)) :],
            match["number"],
        )


def _original(stem: str) -> str | None:
    # The stem of the photo of which this is an edited copy. In long names, the suffix is cut.
    is_cut = len(os.fsencode(stem)) >= _CUT_STEM_BYTES
    normalized = unicodedata.normalize("NFC", stem)
    # Some of the words have a hyphen.
    for at in reversed([match.start() for match in re.finditer("-", normalized)]):
        words = _edited_key(normalized[at + 1 :])
        is_cut_word = is_cut and any(known.startswith(words) for known in _EDITED)
        if at > 0 and (words in _EDITED or is_cut_word):
            return normalized[:at]
    return None


def _edited_key(words: str) -> str:
    return "".join(letter for letter in words.casefold() if letter not in _JOINERS)


_EDITED = frozenset(map(_edited_key, words_of_lines(_EDITED_WORDS)))


def _extensions(title: str) -> Sequence[str]:
    # The extension of a photo, and of what it may be made from.
    own = title[len(_stem(title)) :]
    return (
        (own, *sorted(HEIC.extensions_of_extra))
        if own.lower() in JPEG_EXTENSIONS
        else (own,)
    )


def _file_of(photo: str, files: _TakeoutFiles) -> str | None:
    # The file of the photo itself, else that of its original.
    titles = list(_titles(photo))
    for title, number in titles:
        if (name := files.of_title(title, number)) is not None:
            return name
    for title, number in titles:
        stem = _stem(title)
        original = _original(stem)
        if original is None:
            name = files.of_extensions(stem, _extensions(title), number)
        else:
            name = (
                files.of_extensions(original, _extensions(title), number)
                or files.of_extensions(stem, _extensions(title), number)
                or files.of_stem(original, number)
                # A further edited copy of one photo: `IMG_1-edited(1).jpg`.
                or files.of_extensions(original, _extensions(title), "")
            )
        if name is not None:
            return name
    return None


def _guessed_file(photo: str, files: _TakeoutFiles) -> str | None:
    # The file by a cut name, by the name of a motion photo, or by a title without extension.
    for title, number in _titles(photo):
        stem = _stem(title)
        original = _original(stem)
        still = stem[: -len(_MOTION)] if stem.lower().endswith(_MOTION) else None
        titles = (
            [title]
            if original is None
            else [title, *(original + each for each in _extensions(title))]
        )
        found = (
            next(
                filter(None, (files.of_cut_title(each, number) for each in titles)),
                None,
            )
            or files.of_title(stem, number)
            or files.of_title(f"{stem}{_MOTION}", number)
            or (files.of_stem(f"{stem}{_MOTION}", number))
            or (files.of_stem(still, number) if still else None)
            or (files.of_title(original, number) if original is not None else None)
        )
        if found is not None:
            return found
    return None
