"""TIFF files: XMP is a tag of the first directory. What is new goes behind everything, so nothing that is there moves."""

from collections.abc import Iterator
from dataclasses import dataclass

from tagger.metadata.blocks import Blocks
from tagger.metadata.formats.ifd import (
    Directory,
    Field,
    Header,
    below,
    directories,
    directory_end,
    following_of,
    integers,
    read_directory,
    read_header,
)
from tagger.metadata.formats.refusing import ambiguous, broken, fixed_offsets, no_place, signed, too_large
from tagger.metadata.formats.trailers import has_notes_at_end
from tagger.metadata.splices import Splice

_XMP, _C2PA = 700, 0xCD41
_BYTES, _UNDEFINED = 1, 7
_DIRECTORY_LIMIT, _SPAN_LIMIT = 10_000, 1_000_000
_DATA_WITH_SIZE = ((273, 279), (324, 325), (513, 514))
_PHOTOMETRIC, _COMPRESSION, _DNG = 262, 259, 0xC612
_SENSOR_DATA = {32803, 34892}
_RAW_CODINGS = {32767, 32769, 32770, 32867, 34713, 65000, 65535}
_CLASSIC_LIMIT = 2**32 - 1
_DIRECTORY_ROOM = 65_536


@dataclass(frozen=True)
class _Tiff:
    data: bytes
    header: Header
    main: Directory

    @property
    def xmp(self) -> Field | None:
        return self.main.of(_XMP)


def read_blocks(data: bytes) -> Blocks:
    """The XMP tag. The whole file is its EXIF block, which is not written, and neither is IPTC."""
    tiff = _read(data)
    field = tiff.xmp
    return Blocks(xmp=data[field.start : field.start + field.size] if field else None)


def replace_blocks(data: bytes, wanted: Blocks) -> tuple[Splice, ...]:
    """The splices that make the XMP of a file the wanted one."""
    tiff = _read(data)
    if wanted.exif is not None or wanted.iptc is not None:
        raise no_place("In TIFF files only XMP is written")
    if wanted.xmp == read_blocks(data).xmp:
        return ()
    _require_writable(tiff)
    return _with_xmp(tiff, wanted.xmp or None)


def _read(data: bytes) -> _Tiff:
    header = read_header(data)
    main = read_directory(data, header, header.first) if header else None
    if header is None or main is None or not main.fields:
        raise broken("its first directory cannot be read")
    field = main.of(_XMP)
    if field and field.start + field.size > len(data):
        raise broken("its XMP lies outside of it")
    return _Tiff(data, header, main)


def _require_writable(tiff: _Tiff) -> None:
    for directory in directories(tiff.data, tiff.header):
        if len({field.tag for field in directory.fields}) < len(directory.fields):
            raise ambiguous("It has the same tag several times")
    if tiff.main.of(_C2PA):
        raise signed()
    if has_notes_at_end(tiff.data):
        raise fixed_offsets("It ends in notes that are looked for at the end of the file")
    if tiff.main.at in _reachable(tiff):
        raise broken("its directories come back to the first one")
    _require_apart(tiff)
    if _is_raw(tiff):
        raise no_place("It is a camera's RAW file, which is never written into")


def _reachable(tiff: _Tiff) -> set[int]:
    """Where the directories are that the first one leads to: whatever leads back to it would find its old copy."""
    found = set(below(tiff.data, tiff.header, tiff.main))
    at = tiff.main.following
    while at and at not in found and len(found) < _DIRECTORY_LIMIT:
        found.add(at)
        at = following_of(tiff.data, tiff.header, at)
    return found


def _require_apart(tiff: _Tiff) -> None:
    """Raise WriteRefused if something is said to be where bytes are patched, or where new ones would come to stand."""
    header = tiff.header
    patched = [(header.first_at, header.first_at + header.slot)]
    patched += [(tiff.xmp.at, tiff.xmp.at + header.entry_bytes)] if tiff.xmp else []
    for count, (start, end) in enumerate(_spans(tiff)):
        if end > len(tiff.data):
            raise broken("it is cut off, or a tag says that its values are behind the end")
        if count > _SPAN_LIMIT or any(start < stop and begin < end for begin, stop in patched):
            raise broken("what its tags point to overlaps")


def _spans(tiff: _Tiff) -> Iterator[tuple[int, int]]:
    """Where everything begins and ends that the tags of all directories point to."""
    for directory in directories(tiff.data, tiff.header):
        for at in (*below(tiff.data, tiff.header, directory), directory.following):
            if at:
                yield at, directory_end(tiff.data, tiff.header, at)
        for field in directory.fields:
            if field.size > tiff.header.slot:
                yield field.start, field.start + field.size
        for data_tag, size_tag in _DATA_WITH_SIZE:
            read = (integers(tiff.data, tiff.header, directory.of(tag)) for tag in (data_tag, size_tag))
            yield from ((start, start + size) for start, size in zip(*read, strict=False) if size)


def _is_raw(tiff: _Tiff) -> bool:
    """Whether it holds what a sensor saw rather than a picture."""
    if tiff.main.of(_DNG):
        return True
    return any(_is_sensor_data(tiff, directory) for directory in directories(tiff.data, tiff.header))


def _is_sensor_data(tiff: _Tiff, directory: Directory) -> bool:
    colours = integers(tiff.data, tiff.header, directory.of(_PHOTOMETRIC))
    coding = integers(tiff.data, tiff.header, directory.of(_COMPRESSION))
    return not _SENSOR_DATA.isdisjoint(colours) or not _RAW_CODINGS.isdisjoint(coding)


def _with_xmp(tiff: _Tiff, xmp: bytes | None) -> tuple[Splice, ...]:
    header, end = tiff.header, len(tiff.data)
    if not header.big and end + len(xmp or b"") + _DIRECTORY_ROOM > _CLASSIC_LIMIT:
        raise too_large("The file would be larger than a TIFF file can be, which is 4 GB")
    # Values and directories begin at even places; BigTIFF's where eight divides.
    step = 8 if header.big else 2
    appended = b"\0" * (-end % step)
    entry = None
    if xmp is not None:
        entry = _entry(tiff, xmp, end + len(appended))
        appended += xmp + b"\0" * (-len(xmp) % step)
    if entry and tiff.xmp:
        patch = Splice(tiff.xmp.at, tiff.xmp.at + header.entry_bytes, entry)
    else:
        patch = Splice(header.first_at, header.first_at + header.slot, header.packed(end + len(appended)))
        appended += _directory(tiff, entry)
    return (patch, Splice(end, end, appended))


def _entry(tiff: _Tiff, xmp: bytes, value_at: int) -> bytes:
    """Its entry; a value so small that it stands in the entry itself is appended all the same, which does no harm."""
    header, there = tiff.header, tiff.xmp
    kind = there.kind if there and there.kind in (_BYTES, _UNDEFINED) else _BYTES
    value = xmp.ljust(header.slot, b"\0") if len(xmp) <= header.slot else header.packed(value_at)
    return header.packed_kind(_XMP, kind) + header.packed(len(xmp)) + value


def _directory(tiff: _Tiff, entry: bytes | None) -> bytes:
    """The first directory anew, its entries in their order, with this XMP entry or without any."""
    header = tiff.header
    entries = [
        (field.tag, tiff.data[field.at : field.at + header.entry_bytes])
        for field in tiff.main.fields
        if field.tag != _XMP
    ]
    if entry:
        at = next((at for at, (tag, _) in enumerate(entries) if tag > _XMP), len(entries))
        entries.insert(at, (_XMP, entry))
    packed = b"".join(raw for _, raw in entries)
    return header.packed_length(len(entries)) + packed + header.packed(tiff.main.following)
