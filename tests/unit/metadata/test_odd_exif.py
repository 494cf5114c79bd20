"""EXIF blocks that begin oddly, or have odd numbers: as exiftool reads them."""

import json
import shutil
import struct
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.containers import jpeg_segment
from rig.containers import png_chunk as chunk
from support.format_photos import encode_photo

from tagger.metadata.camera import camera_facts
from tagger.metadata.errors import WriteRefused
from tagger.metadata.photo_files import photo_fields
from tagger.photos.jpeg import EXIF, XMP, jpeg_exif

TAKEN_AT = datetime(2019, 7, 14, 10, 20, 30)  # noqa: DTZ001 - local time


def block(*, gps_kind: int = 5) -> bytes:
    """An EXIF block with a time and a position, whose numbers are rational, float or double."""
    form = {5: "<II", 11: "<f", 12: "<d"}[gps_kind]
    coordinates = [
        b"".join(struct.pack(form, part, *[1][: gps_kind == 5]) for part in parts)
        for parts in ((43, 8, 18), (4, 48, 16))
    ]
    taken = b"2019:07:14 10:20:30\0"

    def directory(*tags: tuple[int, int, int, bytes]) -> bytes:
        entries = (struct.pack("<HHI4s", tag, kind, count, slot) for tag, kind, count, slot in tags)
        return struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)

    def offset(value: int) -> bytes:
        return struct.pack("<I", value)

    at_exif = 8 + 2 + 2 * 12 + 4
    at_gps = at_exif + 2 + 12 + 4
    at_values = at_gps + 2 + 4 * 12 + 4
    at_first, at_second = at_values + len(taken), at_values + len(taken) + len(coordinates[0])
    return b"".join(
        (
            b"II*\0" + offset(8),
            directory((0x8769, 4, 1, offset(at_exif)), (0x8825, 4, 1, offset(at_gps))),
            directory((0x9003, 2, 20, offset(at_values))),
            directory(
                *((1, 2, 2, b"N"), (2, gps_kind, 3, offset(at_first))),
                *((3, 2, 2, b"E"), (4, gps_kind, 3, offset(at_second))),
            ),
            *(taken, *coordinates),
        )
    )


def png(*chunks: bytes) -> bytes:
    data = encode_photo("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def jpeg(*payloads: bytes) -> bytes:
    data = encode_photo("JPEG")
    return data[:2] + b"".join(jpeg_segment(0xE1, payload) for payload in payloads) + data[2:]


def check(data: bytes) -> None:
    facts = camera_facts(data)
    assert facts.taken_at == TAKEN_AT
    assert (facts.latitude, facts.longitude) == pytest.approx((43.1383333, 4.8044444), abs=1e-5)


def exiftool(file: Path) -> dict[str, object]:
    (answer,) = exiftool_answers(file)
    return answer


def exiftool_answers(path: Path) -> list[dict[str, object]]:
    """What exiftool reads in a file, or in each file of a folder."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    command = ["exiftool", "-json", "-n", "-DateTimeOriginal", "-GPSLatitude", str(path)]
    answers: list[dict[str, object]] = json.loads(
        subprocess.run(command, capture_output=True, check=True).stdout
    )
    return answers


def test_exif_that_begins_as_in_jpeg_is_read(tmp_path: Path) -> None:
    data = png(chunk(b"eXIf", EXIF + block()))
    check(data)
    (tmp_path / "a.png").write_bytes(data)
    assert exiftool(tmp_path / "a.png")["DateTimeOriginal"] == "2019:07:14 10:20:30"
    check(jpeg(EXIF + EXIF + block()))


XMP_OF_TIME = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    b'exif:DateTimeOriginal="2019-07-14T10:20:30" exif:GPSLatitude="43,8.3N" exif:GPSLongitude="4,48.266667E"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
IPTC_OF_TIME = b"\x1c\x02\x37\0\x0820190714\x1c\x02\x3c\0\x06102030"
PROFILES = {
    "exif": ("exif", EXIF + block()),
    "exif alone": ("exif", block()),
    "APP1": ("APP1", EXIF + block()),
    "APP1 with XMP": ("APP1", XMP + XMP_OF_TIME),
    "xmp": ("xmp", XMP_OF_TIME),
    "iptc": ("iptc", b"8BIM\x04\x04\0\0" + len(IPTC_OF_TIME).to_bytes(4, "big") + IPTC_OF_TIME + b"\0"),
    "iptc alone": ("iptc", IPTC_OF_TIME),
}


FORMS: dict[bytes, Callable[[bytes], bytes]] = {
    b"tEXt": lambda text: text,
    b"zTXt": lambda text: b"\0" + zlib.compress(text),
    b"iTXt": lambda text: b"\0\0\0translated\0" + text,
    b"packed iTXt": lambda text: b"\1\0\0\0" + zlib.compress(text),
}
# How programs write the lines before the digits, with the name and the size of the profile.
HEADERS = (
    "\n{name}\n{size:8}\n",
    "{name}\n{size}\n",
    "\r\n{name}\r\n{size}\r\n",
    "\ngeneric profile\n{size} ",
)
USUAL_HEADER = HEADERS[0]


def profile(
    form: bytes,
    name: str,
    content: bytes,
    *,
    header: str = USUAL_HEADER,
    line_digits: int = 72,
    is_upper: bool = False,
) -> bytes:
    """A text of a PNG with a block, as ImageMagick writes it."""
    digits = content.hex().upper() if is_upper else content.hex()
    lines = "\n".join(digits[at : at + line_digits] for at in range(0, len(digits), line_digits))
    text = header.format(name=name, size=len(content)) + lines + "\n"
    return text_chunk(form, name, text.encode())


def text_chunk(form: bytes, name: str, text: bytes) -> bytes:
    return chunk(form[-4:], f"Raw profile type {name}".encode() + b"\0" + FORMS[form](text))


@pytest.mark.parametrize("form", FORMS, ids=bytes.decode)
@pytest.mark.parametrize(("name", "content"), PROFILES.values(), ids=PROFILES)
def test_profiles_of_imagemagick_are_read(form: bytes, name: str, content: bytes, tmp_path: Path) -> None:
    data = png(profile(form, name, content))
    if name == "iptc":
        assert camera_facts(data).taken_at == TAKEN_AT
    else:
        check(data)
    assert photo_fields(data)
    assert camera_facts(png(profile(form, name, content)[:-60])).taken_at is None
    (tmp_path / "a.png").write_bytes(data)
    if name != "iptc":
        assert str(exiftool(tmp_path / "a.png")["DateTimeOriginal"])[:10] == "2019:07:14"


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("line_digits", [71, 80, 99_999])
@pytest.mark.parametrize("is_upper", [False, True])
def test_profiles_are_read_in_every_form(header: str, line_digits: int, is_upper: bool) -> None:
    for name, content in PROFILES.values():
        for spelling in (name, name.lower(), name.upper()):
            options = {"header": header, "line_digits": line_digits, "is_upper": is_upper}
            data = png(profile(b"zTXt", spelling, content, **options))
            assert camera_facts(data).taken_at == TAKEN_AT


def test_profiles_are_read_as_exiftool_reads_them(tmp_path: Path) -> None:
    contents = [each for each in PROFILES.values() if each[0] != "iptc"]
    for number, (name, content) in enumerate(contents):
        text = profile(b"tEXt", name, content, line_digits=71, is_upper=True)
        (tmp_path / f"{number}.png").write_bytes(png(text))
    answers = exiftool_answers(tmp_path)
    assert [str(answer["DateTimeOriginal"])[:10] for answer in answers] == ["2019:07:14"] * len(contents)


def test_exif_and_xmp_may_be_in_profiles_of_one_name() -> None:
    other = XMP_OF_TIME.replace(b"2019", b"2001")
    data = png(profile(b"tEXt", "APP1", XMP + other), profile(b"tEXt", "APP1", EXIF + block()))
    check(data)
    assert photo_fields(data)["XMP:exif:DateTimeOriginal"] == "2001-07-14T10:20:30"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\nexif\n",
        b"\nexif\n      12\n",
        b"\nexif\n      12\n456",
        b"\nexif\n     many\n" + block().hex().encode(),
        b"\nexif\n%d\n" % len(block()) + block().hex().encode()[:-1],
        b"\nexif\n%d\nxy" % len(block()) + block().hex().encode(),
        b"\nexif\n" + b"9" * 1000,
    ],
    ids=["empty", "no size", "no digits", "odd", "no number", "cut", "letters", "long number"],
)
def test_broken_profiles_hold_nothing(text: bytes) -> None:
    for form in FORMS:
        data = png(text_chunk(form, "exif", text))
        assert camera_facts(data) == camera_facts(png())
        assert photo_fields(data) == {}


@pytest.mark.parametrize("digits", [2**24 - 100, 2**26])
def test_packed_profiles_take_little_memory(digits: int) -> None:
    text = b"\nexif\n%d\n" % (digits // 2) + b"0" * digits
    data = png(*[text_chunk(b"zTXt", "exif", text)] * 99)
    tracemalloc.start()
    assert camera_facts(data) == camera_facts(png())
    assert tracemalloc.get_traced_memory()[1] < 96 * 2**20
    tracemalloc.stop()


@given(
    data=st.data(), form=st.sampled_from(list(FORMS)), name=st.sampled_from(["exif", "APP1", "xmp", "iptc"])
)
def test_no_profile_makes_reading_fail(data: st.DataObject, form: bytes, name: str) -> None:
    _, content = data.draw(st.sampled_from(list(PROFILES.values())))
    text = bytearray(f"\n{name}\n{len(content):8}\n{content.hex()}".encode())
    for at in data.draw(st.lists(st.integers(0, len(text) - 1), max_size=9)):
        text[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(text)))
    photo = png(text_chunk(form, name, bytes(text[:cut])))
    camera_facts(photo)
    with suppress(WriteRefused):  # for XMP that is no XML
        photo_fields(photo)


def test_the_blocks_of_the_standard_come_before_profiles() -> None:
    other = profile(b"zTXt", "exif", block().replace(b"2019", b"2001"))
    check(png(other, chunk(b"eXIf", block())))


@pytest.mark.parametrize("empty", [b"", b"II*\0\x08\0\0\0", b"II*\0\x08\0\0\0" + bytes(6), bytes(40)])
def test_an_empty_block_before_the_real_one_is_passed_over(empty: bytes, tmp_path: Path) -> None:
    data = jpeg(EXIF + empty, EXIF + block())
    check(data)
    assert jpeg_exif(data) == block()
    (tmp_path / "a.jpg").write_bytes(data)
    assert exiftool(tmp_path / "a.jpg")["GPSLatitude"] == pytest.approx(43.1383333, abs=1e-5)
    check(png(chunk(b"eXIf", empty), chunk(b"eXIf", block())))


def test_no_block_but_empty_ones_is_the_first() -> None:
    assert jpeg_exif(jpeg(EXIF + b"a", EXIF + b"b")) == b"a"


@pytest.mark.parametrize("gps_kind", [11, 12])
def test_gps_as_floating_point_numbers_is_read(gps_kind: int, tmp_path: Path) -> None:
    data = jpeg(EXIF + block(gps_kind=gps_kind))
    check(data)
    (tmp_path / "a.jpg").write_bytes(data)
    assert exiftool(tmp_path / "a.jpg")["GPSLatitude"] == pytest.approx(43.1383333, abs=1e-5)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0, 1e300])
def test_no_position_of_numbers_that_are_none(number: float) -> None:
    data = block(gps_kind=12).replace(struct.pack("<d", 43), struct.pack("<d", number))
    assert camera_facts(jpeg(EXIF + data)).latitude is None


@pytest.mark.parametrize(
    "name",
    [
        *("png-exif-chunk-with-preamble.png", "jpeg-gps-as-double.jpg"),
        "png-exif-in-raw-profile-ztxt.png",
    ],
)
def test_reported_files_have_their_facts(test_data: Path, name: str) -> None:
    check((test_data / "reports" / name).read_bytes())
