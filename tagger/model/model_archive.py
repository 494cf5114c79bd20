"""Checks a model file, a zip archive, before torch loads it, and rebuilds it from what was checked.

A TorchScript file is a program: torch compiles its code, and runs some of it while it loads.
`checked_archive` returns an archive with the same parameters and the checked code, in which torch finds
nothing else: no second entry of a name, no data that zipfile does not see, no older format.
"""

import io
import re
import struct
import zipfile
import zlib
from typing import IO

from tagger.model.model_code import ProgramRefused, check_code
from tagger.model.model_data import check_constants, check_module

ROOT = "archive"
CODE = re.compile(r"code/(__torch__[\w/]*\.py)", re.ASCII)
STORAGE = re.compile(r"(data|constants)/\d+", re.ASCII)
OBJECTS = ("data.pkl", "constants.pkl")
FORMAT = {
    "version": re.compile(rb"\d{1,2}\n?"),
    ".data/version": re.compile(rb"\d{1,2}\n?"),
    "byteorder": re.compile(rb"little"),
}
# Others raise errors of their own where they are damaged, and none is used by torch.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Of all code, pickles and compressed entries: few bytes may state gigabytes, and code is parsed
# into 600 times as many. The trainer compresses only code. Large networks have some 100 kB of code,
# and of pickles.
COMPRESSED_BYTES = 2**21
# What zipfile raises for damaged and unusual files.
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


def open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a model file, of which no entry is read yet.

    Raises:
        ProgramRefused: its code, pickles or compressed entries are too large, or share their data.
        one of DAMAGED: it is no zip archive.
    """
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    limited = [
        each
        for each in entries
        if each.compress_type or CODE.search(each.filename) or each.filename.endswith(OBJECTS)
    ]
    if sum(each.file_size for each in limited) > COMPRESSED_BYTES:
        raise ProgramRefused(
            f"it has more than {COMPRESSED_BYTES >> 20} MiB of code, pickles or compressed data"
        )
    if sum(each.compress_size for each in entries) > file.seek(0, io.SEEK_END):
        # Thousands of entries that name the same gigabyte would be read one after the other.
        raise ProgramRefused("its entries share their data")
    return archive


def checked_archive(data: bytes) -> io.BytesIO:
    """The archive that torch may load.

    Raises:
        ProgramRefused: with what a classifier does not need.
    """
    try:
        with open_archive(io.BytesIO(data)) as archive:
            return _rebuild(_read_entries(archive))
    except RecursionError as error:
        raise ProgramRefused("its code is nested too deeply") from error
    except DAMAGED as error:
        raise ProgramRefused("it is not a TorchScript file, or damaged") from error


def _read_entries(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """What torch needs, by name without the archive's folder. The manifest and all else is left out."""
    entries: dict[str, bytes] = {}
    for entry in archive.infolist():
        name = entry.filename.partition("/")[2]
        is_fixed = name in FORMAT or name in OBJECTS
        if entry.compress_type in COMPRESSIONS and (
            is_fixed or CODE.fullmatch(name) or STORAGE.fullmatch(name)
        ):
            entries[name] = archive.read(entry)
    return entries


def _rebuild(entries: dict[str, bytes]) -> io.BytesIO:
    program = check_code({match[1]: entries[match[0]] for match in map(CODE.fullmatch, entries) if match})
    check_module(entries, program)
    check_constants(entries)
    rebuilt = io.BytesIO()
    with zipfile.ZipFile(rebuilt, "w") as archive:
        for name, data in entries.items():
            if name in FORMAT and not FORMAT[name].fullmatch(data):
                raise ProgramRefused(f"it is of an unknown format ({name})")
            if not CODE.fullmatch(name):
                archive.writestr(f"{ROOT}/{name}", data)
        for path, source in program.sources.items():
            archive.writestr(f"{ROOT}/code/{path}", source)
    rebuilt.seek(0)
    return rebuilt
