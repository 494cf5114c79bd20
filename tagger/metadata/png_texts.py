"""Facts in texts of PNG files that have no place in the format: EXIF and XMP as "raw profiles", as ImageMagick began to write them, and
the time of creation. They are only read.
"""

import re
import zlib
from collections.abc import Mapping

from tagger.metadata.formats.jpeg_segments import EXIF, XMP
from tagger.metadata.splices import Blocks
from tagger.photos.containers import png_chunks
from tagger.photos.tiff import has_tags

_PROFILES = ("raw profile type exif", "raw profile type app1", "raw profile type xmp")
_PACKET = "xml:com.adobe.xmp"
_TIMES = ("creation time", "create-date")
_KEYWORD_BYTES = 79
_TEXTS_READ = 16
"""Real files have one text of each keyword."""
_UNPACKED_LIMIT = 16 * 2**20
"""Of all texts of a file. A profile has two letters for each byte."""

PngTexts = Mapping[str, list[bytes]]
"""Texts by their keywords in lower case."""


def png_texts(data: bytes) -> PngTexts:
    """The texts with facts; empty for other formats. Those that are damaged or too large are cut or left out."""
    found: dict[str, list[bytes]] = {}
    remaining, unread = _UNPACKED_LIMIT, _TEXTS_READ
    for kind, chunk in png_chunks(data):
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            continue
        head, _, _ = bytes(chunk[8 : 8 + _KEYWORD_BYTES + 1]).partition(b"\0")
        keyword = head.decode("latin-1").lower()
        if keyword not in (*_PROFILES, _PACKET, *_TIMES):
            continue
        text = _unpacked(kind, bytes(chunk[8 + len(head) + 1 : -4]), remaining)
        found.setdefault(keyword, []).append(text)
        remaining, unread = remaining - len(text), unread - 1
        if remaining <= 0 or unread == 0:
            break
    return found


def _unpacked(kind: bytes, content: bytes, limit: int) -> bytes:
    """The text after its keyword, of at most `limit` bytes."""
    is_packed = kind == b"zTXt"
    if kind == b"zTXt":
        content = content[1:]  # the method
    elif kind == b"iTXt":
        is_packed = content[:1] == b"\1"
        content = content[2:].split(b"\0", 2)[-1]  # after two flags, the language and the translated keyword
    if not is_packed:
        return content[:limit]
    try:
        return zlib.decompressobj().decompress(content, limit)
    except zlib.error:
        return b""


def profile_blocks(texts: PngTexts) -> Blocks:
    """The first EXIF block that has tags, and the first XMP packet."""
    exif, xmp = [], list(texts.get(_PACKET, ()))
    for profile in (_profile(text) for keyword in _PROFILES for text in texts.get(keyword, ())):
        if profile.startswith(XMP):
            xmp.append(profile[len(XMP) :])
        elif has_tags(block := profile.removeprefix(EXIF)):
            exif.append(block)
        elif profile.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
            xmp.append(profile)
    return Blocks(xmp=next(filter(None, xmp), None), exif=next(iter(exif), None))


_PROFILE = re.compile(rb"\s*[^\n]*\n\s*\d+\s*\n")
"""A name, which says nothing, and the number of bytes. Hexadecimal digits follow."""
_DIGITS = b"0123456789abcdefABCDEF"
_OTHERS = bytes(byte for byte in range(256) if byte not in _DIGITS)


def _profile(text: bytes) -> bytes:
    head = _PROFILE.match(text)
    digits = text[head.end() :].translate(None, _OTHERS) if head else b""
    return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())


def creation_times(texts: PngTexts) -> list[str]:
    """When the image was created, also where it is written as in mails, which the format recommends: `Sun, 14 Jul 2019 10:20:30 +0200`."""
    times = (text.decode("latin-1").strip() for keyword in _TIMES for text in texts.get(keyword, ()))
    return [_MAIL_TIME.sub(_in_order, time, count=1) for time in times]


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MAIL_TIME = re.compile(
    rf"^(?:[a-z]{{3,9}},?\s*)?(\d\d?)\s+({'|'.join(_MONTHS)})[a-z]*\s+(\d{{4}})\s+", re.IGNORECASE
)


def _in_order(match: re.Match[str]) -> str:
    month = _MONTHS.index(match[2].lower()) + 1
    return f"{match[3]}:{month:02}:{int(match[1]):02} "
