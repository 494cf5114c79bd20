"""Detects RAW files by their content, and describes their layout: where a file states that its parts are.

To other readers, most RAW files are TIFFs, so their directories decide. Of the parts, previews that can be shown are JPEGs. A layout is
not checked: its offsets may lie outside the file.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tagger.photos.jpeg import jpeg_frame
from tagger.photos.tiff import TiffBlock, TiffDirectory, open_tiff

_DISPLAYABLE_CODINGS = {0xC0, 0xC1, 0xC2}
"""Baseline, extended and progressive. Sensor data are often lossless JPEGs."""
_SPAN_LIMIT = 64
_HEAD_BYTES = 2**20
"""The frame comes after EXIF and a colour profile, of at most 64 KB each in all files of cameras."""


@dataclass(frozen=True)
class ByteRange:
    """A range of bytes of the file."""

    start: int
    size_bytes: int


@dataclass(frozen=True)
class RawLayout:
    """`jpegs` may be JPEG previews or anything else. `images` are stored images with their strips or tiles: that of the sensor,
    previews and thumbnails. `exif` is a TIFF block, which may lack the facts of the capture; `xmp` is a packet. `has_hevc`: an image
    is coded as HEVC.
    """

    jpegs: tuple[ByteRange, ...] = ()
    images: tuple[tuple[ByteRange, ...], ...] = ()
    exif: bytes | None = None
    has_capture_facts: bool = True
    xmp: bytes | None = None
    has_hevc: bool = False


@dataclass(frozen=True)
class Preview:
    """An embedded JPEG, not copied, with its place in the file and the size in pixels that its frame states."""

    span: ByteRange
    data: memoryview
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def find_previews(data: bytes, spans: Iterable[ByteRange]) -> tuple[Preview, ...]:
    """Return the previews, largest first."""
    whole = dict.fromkeys(span for span in spans if lies_in(data, span))
    previews = (_preview(data, span) for span in list(whole)[:_SPAN_LIMIT])
    return tuple(sorted(filter(None, previews), key=lambda preview: (-preview.pixels, -len(preview.data))))


def lies_in(data: bytes, span: ByteRange) -> bool:
    """Whether the file has all bytes of a span, and there are any."""
    return span.start > 0 and span.size_bytes > 0 and span.start + span.size_bytes <= len(data)


def _preview(data: bytes, span: ByteRange) -> Preview | None:
    view = memoryview(data)[span.start : span.start + span.size_bytes]
    if bytes(view[:3]) != b"\xff\xd8\xff":
        return None
    frame = jpeg_frame(view[:_HEAD_BYTES])
    if frame is None or frame.bits != 8 or frame.coding not in _DISPLAYABLE_CODINGS:
        return None
    is_image = frame.components in (1, 3) and frame.width > 0 and frame.height > 0
    return Preview(span, view, frame.width, frame.height) if is_image else None


CANON_BRAND = b"crx "
FUJIFILM_SIGNATURE = b"FUJIFILMCCD-RAW"
PANASONIC_SIGNATURE = b"IIU\0"
_OLYMPUS_SIGNATURES = (b"IIRO", b"IIRS", b"MMOR")
MINOLTA_SIGNATURE = b"\0MRM"
_UNPARSED_SIGNATURES = (b"II\x1a\0\0\0HEAPCCDR", b"FOVb")
"""The signatures of Canon (CRW) and Sigma. No parts of these files are found; they can be developed."""
_SIGNATURES = (
    *(FUJIFILM_SIGNATURE, PANASONIC_SIGNATURE, MINOLTA_SIGNATURE),
    *_OLYMPUS_SIGNATURES,
    *_UNPARSED_SIGNATURES,
)
_DIRECTORY_LIMIT = 8
_DNG_VERSION = 50706
SUBFILE_TYPE, PHOTOMETRIC = 254, 262
COMPRESSION, _SUB_DIRECTORIES = 259, 330
_SENSOR_PHOTOMETRICS = {32803, 34892}
"""A colour filter array, and linear sensor data."""
_MAKERS_COMPRESSIONS = {32767, 32769, 32770, 32772, 32867, 34713, 65000, 65535}
"""The compressions of Sony, Epson, Samsung (two), Kodak, Nikon, Kodak and Pentax, in this order."""


def is_raw(head: bytes) -> bool:
    """Whether a file that begins with `head` is a RAW file. False if the directories that say so lie behind `head`."""
    if head.startswith(_SIGNATURES) or (head[4:8] == b"ftyp" and head[8:12] == CANON_BRAND):
        return True
    block = open_tiff(head)
    if block is None:
        return False
    if head[8:11] == b"CR\2" or is_phase_one(head):
        return True
    return any(
        _DNG_VERSION in directory.tags or is_sensor_image(block, directory)
        for directory in directories_of(block, _DIRECTORY_LIMIT)
    )


def is_phase_one(head: bytes) -> bool:
    """Whether a TIFF is an IIQ file."""
    return (head[8:12], head[13:16]) == (b"IIII", b"waR") or (head[8:12], head[12:15]) == (b"MMMM", b"Raw")


def directories_of(block: TiffBlock, limit: int) -> Iterator[TiffDirectory]:
    """Yield at most `limit` directories, each once: the chain from the first, and what each of them points to."""
    offsets = deque([block.first])
    seen: set[int] = set()
    while offsets and len(seen) < limit:
        offset = offsets.popleft()
        directory = None if offset in seen else block.directory(offset)
        seen.add(offset)
        if directory is not None:
            yield directory
            offsets.extend(block.integers(directory.tags.get(_SUB_DIRECTORIES))[:limit])
            offsets.append(directory.following)


def is_sensor_image(block: TiffBlock, directory: TiffDirectory) -> bool:
    """Whether a directory's image consists of sensor data."""
    photometric = block.integers(directory.tags.get(PHOTOMETRIC))[:1]
    compression = block.integers(directory.tags.get(COMPRESSION))[:1]
    return not (_SENSOR_PHOTOMETRICS.isdisjoint(photometric) and _MAKERS_COMPRESSIONS.isdisjoint(compression))
