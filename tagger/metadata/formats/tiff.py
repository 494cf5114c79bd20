"""TIFF files: XMP is a tag of the first directory. New bytes are appended to the file, so no existing data moves."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tagger.metadata.formats.ifd import (
    Ifd,
    IfdEntry,
    TiffHeader,
    child_offsets,
    directories,
    directory_end,
    integers,
    next_directory_offset,
    read_directory,
    read_header,
)
from tagger.metadata.formats.jpeg_offsets import has_notes_at_end
from tagger.metadata.splices import (
    Blocks,
    Splice,
    ambiguous_blocks,
    broken_structure,
    fixed_offsets,
    signed_file,
    too_large,
    unsupported_block,
)

_XMP, _C2PA = 700, 0xCD41
_BYTES, _UNDEFINED = 1, 7
_DIRECTORY_LIMIT, _SPAN_LIMIT = 10_000, 1_000_000
_DATA_WITH_SIZE = ((273, 279), (324, 325), (513, 514))
_CLASSIC_LIMIT = 2**32 - 1
_DIRECTORY_ROOM = 65_536


@dataclass(frozen=True)
class _Tiff:
    data: bytes
    header: TiffHeader
    main: Ifd

    @property
    def xmp(self) -> IfdEntry | None:
        return self.main.entry(_XMP)


def read_blocks(data: bytes) -> Blocks:
    """Read the XMP tag. The file itself is its EXIF block; EXIF and IPTC are never written."""
    tiff = _read(data)
    entry = tiff.xmp
    return Blocks(xmp=data[entry.start : entry.start + entry.size] if entry else None)


def replace_blocks(data: bytes, new: Blocks) -> tuple[Splice, ...]:
    """Return the splices that give the file this XMP."""
    tiff = _read(data)
    if new.exif is not None or new.iptc is not None:
        raise unsupported_block("Only XMP is written to TIFF files")
    if new.xmp == read_blocks(data).xmp:
        return ()
    _require_writable(tiff)
    return _with_xmp(tiff, new.xmp or None)


def _read(data: bytes) -> _Tiff:
    header = read_header(data)
    main = read_directory(data, header, header.first) if header else None
    if header is None or main is None or not main.entries:
        raise broken_structure("its first directory cannot be read")
    entry = main.entry(_XMP)
    if entry and entry.start + entry.size > len(data):
        raise broken_structure("its XMP lies outside of it")
    return _Tiff(data, header, main)


def _require_writable(tiff: _Tiff) -> None:
    for directory in directories(tiff.data, tiff.header):
        if len({entry.tag for entry in directory.entries}) < len(directory.entries):
            raise ambiguous_blocks("It has the same tag several times")
    if tiff.main.entry(_C2PA):
        raise signed_file()
    if has_notes_at_end(tiff.data):
        raise fixed_offsets("It ends in notes that readers search at the end of the file")
    if tiff.main.at in _reachable(tiff):
        raise broken_structure("its directories form a loop")
    _require_no_overlap(tiff)


def _reachable(tiff: _Tiff) -> set[int]:
    """The offsets of the directories that the first one leads to. A link back to it would find its old copy."""
    offsets = set(child_offsets(tiff.data, tiff.header, tiff.main))
    at = tiff.main.next_offset
    while at and at not in offsets and len(offsets) < _DIRECTORY_LIMIT:
        offsets.add(at)
        at = next_directory_offset(tiff.data, tiff.header, at)
    return offsets


def _require_no_overlap(tiff: _Tiff) -> None:
    """Raise WriteRefused if a tag points to bytes that are patched, or past the end of the file."""
    header = tiff.header
    patched = [(header.first_position, header.first_position + header.slot)]
    patched += [(tiff.xmp.at, tiff.xmp.at + header.entry_bytes)] if tiff.xmp else []
    for count, (start, end) in enumerate(_spans(tiff)):
        if end > len(tiff.data):
            raise broken_structure("it is cut off, or a tag points past its end")
        if count > _SPAN_LIMIT or any(start < stop and begin < end for begin, stop in patched):
            raise broken_structure("its tags point to overlapping data")


def _spans(tiff: _Tiff) -> Iterator[tuple[int, int]]:
    """The start and end of everything that the tags of all directories point to."""
    for directory in directories(tiff.data, tiff.header):
        for at in (*child_offsets(tiff.data, tiff.header, directory), directory.next_offset):
            if at:
                yield at, directory_end(tiff.data, tiff.header, at)
        for entry in directory.entries:
            if entry.size > tiff.header.slot:
                yield entry.start, entry.start + entry.size
        for data_tag, size_tag in _DATA_WITH_SIZE:
            numbers = (integers(tiff.data, tiff.header, directory.entry(tag)) for tag in (data_tag, size_tag))
            yield from ((start, start + size) for start, size in zip(*numbers, strict=False) if size)


def _with_xmp(tiff: _Tiff, xmp: bytes | None) -> tuple[Splice, ...]:
    header, end = tiff.header, len(tiff.data)
    if not header.big and end + len(xmp or b"") + _DIRECTORY_ROOM > _CLASSIC_LIMIT:
        raise too_large("The file would exceed the 4 GB of a TIFF file")
    # Values and directories start at even offsets, in BigTIFF files at multiples of eight.
    step = 8 if header.big else 2
    appended = b"\0" * (-end % step)
    entry = None
    if xmp is not None:
        entry = _entry(tiff, xmp, end + len(appended))
        appended += xmp + b"\0" * (-len(xmp) % step)
    if entry and tiff.xmp:
        patch = Splice(tiff.xmp.at, tiff.xmp.at + header.entry_bytes, entry)
    else:
        patch = Splice(
            header.first_position, header.first_position + header.slot, header.packed(end + len(appended))
        )
        appended += _directory(tiff, entry)
    return (patch, Splice(end, end, appended))


def _entry(tiff: _Tiff, xmp: bytes, value_at: int) -> bytes:
    """The XMP entry. A value small enough for the entry itself is appended, too, which does no harm."""
    header, existing = tiff.header, tiff.xmp
    kind = existing.kind if existing and existing.kind in (_BYTES, _UNDEFINED) else _BYTES
    value = xmp.ljust(header.slot, b"\0") if len(xmp) <= header.slot else header.packed(value_at)
    return struct.pack(header.order + "HH", _XMP, kind) + header.packed(len(xmp)) + value


def _directory(tiff: _Tiff, entry: bytes | None) -> bytes:
    """A copy of the first directory with this XMP entry, or without one."""
    header = tiff.header
    entries = [
        (entry.tag, tiff.data[entry.at : entry.at + header.entry_bytes])
        for entry in tiff.main.entries
        if entry.tag != _XMP
    ]
    if entry:
        at = next((at for at, (tag, _) in enumerate(entries) if tag > _XMP), len(entries))
        entries.insert(at, (_XMP, entry))
    packed = b"".join(raw for _, raw in entries)
    return header.packed_length(len(entries)) + packed + header.packed(tiff.main.next_offset)
