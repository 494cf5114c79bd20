"""Checks a model file, a zip archive, before torch loads it, and rebuilds it from what was checked.

A TorchScript file is a program: torch compiles its code, and runs some of it while it loads. `checked_archive` returns an
archive with the same parameters and the checked code, in which torch finds nothing else: not a second entry of the same
name, not data that Python's zipfile does not see, not a format of older versions. Nothing from the file is run.
"""

import io
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
ROOT = "archive"
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


def checked_archive(data: bytes) -> io.BytesIO:
    """The archive that torch may load.

    Raises:
        ProgramRefused: with what a classifier does not need.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _rebuild(Entries(archive, len(data)))
    except RecursionError as error:
        raise ProgramRefused("its code is nested too deeply") from error
    except DAMAGED as error:
        raise ProgramRefused("it is not a TorchScript file") from error


def _rebuild(entries: "Entries") -> io.BytesIO:
    # Only here: a start without torch checks no program.
    from tagger.model.model_code import check_code
    from tagger.model.model_data import check_constants, check_module

    sources = {match[1]: entries.read(match[0]) for match in map(CODE.fullmatch, entries.names) if match}
    program = check_code(sources)
    check_module(entries, program)
    check_constants(entries)
    rebuilt = io.BytesIO()
    with zipfile.ZipFile(rebuilt, "w") as archive:
        for name in entries.names:
            if name in FORMAT and not FORMAT[name].fullmatch(entries.read(name)):
                raise ProgramRefused(f"it is of an unknown format ({name})")
            if name in FORMAT or name in OBJECTS or STORAGE.fullmatch(name):
                archive.writestr(f"{ROOT}/{name}", entries.read(name))
        for path, source in program.sources.items():
            archive.writestr(f"{ROOT}/code/{path}", source)
    rebuilt.seek(0)
    return rebuilt


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


HEAD_BYTES = 512

_FORMATS = {
    "a Git LFS pointer in place of the model, which `git lfs pull` fetches": rb"version https://git-lfs",
    "a web page in place of the model; download the file itself": rb"(?:\xef\xbb\xbf)?\s*(?i:<!doctype html|<html|<head)",
    "an ONNX model, which this program does not read": rb"\x08[\x01-\x1f][\x12\x1a\x22\x2a\x32\x3a\x42]",
    "a file of weights alone (safetensors), without the network": rb"[\0-\xff]{5}\0{3}\{\s*\"",
    "a TensorFlow Lite model, which this program does not read": rb"[\0-\xff]{4}TFL3",
    "a file of weights alone (GGUF), without the network": rb"GGUF",
    "a file of Keras (HDF5), which this program does not read": rb"\x89HDF\r\n",
    "a checkpoint of torch (pickle), without the network's code": rb"\x80[\x02-\x05]",
    "a compressed archive; unpack it first": rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd",
}
_PATTERNS = {text: re.compile(pattern, re.DOTALL) for text, pattern in _FORMATS.items()}


def format_text(head: bytes) -> str | None:
    """What the file with these first bytes is; None for another one."""
    return next((text for text, pattern in _PATTERNS.items() if pattern.match(head)), None)
