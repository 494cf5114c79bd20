"""The entries of a model file, a zip archive: each of a known kind, once, and no larger than it says.

Knows nothing of what is in them.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable

from tagger.model.model_definitions import ProgramRefused

CODE = re.compile(r"code/(__torch__[\w/]*\.py)", re.ASCII)
STORAGE = re.compile(r"(data|constants)/\d+", re.ASCII)
OBJECTS = ("data.pkl", "constants.pkl")
FORMAT = {
    "version": re.compile(rb"\d{1,2}\n?"),
    ".data/version": re.compile(rb"\d{1,2}\n?"),
    "byteorder": re.compile(rb"little"),
}
NOT_LOADED = re.compile(
    r"extra/manifest\.json|extra/background\.f32|\.data/serialization_id|\.format_version|\.storage_alignment|code/.*\.debug_pkl"
)
CODE_LIMIT_BYTES = 64 * 2**20
"""Code is compressed. The networks of torchvision and timm have less than 4 MiB."""
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others take as much memory as an entry says, and none is used by torch."""
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises for damaged and unusual files."""


class Entries:
    """The entries of the archive, each of a known kind and once, by name without the archive's folder."""

    def __init__(self, archive: zipfile.ZipFile, size_bytes: int) -> None:
        self._archive = archive
        self._by_name: dict[str, zipfile.ZipInfo] = {}
        folders = set()
        for entry in archive.infolist():
            folder, _, name = entry.filename.partition("/")
            folders.add(folder)
            if name in self._by_name or not _is_known(name):
                reason = "twice" if name in self._by_name else "which no exported classifier has"
                raise ProgramRefused(f"it has an entry {name[:100]!r}, {reason}")
            self._by_name[name] = entry
        if len(folders) != 1:
            raise ProgramRefused("its entries are not in one folder")
        self._require_plain_sizes(size_bytes)

    def _require_plain_sizes(self, size_bytes: int) -> None:
        """Refuse entries that would fill the memory, whatever their compression or overlap."""
        stored_bytes = compressed_bytes = 0
        for name, entry in self._by_name.items():
            if entry.compress_type == zipfile.ZIP_STORED:
                stored_bytes += entry.file_size
            elif name.startswith("code/") and entry.compress_type in COMPRESSIONS:
                compressed_bytes += entry.file_size
            else:
                raise ProgramRefused(f"its entry {name} is compressed")
        if stored_bytes > size_bytes or compressed_bytes > CODE_LIMIT_BYTES:
            raise ProgramRefused("its entries are larger than the file")

    @property
    def names(self) -> Iterable[str]:
        return self._by_name.keys()

    def size_bytes(self, name: str) -> int:
        return self._by_name[name].file_size

    def read(self, name: str) -> bytes:
        entry = self._by_name[name]
        try:
            data = self._archive.read(entry)
        except DAMAGED as error:
            raise ProgramRefused(f"it is damaged at {entry.filename}") from error
        if len(data) != entry.file_size:
            raise ProgramRefused(f"its entry {name} is shorter than it says")
        return data


def _is_known(name: str) -> bool:
    is_fixed = name in FORMAT or name in OBJECTS
    return is_fixed or any(pattern.fullmatch(name) for pattern in (CODE, STORAGE, NOT_LOADED))
