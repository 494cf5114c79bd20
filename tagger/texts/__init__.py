"""Documents as bytes: JSON of commands and the API, and texts that programs and people write into files.

Documents are dataclasses whose fields are the keys. Commands and the API write them unchanged; the API's
OpenAPI document is generated from the dataclasses.

Texts of files are in UTF-8 or UTF-16, with or without a byte order mark. Text editors leave blank lines and
byte order marks at the start, which no format has there.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Document = TypeVar("Document", bound="DataclassInstance")


def document_of(kind: type[Document], source: object, /, **values: Any) -> Document:
    """A document of this kind: fields from `values`, and all others from attributes of `source`."""
    missing = (name for name in _names(kind) if name not in values)
    return kind(**{name: getattr(source, name) for name in missing}, **values)


@cache
def _names(kind: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.init)


def json_bytes(document: object, indent: int | None = None) -> bytes:
    """The document as JSON. Letters stay; invisible characters are escaped, as terminals obey some."""
    text = json.dumps(document, indent=indent, default=json_default, ensure_ascii=False)
    if not text.replace("\n", "").isprintable():
        text = "".join(
            each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1]
            for each in text
        )
    return text.encode()


def json_default(value: object) -> object:
    """A value without a JSON type: dataclasses as objects, others as text; for `json.dumps(default=…)`."""
    if isinstance(value, datetime):
        return value.isoformat()
    return vars(value) if is_dataclass(value) else str(value)


_START = "\ufeff \t\r\n"
_BLOCK_BYTES = 1 << 16


def decoded_text(data: bytes) -> str:
    """The text in a file, without blank lines and byte order marks at its start.

    Raises:
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16.
    """
    return data.decode(encoding_of(data)).lstrip(_START)


def undeclared_text(data: bytes) -> str:
    """Decode a text that states no encoding: nearly all are UTF-8, and older ones Latin-1."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def text_blocks(source: IO[bytes]) -> Iterator[str]:
    """The same text of a file that may be large, in parts.

    Raises:
        UnicodeDecodeError: as `decoded_text`.
    """
    blocks = iter(lambda: source.read(_BLOCK_BYTES), b"")
    first = next(blocks, b"")
    is_start = True
    for text in codecs.iterdecode(chain([first], blocks), encoding_of(first)):
        part = text.lstrip(_START) if is_start else text
        if part:
            is_start = False
            yield part


def encoding_of(data: bytes) -> Literal["utf-8", "utf-16-le", "utf-16-be"]:
    """The encoding that a text states by a byte order mark, or by zeros around its first letter."""
    start = data[:2]
    if start == b"\xff\xfe" or (len(start) == 2 and start[0] and not start[1]):
        return "utf-16-le"
    if start == b"\xfe\xff" or (len(start) == 2 and start[1] and not start[0]):
        return "utf-16-be"
    return "utf-8"
