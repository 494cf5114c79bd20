"""What follows the picture in a JPEG file, and whether it is found where it is after bytes were written ahead of it.

Known are those that are found from the end of the file or by looking for their beginning, and that count from
themselves: videos of motion photos, Samsung's, Canon's, Photo Mechanic's and FotoStation's notes, padding.
"""

_FOOTER_BYTES = 64
_CANON_NAME = b"CANON OPTIONAL DATA\0"
_CANON_HEADER_BYTES = 28
_MOVABLE_LIMIT = 16


def is_movable(trailer: bytes) -> bool:
    """Whether all of it is of known kinds that are found wherever they come to stand."""
    rest = trailer
    for _ in range(_MOVABLE_LIMIT):
        if b"ftyp" in rest.lstrip(b"\0")[:8]:
            return True
        known = _known_bytes(rest)
        # Padding may follow what is known; but some of it ends in zeros itself.
        rest = rest[: len(rest) - known] if known else rest.rstrip(b"\0")
        if not rest:
            return True
        if not known and not _known_bytes(rest):
            return False
    return False


def counts_from_file_start(data: bytes) -> bool:
    """Whether a file ends in notes that hold positions in the file (AFCP): nothing may be written ahead of them."""
    return data[-12:-9] == b"AXS" and data[-9:-8] in (b"!", b"*")


def has_notes_at_end(data: bytes) -> bool:
    """Whether a file ends in notes that are looked for at its very end: nothing may be written behind them."""
    return counts_from_file_start(data) or _known_bytes(data) > 0


def _known_bytes(data: bytes) -> int:
    """How many bytes at the end are of a known kind; none if it claims more than there are."""
    known = max(taken(data) for taken in _KNOWN)
    return known if known <= len(data) else 0


def _samsung(trailer: bytes) -> int:
    """Its directory (SEFH) tells how far ahead of itself each of its blocks begins."""
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


_KNOWN = (_samsung, _canon, _photo_mechanic, _foto_station)
