"""Checks a model file, a zip archive, before torch loads it, and rebuilds it from what was checked.

A TorchScript file is a program: torch compiles its code, and runs some of it while it loads. `checked_archive` returns an
archive with the same parameters and the checked code, in which torch finds nothing else: not a second entry of the same
name, not data that Python's zipfile does not see, not a format of older versions. Nothing from the file is run.
"""

import io
import re
import zipfile

from tagger.model.model_definitions import ProgramRefused
from tagger.model.model_entries import CODE, DAMAGED, FORMAT, OBJECTS, STORAGE, Entries

ROOT = "archive"


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


def _rebuild(entries: Entries) -> io.BytesIO:
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
