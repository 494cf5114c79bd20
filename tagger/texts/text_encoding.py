"""Texts that programs and people write into files: in UTF-8 or UTF-16, with or without a byte order mark.

Text editors leave blank lines and byte order marks at the start, which no format has there.
"""

import codecs
from collections.abc import Iterator
from itertools import chain
from typing import IO, Literal

_START = "\ufeff \t\r\n"
_BLOCK_BYTES = 1 << 16


def decoded_text(data: bytes) -> str:
    """The text in a file, without blank lines and byte order marks at its start.

    Raises:
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16.
    """
    return data.decode(encoding_of(data)).lstrip(_START)


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
