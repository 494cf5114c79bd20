"""EXIF blocks for tests: as cameras write them, and generated ones, with the checks for all of them."""

import struct
from collections.abc import Mapping

from hypothesis import strategies as st

from tagger.metadata import NamedLandmark, PositionEstimate, TagFields, WriteRefused
from tagger.metadata.exif import add, insertion_difference, remove

# Type, count, and the bytes in the block's byte order, by tag.
Values = Mapping[int, tuple[int, int, bytes]]

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower")
KEYWORDS = TagFields((TOWER,), keywords=("Eiffel Tower", "Paris"))
ALL = TagFields(
    (TOWER,),
    keywords=("Eiffel Tower", "Paris", "Île-de-France"),
    position=PositionEstimate(48.85837, 2.294481, 500),
    description="Eiffel Tower, Île-de-France",
)
THUMBNAIL = b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + bytes(9) + b"\xff\xdb\x00\x04ab\xff\xd9"


def block(
    main: Values,
    *,
    order: str = "<",
    exif: Values | None = None,
    gps: Values | None = None,
    interop: Values | None = None,
    first: Values | None = None,
    thumbnail: bytes = b"",
) -> bytes:
    """An EXIF block as cameras write it: directories, each followed by its values."""
    data = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8))
    pointers: list[dict[int, int]] = []
    main, exif = dict(main), {**(exif or {})} if exif is not None or interop is not None else None
    if exif is not None:
        main[0x8769] = (4, 1, bytes(4))
    if gps is not None:
        main[0x8825] = (4, 1, bytes(4))
    if interop is not None and exif is not None:
        exif[0xA005] = (4, 1, bytes(4))
    places, following = _put(data, order, main)
    for parent, tag, values in ((0, 0x8769, exif), (0, 0x8825, gps), (1, 0xA005, interop)):
        if values is None:
            pointers.append({})
            continue
        where = places if parent == 0 else pointers[0]
        struct.pack_into(order + "I", data, where[tag] + 8, len(data))
        pointers.append(_put(data, order, values)[0])
    if first is not None:
        struct.pack_into(order + "I", data, following, len(data))
        number = struct.Struct(order + "I")
        sized = dict(first) | {0x201: (4, 1, bytes(4)), 0x202: (4, 1, number.pack(len(thumbnail)))}
        slots, _ = _put(data, order, sized)
        number.pack_into(data, slots[0x201] + 8, len(data))
        data += thumbnail
    return bytes(data)


def _put(data: bytearray, order: str, values: Values) -> tuple[dict[int, int], int]:
    """Append a directory and its values; return the offsets of its entries and next-directory field."""
    start = len(data)
    data += struct.pack(order + "H", len(values)) + bytes(12 * len(values) + 4)
    slots = {}
    for number, (tag, (kind, count, raw)) in enumerate(sorted(values.items())):
        slots[tag] = start + 2 + 12 * number
        inline = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(order + "I", len(data))
        struct.pack_into(order + "HHI4s", data, slots[tag], tag, kind, count, inline)
        if len(raw) > 4:
            data += raw + b"\0" * (len(raw) % 2)
    return slots, start + 2 + 12 * len(values)


def ascii_text(text: str) -> tuple[int, int, bytes]:
    raw = text.encode() + b"\0"
    return 2, len(raw), raw


def windows_text(text: str) -> tuple[int, int, bytes]:
    raw = text.encode("utf-16-le")
    return 1, len(raw), raw


def number(order: str, value: int, kind: int = 3) -> tuple[int, int, bytes]:
    return kind, 1, struct.pack(order + {3: "H", 4: "I"}[kind], value)


def camera_block(order: str) -> bytes:
    rational = struct.pack(order + "II", 72, 1)
    return block(
        {0x10F: ascii_text("Maker"), 0x112: number(order, 6), 0x11A: (5, 1, rational)},
        order=order,
        exif={
            0x9000: (7, 4, b"0230"),
            0x9003: ascii_text("2019:05:04 10:11:12"),
            0x9101: (7, 4, b"\1\2\3\0"),
            0x9204: (10, 1, struct.pack(order + "ii", -1, 3)),
            0xA002: number(order, 4000),
            0xA003: number(order, 3000, kind=4),
            0xA300: (7, 1, b"\3"),
            0xA301: (7, 1, b"\1"),
        },
        gps={0: (1, 4, b"\2\2\0\0"), 29: ascii_text("2019:05:04")},
        interop={1: ascii_text("R98"), 2: (7, 4, b"0100")},
        first={0x103: number(order, 6)},
        thumbnail=THUMBNAIL,
    )


LETTERS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 7: "s", 9: "i", 10: "ii", 11: "f", 12: "d"}
# The type that each tag should have; generated blocks have others too.
# fmt: off
MAIN_KINDS = {
    0x000B: 2, 0x0100: 4, 0x0102: 3, 0x010E: 2, 0x010F: 2, 0x0112: 3, 0x011A: 5, 0x0132: 2, 0x02BC: 1,
    0x4746: 3, 0x8298: 2, 0x8773: 7, 0x9C9B: 1, 0x9C9E: 1, 0xC000: 2, 0xC61A: 5, 0xC621: 10, 0xC6FA: 11,
    0xEA1C: 7, 0xECBE: 9, 0xECC2: 12
}
EXIF_KINDS = {
    0x829A: 5, 0x8822: 3, 0x8827: 3, 0x9000: 7, 0x9003: 2, 0x9101: 7, 0x9204: 10, 0x9286: 7, 0xA002: 4,
    0xA003: 3, 0xA300: 7, 0xA301: 7, 0xA432: 5, 0xA460: 3
}
# fmt: on
GPS_KINDS = {0: 1, 1: 2, 2: 5, 3: 2, 4: 5, 18: 2, 27: 7, 29: 2, 31: 5}


@st.composite
def values(draw: st.DrawFn, order: str, kinds: Mapping[int, int]) -> Values:
    entries = {}
    for tag in draw(st.lists(st.sampled_from(sorted(kinds)), max_size=6, unique=True)):
        odd = draw(st.integers(0, 40)) == 0
        kind, count = draw(st.sampled_from(sorted(LETTERS))) if odd else kinds[tag], draw(st.integers(1, 5))
        size = struct.calcsize("<" + LETTERS[kind]) * count
        raw = draw(st.binary(min_size=size, max_size=size))
        entries[tag] = (kind, count, raw[:-1] + b"\0" if kind == 2 else raw)
    return entries


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    order = draw(st.sampled_from("<>"))
    return block(
        draw(values(order, MAIN_KINDS)),
        order=order,
        exif=draw(st.none() | values(order, EXIF_KINDS)),
        gps=draw(st.none() | values(order, GPS_KINDS)),
        interop=draw(st.none() | values(order, {1: 2, 2: 7})),
        first=draw(st.none() | values(order, {0x103: 3, 0x112: 3, 0x11A: 5})),
        thumbnail=draw(st.binary(min_size=3, max_size=40)),
    )


def add_check_remove_check(before: bytes | None, tag_fields: TagFields) -> bool:
    """Add and remove the values and check both results. Returns False if the block is refused."""
    try:
        after, added = add(before, tag_fields)
    except WriteRefused as unsafe:
        return not unsafe.text
    assert insertion_difference(before, after, added) is None
    assert add(after, tag_fields)[1] == ()
    if after is not None:
        left = remove(after, added)
        assert insertion_difference(left, after, added) is None
    return True
