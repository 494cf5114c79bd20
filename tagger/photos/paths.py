"""Paths of files, and addresses in buckets, like `s3://bucket/2019/tower.jpg`, which take their place.

Paths become text and JSON for SQL to store and sort, without losing names that are not UTF-8. How a bucket is
reached is in object_store.
"""

import os
import re
import unicodedata
from pathlib import Path, PosixPath
from typing import NoReturn, Self

from tagger.errors import ArgumentInvalid, ObjectAddressInvalid, ObjectUnsupported
from tagger.texts.addresses import BUCKET_SCHEMES as SCHEMES

_SCHEME_PARTS = tuple(f"{scheme}:" for scheme in SCHEMES)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,221}")


class ObjectPath(PosixPath):
    """The address of an object, of a prefix or of a whole bucket; its text is the address.

    It has the parents, names and relative paths of a path, but the system's functions refuse it: a command
    that does not know about buckets fails with a message instead of using a file of that name.
    """

    def __str__(self) -> str:
        text = super().__str__()
        scheme, colon, rest = text.partition(":/")
        return f"{scheme}://{rest}" if colon and scheme in SCHEMES else text

    def __fspath__(self) -> NoReturn:
        raise ObjectUnsupported(path=str(self))

    def is_absolute(self) -> bool:
        return True

    def resolve(self, strict: bool = False) -> Self:  # noqa: ARG002 - the signature is pathlib's
        return self

    def samefile(self, other_path: str | os.PathLike[str]) -> bool:
        return self == other_path

    @property
    def scheme(self) -> str:
        return self.parts[0].removesuffix(":")

    @property
    def bucket(self) -> str:
        return self.parts[1]

    @property
    def key(self) -> str:
        """The key of the object, or the prefix without a slash at its end; empty for the whole bucket."""
        return "/".join(self.parts[2:])


def path_in(folder: Path, path: Path) -> str:
    """The path below a folder, for its source, which refuses one outside: that begins with `..`."""
    if path.is_relative_to(folder):
        return str(path.relative_to(folder))
    return os.path.relpath(str(path), str(folder))


def parse_path(path: str | Path) -> Path:
    """Return the path, as an `ObjectPath` if it is an address in a bucket.

    Raises:
        ObjectAddressInvalid: it begins like an address, but is not valid. The text shows no part of it, which
            may be a password.
    """
    plain = Path(str(path))
    if not is_object_address(plain):
        return plain
    address = ObjectPath(plain)
    if plain.parts[0] not in _SCHEME_PARTS:
        raise ObjectAddressInvalid(
            reason=f"write {address.scheme.lower()}:// in lower case"
        )
    if (
        len(address.parts) < 2
        or ".." in address.parts
        or not _BUCKET.fullmatch(address.bucket.lower())
    ):
        raise ObjectAddressInvalid(
            reason=f"write it as {address.scheme}://BUCKET/PREFIX"
        )
    if not _BUCKET.fullmatch(address.bucket):
        raise ObjectAddressInvalid(reason="names of buckets are in lower case")
    return address


def named_path(path: str | Path) -> Path:
    """Return the path that a script names: ~ is the home folder, as in a shell.

    Raises:
        ArgumentInvalid: no path has such characters.
        ObjectAddressInvalid: as `parse_path`.
    """
    if "\0" in str(path):
        raise ArgumentInvalid(
            argument="path", reason=f"{str(path)!r} has a null character"
        )
    parsed = parse_path(path)
    if isinstance(parsed, ObjectPath):
        return parsed
    return Path(os.path.expanduser(parsed))  # noqa: PTH111 - a user who does not exist is no error


def is_object_address(path: str | Path) -> bool:
    """Whether the path begins with a bucket's scheme. `Path` has dropped one of the two slashes."""
    parts = Path(str(path)).parts
    return bool(parts) and parts[0].lower() in _SCHEME_PARTS


def absolute_path(path: Path) -> Path:
    """Return the absolute path without `..`; links stay. The address of an object is absolute."""
    parsed = parse_path(path)
    if isinstance(parsed, ObjectPath):
        return parsed
    return Path(os.path.abspath(parsed))  # noqa: PTH100 - drops ..


def path_spellings(path: Path) -> set[Path]:
    """The absolute path as it was named, and with its links resolved. An address has no other spelling."""
    absolute = absolute_path(path)
    is_address = isinstance(absolute, ObjectPath)
    return {absolute} if is_address else {absolute, Path(os.path.realpath(absolute))}


def may_exist(path: Path) -> bool:
    """Whether there is a file or folder at a path, as far as is known without asking a bucket."""
    is_address = isinstance(parse_path(path), ObjectPath)
    return is_address or os.path.exists(path)  # noqa: PTH110 - False if it may not be seen


def path_text(path: str | Path) -> tuple[str, bytes]:
    """The path as text, and its bytes if they are not UTF-8 (the text is for display only then)."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(text)
        return raw.decode(errors="backslashreplace"), raw
    return text, b""


def path_from_text(text: str, raw: bytes) -> str:
    """The path from which `path_text` made these.

    The system refuses a null character, which only a row has that another program wrote: no file has the
    replacement's name.
    """
    return (os.fsdecode(raw) if raw else text).replace(
        "\0", "\N{REPLACEMENT CHARACTER}"
    )


def path_to_json(path: str | Path) -> str | dict[str, str]:
    """The path as JSON: its text; if it is not UTF-8, `{"text": …, "bytes": …}`, in hexadecimal."""
    text, raw = path_text(path)
    return {"text": text, "bytes": raw.hex()} if raw else text


def path_from_json(value: object) -> Path:
    """The path from which `path_to_json` made `value`.

    Raises:
        ValueError: `path_to_json` makes no such value.
    """
    match value:
        case str():
            path = value
        case {"text": str(), "bytes": str(raw), **others} if not others:
            path = os.fsdecode(bytes.fromhex(raw))
        case _:
            raise ValueError("it is not a path")
    if "\0" in path:
        raise ValueError("a path has no null character")
    try:
        return parse_path(path)
    except ObjectAddressInvalid as error:
        raise ValueError(str(error)) from None


def printable_path(path: str | Path) -> str:
    """The path on one line: control characters and bytes that are not UTF-8 are escaped."""
    text, _ = path_text(path)
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1]
        for character in text
    )


def folded_name(name: str) -> str:
    """The name without case. Programs that copy files also change how accents are encoded."""
    if name.isascii():
        return name.lower()
    # Decomposed first, since the capital of a letter like `ΐ` has its accents apart.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
