"""RAW files for tests, laid out as cameras do: previews, a thumbnail, EXIF, and sensor data."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from .containers import encode_image, jpeg_segment
from .drawing import draw_photo
from .exif_blocks import block

# Type, count, and the bytes in the order of the file, as in `exif_blocks`.
Value: TypeAlias = tuple[int, int, bytes]
SENSOR = bytes(range(256)) * 64
LARGE, MIDDLE, THUMBNAIL = (480, 320), (360, 240), (160, 120)


def preview(size: tuple[int, int] = LARGE, seed: int = 1, **options: object) -> bytes:
    """A JPEG; drawings of one seed show the same."""
    return encode_image(_drawing(seed, size), "JPEG", quality=60, **options)


@cache
def _drawing(seed: int, size: tuple[int, int]) -> Image.Image:
    return draw_photo(seed, size)


@dataclass(frozen=True)
class RawContent:
    """What a RAW file contains. `middle` is left out by makers that store one preview."""

    large: bytes = field(default_factory=preview)
    middle: bytes = field(default_factory=lambda: preview(MIDDLE))
    thumbnail: bytes = field(default_factory=lambda: preview(THUMBNAIL))
    sensor: bytes = SENSOR
    orientation: int = 1
    xmp: bytes = b""
    make: str = "Maker"
    maker_note: bytes = b""
    has_gps: bool = True
    """Whether a DNG says that it was taken at the Eiffel Tower, as other RAW files do."""


class TiffFile:
    """A TIFF that grows: what is referred to is added before what refers to it."""

    def __init__(self, magic: bytes = b"II*\0", gap: bytes = b"") -> None:
        self.order = "<" if magic.startswith(b"II") else ">"
        self.data = bytearray(magic + bytes(4) + gap)

    def add(self, content: bytes) -> int:
        """Append content at an even offset, which is returned."""
        self.data += bytes(len(self.data) % 2)
        self.data += content
        return len(self.data) - len(content)

    def directory(self, values: Mapping[int, Value], following: int = 0) -> int:
        placed = []
        for tag, (kind, count, raw) in sorted(values.items()):
            slot = raw.ljust(4, b"\0") if len(raw) <= 4 else self._packed("I", self.add(raw))
            placed.append(self._packed("HHI", tag, kind, count) + slot)
        return self.add(self._packed("H", len(placed)) + b"".join(placed) + self._packed("I", following))

    def ending_at(self, first: int) -> bytes:
        struct.pack_into(self.order + "I", self.data, 4, first)
        return bytes(self.data)

    def long(self, *numbers: int) -> Value:
        return 4, len(numbers), self._packed(f"{len(numbers)}I", *numbers)

    def short(self, *numbers: int) -> Value:
        return 3, len(numbers), self._packed(f"{len(numbers)}H", *numbers)

    def text(self, text: str) -> Value:
        return 2, len(text) + 1, text.encode() + b"\0"

    def fractions(self, *numbers: int) -> Value:
        return (
            5,
            len(numbers),
            self._packed("II" * len(numbers), *(part for number in numbers for part in (number, 1))),
        )

    def jpeg(self, content: bytes) -> dict[int, Value]:
        """The tags of a JPEG as EXIF refers to its thumbnail."""
        return {259: self.short(6), 513: self.long(self.add(content)), 514: self.long(len(content))}

    def strip(
        self, content: bytes, compression: int, photometric: int | None, subfile_type: int = 0
    ) -> dict[int, Value]:
        """The tags of an image in one strip."""
        tags = {
            254: self.long(subfile_type),
            256: self.long(480),
            257: self.long(320),
            259: self.short(compression),
            273: self.long(self.add(content)),
            278: self.long(320),
            279: self.long(len(content)),
        }
        return tags if photometric is None else tags | {262: self.short(photometric)}

    def facts(self, raw: RawContent) -> dict[int, Value]:
        """The tags of the main directory that describe camera and capture."""
        main = {
            271: self.text(raw.make),
            272: self.text("Camera 1"),
            274: self.short(raw.orientation),
            306: self.text(TAKEN),
        }
        main |= {0x8769: self.long(self.directory(self.exif(raw.maker_note)))}
        main |= {0x8825: self.long(self.directory(self.gps()))} if raw.has_gps else {}
        return main | ({700: (1, len(raw.xmp), raw.xmp)} if raw.xmp else {})

    def exif(self, maker_note: bytes = b"") -> dict[int, Value]:
        tags = {0x9003: self.text(TAKEN), 0x9011: self.text("+02:00"), 0xA431: self.text("S-12345")}
        return tags | ({0x927C: (7, len(maker_note), maker_note)} if maker_note else {})

    def gps(self) -> dict[int, Value]:
        return {
            1: self.text("N"),
            2: self.fractions(48, 51, 30),
            3: self.text("E"),
            4: self.fractions(2, 17, 40),
        }

    def _packed(self, letters: str, *values: object) -> bytes:
        return struct.pack(self.order + letters, *values)


TAKEN = "2024:06:01 12:30:00"
_LOSSLESS_JPEG = b"\xff\xd8" + jpeg_segment(0xC3, b"\x0e\x01\x40\x01\xe0\1\1\x11\0") + b"\xff\xda\0\2"
_CFA, _LINEAR, _YCBCR, _RGB = 32803, 34892, 6, 2
_REDUCED = 1
_RGB_THUMBNAIL = bytes(range(192))


def raw_file(kind: str, raw: RawContent | None = None) -> bytes:
    """A RAW file; `kind` is one of RAW_KINDS."""
    return _BUILDERS[kind](raw or RawContent())


def _dng(raw: RawContent) -> bytes:
    tiff = TiffFile()
    below = (
        tiff.directory(tiff.strip(raw.sensor, 7, _CFA)),
        tiff.directory(tiff.strip(raw.middle, 7, _YCBCR, _REDUCED)),
        tiff.directory(tiff.strip(raw.large, 7, _YCBCR, _REDUCED)),
    )
    thumbnail = tiff.strip(_RGB_THUMBNAIL, 1, _RGB, _REDUCED)
    dng = {50706: (1, 4, bytes((1, 4, 0, 0))), 50708: tiff.text("Camera 1"), 330: tiff.long(*below)}
    return tiff.ending_at(tiff.directory(tiff.facts(raw) | thumbnail | dng))


def _cr2(raw: RawContent) -> bytes:
    tiff = TiffFile(gap=b"CR\2\0" + bytes(4))
    sensor = tiff.directory(tiff.strip(_LOSSLESS_JPEG + raw.sensor, 6, None))
    struct.pack_into("<I", tiff.data, 12, sensor)
    small = tiff.directory(tiff.strip(_RGB_THUMBNAIL, 6, _RGB), sensor)
    thumbnail = tiff.directory(tiff.jpeg(raw.thumbnail), small)
    return tiff.ending_at(tiff.directory(tiff.facts(raw) | tiff.strip(raw.large, 6, None), thumbnail))


def _nef(raw: RawContent) -> bytes:
    tiff = TiffFile(b"MM\0*")
    directories = struct.pack(">HHHIII", 1, 0x11, 4, 1, 26, 0)
    directories += struct.pack(">HHHIIHHIII", 2, 513, 4, 1, 26 + 30, 514, 4, 1, len(raw.middle), 0)
    inner = b"MM\0*\0\0\0\x08" + directories + raw.middle
    raw = _with_note(raw, "NIKON CORPORATION", b"Nikon\0\2\x10\0\0" + inner)
    below = (
        tiff.directory(tiff.jpeg(raw.large) | {254: tiff.long(_REDUCED)}),
        tiff.directory(tiff.strip(raw.sensor, 34713, _CFA)),
    )
    thumbnail = tiff.strip(_RGB_THUMBNAIL, 1, _RGB, _REDUCED)
    return tiff.ending_at(tiff.directory(tiff.facts(raw) | thumbnail | {330: tiff.long(*below)}))


def _arw(raw: RawContent) -> bytes:
    tiff = TiffFile()
    full = tiff.directory(tiff.jpeg(raw.large))
    thumbnail = tiff.directory(tiff.jpeg(raw.thumbnail), full)
    below = tiff.directory(tiff.strip(raw.sensor, 32767, _CFA))
    main = (
        tiff.facts(_with_note(raw, "SONY"))
        | tiff.jpeg(raw.middle)
        | {254: tiff.long(1), 330: tiff.long(below)}
    )
    return tiff.ending_at(tiff.directory(main, thumbnail))


def _orf(raw: RawContent) -> bytes:
    tiff = TiffFile(b"IIRO")
    note = TiffFile()
    note.data = bytearray(b"OLYMPUS\0II\3\0" + bytes(2 + 12 + 4))
    settings = note.directory(
        {0x100: note.long(1), 0x101: note.long(note.add(raw.large)), 0x102: note.long(len(raw.large))}
    )
    struct.pack_into("<HHHIII", note.data, 12, 1, 0x2020, 13, 1, settings, 0)
    raw = _with_note(raw, "OLYMPUS CORPORATION", bytes(note.data))
    thumbnail = tiff.directory(tiff.jpeg(raw.thumbnail))
    return tiff.ending_at(tiff.directory(tiff.facts(raw) | tiff.strip(raw.sensor, 1, 1), thumbnail))


def _rw2(raw: RawContent) -> bytes:
    tiff = TiffFile(b"IIU\0")
    facts = tiff.facts(_with_note(raw, "Panasonic")) | {
        1: (7, 4, b"0310"),
        0x2E: (7, len(raw.large), raw.large),
    }
    strip = {273: tiff.long(0xFFFFFFFF), 279: tiff.long(0), 0x118: tiff.long(0)}
    first = tiff.directory(facts | strip)
    at = tiff.add(raw.sensor)
    entry = next(e for e in range(first + 2, len(tiff.data), 12) if tiff.data[e : e + 2] == b"\x18\1")
    struct.pack_into("<I", tiff.data, entry + 8, at)
    return tiff.ending_at(first)


def _pef(raw: RawContent) -> bytes:
    tiff = TiffFile(b"MM\0*")
    at = tiff.add(raw.middle)
    note = struct.pack(">4s2sHHHIIHHIII", b"AOC\0", b"MM", 2, 3, 4, 1, len(raw.middle), 4, 4, 1, at, 0)
    full = tiff.directory(tiff.jpeg(raw.large))
    thumbnail = tiff.directory(tiff.jpeg(raw.thumbnail), full)
    facts = tiff.facts(_with_note(raw, "PENTAX Corporation", note))
    return tiff.ending_at(tiff.directory(facts | tiff.strip(raw.sensor, 65535, _CFA), thumbnail))


def _srw(raw: RawContent) -> bytes:
    tiff = TiffFile()
    below = (tiff.directory(tiff.jpeg(raw.large)), tiff.directory(tiff.strip(raw.sensor, 32770, _CFA)))
    thumbnail = tiff.directory(tiff.jpeg(raw.thumbnail))
    return tiff.ending_at(
        tiff.directory(tiff.facts(_with_note(raw, "SAMSUNG")) | {330: tiff.long(*below)}, thumbnail)
    )


def _3fr(raw: RawContent) -> bytes:
    tiff = TiffFile(b"MM\0*")
    below = (
        tiff.directory(tiff.strip(raw.sensor, 1, _CFA)),
        tiff.directory(tiff.strip(raw.large, 7, _YCBCR, _REDUCED)),
    )
    main = tiff.facts(_with_note(raw, "Hasselblad")) | tiff.strip(_RGB_THUMBNAIL, 1, _RGB, _REDUCED)
    return tiff.ending_at(tiff.directory(main | {330: tiff.long(*below)}))


def _iiq(raw: RawContent) -> bytes:
    sensor_directory = struct.pack("<II4I", 1, 0, 0x10F, 7, len(raw.sensor), 12 + 24)
    tiff = TiffFile(gap=b"IIII" + b"\x0cwaR" + struct.pack("<I", 12) + sensor_directory + raw.sensor)
    main = tiff.facts(_with_note(raw, "Phase One")) | tiff.strip(raw.large, 7, _YCBCR)
    return tiff.ending_at(tiff.directory(main))


def _raf(raw: RawContent) -> bytes:
    order = TiffFile()
    main = {271: order.text("FUJIFILM"), 272: order.text("Camera 1"), 274: order.short(raw.orientation)}
    exif = block(main, exif=order.exif(), gps=order.gps())
    app1 = [jpeg_segment(0xE1, b"Exif\0\0" + exif)]
    if raw.xmp:
        app1.append(jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + raw.xmp))
    jpeg = raw.large[:2] + b"".join(app1) + raw.large[2:]
    start, sensor = 160, 160 + len(jpeg)
    head = b"FUJIFILMCCD-RAW 0201FF389501Camera 1".ljust(84, b"\0")
    places = struct.pack(">IIIIII", start, len(jpeg), sensor, 4, sensor + 4, len(raw.sensor))
    return (head + places).ljust(start, b"\0") + jpeg + bytes(4) + raw.sensor


def bare_mrw(image: Image.Image, orientation: int = 1) -> bytes:
    """A file of a Minolta DiMAGE 7, without a preview that is found: 12 bits in two bytes."""
    order = TiffFile(b"MM\0*")
    main = {
        271: order.text("Minolta Co., Ltd."),
        272: order.text("DiMAGE 7"),
        274: order.short(orientation),
        306: order.text(TAKEN),
    }
    width, height = image.size
    dimensions = struct.pack(">8s4HBBB4xB", b"27660001", height, width, height, width, 16, 12, 0x52, 1)
    blocks = [(b"\0PRD", dimensions), (b"\0TTW", block(main, exif=order.exif(), order=">"))]
    header = b"".join(struct.pack(">4sI", kind, len(content)) + content for kind, content in blocks)
    return (
        struct.pack(">4sI", b"\0MRM", len(header))
        + header
        + _mosaic(np.asarray(image, dtype=np.uint16) << np.uint16(4)).astype(">u2").tobytes()
    )


def bare_dng(
    image: Image.Image, orientation: int = 1, *, colours: int = 1, sensor_bytes: int | None = None
) -> bytes:
    """A DNG without previews, as phones write it: what a sensor would have of an image, with one or three
    colours per pixel.

    `sensor_bytes`: how much of the sensor's data there is, if not all.
    """
    values = np.arange(256) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    sensor = (linear * _WHITE_LEVEL).astype("<u2")[np.asarray(image)]
    if colours == 1:
        sensor = _mosaic(sensor)
    tiff = TiffFile()
    strip = tiff.strip(sensor.tobytes()[:sensor_bytes], 1, _CFA if colours == 1 else _LINEAR)
    matrix = (32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570)
    tags = {
        256: tiff.long(image.width),
        257: tiff.long(image.height),
        258: tiff.short(*[16] * colours),
        277: tiff.short(colours),
        278: tiff.long(image.height),
        33421: tiff.short(2, 2),
        33422: (1, 4, bytes((0, 1, 1, 2))),
        50706: (1, 4, bytes((1, 4, 0, 0))),
        50708: tiff.text("Camera 1"),
        50717: tiff.short(*[_WHITE_LEVEL] * colours),
        50721: (10, 9, struct.pack("<18i", *(part for number in matrix for part in (number, 10000)))),
        50728: tiff.fractions(1, 1, 1),
        50778: tiff.short(21),
    }
    return tiff.ending_at(tiff.directory(tiff.facts(RawContent(orientation=orientation)) | strip | tags))


def _mosaic(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Of each pixel one colour: red and green in one row, green and blue in the next."""
    colours = np.indices(values.shape[:2]) % 2
    return np.take_along_axis(values, colours.sum(axis=0)[..., None], axis=2)[..., 0]


_WHITE_LEVEL = 60_000


def box(kind: bytes, *content: bytes) -> bytes:
    whole = b"".join(content)
    return struct.pack(">I4s", len(whole) + 8, kind) + whole


def _cr3(raw: RawContent) -> bytes:
    order = TiffFile()
    main = block(
        {
            271: order.text("Canon"),
            272: order.text("Camera 1"),
            274: order.short(raw.orientation),
            306: order.text(TAKEN),
        }
    )
    blocks = (box(b"CMT1", main), box(b"CMT2", block(order.exif())), box(b"CMT4", block(order.gps())))
    thumbnail = box(b"THMB", struct.pack(">IHHIHH", 0, *THUMBNAIL, len(raw.thumbnail), 1, 0), raw.thumbnail)
    metadata = box(b"uuid", bytes.fromhex("85c0b687820f11e08111f4ce462b6a48"), *blocks, thumbnail)
    middle = box(b"PRVW", struct.pack(">IHHHHI", 0, 1, *MIDDLE, 1, len(raw.middle)), raw.middle)
    behind = box(b"uuid", bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16"), bytes(7) + b"\1", middle)
    if raw.xmp:
        behind = box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), raw.xmp) + behind
    head = box(b"ftyp", b"crx \0\0\0\1crx isom")

    def movie(at: int) -> bytes:
        tracks = (_track(at, len(raw.large)), _track(at + len(raw.large), len(raw.sensor)))
        return box(b"moov", metadata, *tracks)

    front = len(head) + len(movie(0)) + len(behind)
    return head + movie(front + 8) + behind + box(b"mdat", raw.large, raw.sensor)


def _track(start: int, size_bytes: int) -> bytes:
    entry = box(b"CRAW", bytes(16), struct.pack(">HH", *LARGE), bytes(50), box(b"JPEG", bytes(4)))
    description = box(b"stsd", struct.pack(">II", 0, 1), entry)
    table = (
        description
        + box(b"stsz", struct.pack(">III", 0, size_bytes, 1))
        + box(b"co64", struct.pack(">IIQ", 0, 1, start))
    )
    return box(
        b"trak", box(b"mdia", box(b"hdlr", bytes(8) + b"vide" + bytes(13)), box(b"minf", box(b"stbl", table)))
    )


def _with_note(raw: RawContent, make: str, maker_note: bytes = b"") -> RawContent:
    return replace(raw, make=make, maker_note=maker_note)


_BUILDERS: Mapping[str, Callable[[RawContent], bytes]] = {
    "dng": _dng,
    "cr2": _cr2,
    "cr3": _cr3,
    "nef": _nef,
    "arw": _arw,
    "orf": _orf,
    "rw2": _rw2,
    "raf": _raf,
    "pef": _pef,
    "srw": _srw,
    "3fr": _3fr,
    "iiq": _iiq,
}
RAW_KINDS: Sequence[str] = tuple(_BUILDERS)  # By the extension of their names
