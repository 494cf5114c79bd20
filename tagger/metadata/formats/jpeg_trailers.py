"""The trailer of a JPEG file, and whether readers still find it after bytes were inserted before it.

Recognised kinds are found from the end of the file or by a signature, and hold relative offsets only: the videos of
motion photos, the notes of Samsung, Canon, Photo Mechanic and FotoStation, and padding.
"""

_FOOTER_BYTES = 64
_CANON_NAME = b"CANON OPTIONAL DATA\0"
_CANON_HEADER_BYTES = 28
_MOVABLE_LIMIT = 16


def is_movable(trailer: bytes) -> bool:
    """Whether the whole trailer consists of recognised kinds, which may move."""
    rest = trailer
    for _ in range(_MOVABLE_LIMIT):
        if b"ftyp" in rest.lstrip(b"\0")[:8]:
            return True
        size = _recognised_bytes(rest)
        # Padding may follow a recognised kind, but some kinds end in zeros themselves.
        rest = rest[: len(rest) - size] if size else rest.rstrip(b"\0")
        if not rest:
            return True
        if not size and not _recognised_bytes(rest):
            return False
    return False


def counts_from_file_start(data: bytes) -> bool:
    """Whether a file ends in notes with absolute offsets (AFCP), so that nothing may be inserted before them."""
    return data[-12:-9] == b"AXS" and data[-9:-8] in (b"!", b"*")


def has_notes_at_end(data: bytes) -> bool:
    """Whether a file ends in notes that readers search at its end, so that nothing may be appended."""
    return counts_from_file_start(data) or _recognised_bytes(data) > 0


def _recognised_bytes(data: bytes) -> int:
    """The size of the recognised kind at the end; 0 if it claims more bytes than there are."""
    size = max(parse(data) for parse in _PARSERS)
    return size if size <= len(data) else 0


def _samsung(trailer: bytes) -> int:
    """The size of Samsung's notes: their directory (SEFH) states how far before it each block starts."""
    size = int.from_bytes(trailer[-8:-4], "little")
    start = len(trailer) - 8 - size
    if trailer[-4:] != b"SEFT" or start < 0 or trailer[start : start + 4] != b"SEFH":
        return 0
    count = int.from_bytes(trailer[start + 8 : start + 12], "little")
    entries = range(start + 12, min(start + 12 + 12 * count, len(trailer) - 12), 12)
    farthest = max((int.from_bytes(trailer[at + 4 : at + 8], "little") for at in entries), default=0)
    return len(trailer) - start + farthest


def _canon(trailer: bytes) -> int:
    footer = trailer[-_FOOTER_BYTES:]
    if not footer.startswith(_CANON_NAME):
        return 0
    return int.from_bytes(footer[20:24], "big") + _CANON_HEADER_BYTES + _FOOTER_BYTES


def _photo_mechanic(trailer: bytes) -> int:
    return int.from_bytes(trailer[-12:-8], "big") + 12 if trailer[-8:] == b"cbipcbbl" else 0


def _foto_station(trailer: bytes) -> int:
    return int.from_bytes(trailer[-8:-4], "big") if trailer[-4:] == b"\xa1\xb2\xc3\xd4" else 0


_PARSERS = (_samsung, _canon, _photo_mechanic, _foto_station)
