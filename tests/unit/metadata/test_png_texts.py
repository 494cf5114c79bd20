"""Facts of PNG files in texts, and of blocks that begin oddly: as exiftool and exiv2 read them."""

import json
import shutil
import struct
import subprocess
import zlib
from datetime import datetime
from pathlib import Path

import pytest
from rig.containers import jpeg_segment
from rig.containers import png_chunk as chunk
from support.format_photos import encode_photo

from tagger.metadata.camera import CameraFacts, camera_facts
from tagger.metadata.formats.jpeg_segments import EXIF, XMP
from tagger.photos.jpeg import jpeg_exif

TAKEN_AT = datetime(2019, 7, 14, 10, 20, 30)  # noqa: DTZ001 - local time
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:DateTimeOriginal="2019-07-14T10:20:30"'
    b' exif:GPSLatitude="43,8.3N" exif:GPSLongitude="4,48.266667E"/></rdf:RDF></x:xmpmeta>'
)
KINDS = ("tEXt", "zTXt", "iTXt", "packed iTXt")


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


def raw_profile(content: bytes, name: bytes = b"exif") -> bytes:
    """As ImageMagick writes it: 36 bytes a line."""
    digits = content.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return b"\n%b\n%8d\n%b\n" % (name, len(content), lines)


def text_chunk(kind: str, keyword: bytes, text: bytes) -> bytes:
    content = {
        "tEXt": keyword + b"\0" + text,
        "zTXt": keyword + b"\0\0" + zlib.compress(text),
        "iTXt": keyword + b"\0\0\0\0word\0" + text,
        "packed iTXt": keyword + b"\0\1\0\0\0" + zlib.compress(text),
    }[kind]
    return chunk(kind[-4:].encode(), content)


def png(*chunks: bytes, is_behind: bool = False) -> bytes:
    data = encode_photo("PNG")
    at = len(data) - 12 if is_behind else 33
    return data[:at] + b"".join(chunks) + data[at:]


def jpeg(*payloads: bytes) -> bytes:
    data = encode_photo("JPEG")
    return data[:2] + b"".join(jpeg_segment(0xE1, payload) for payload in payloads) + data[2:]


def check(data: bytes, *, has_position: bool = True) -> CameraFacts:
    facts = camera_facts(data)
    assert facts.taken_at == TAKEN_AT
    expected = (43.1383333, 4.8044444) if has_position else (None, None)
    assert (facts.latitude, facts.longitude) == (
        expected if expected[0] is None else pytest.approx(expected, abs=1e-5)
    )
    return facts


def exiftool(file: Path) -> dict[str, object]:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    command = ["exiftool", "-json", "-n", "-DateTimeOriginal", "-CreationTime", "-GPSLatitude", str(file)]
    answer: dict[str, object] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[0]
    return answer


PROFILES = {
    b"Raw profile type exif": EXIF + block(),
    b"Raw profile type APP1": EXIF + block(),
    b"Raw profile type xmp": PACKET,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keyword", PROFILES)
def test_raw_profiles_are_read_as_exiftool_reads_them(keyword: bytes, kind: str, tmp_path: Path) -> None:
    data = png(text_chunk(kind, keyword, raw_profile(PROFILES[keyword])))
    check(data)
    (tmp_path / "a.png").write_bytes(data)
    found = exiftool(tmp_path / "a.png")
    assert found["DateTimeOriginal"] == "2019:07:14 10:20:30"
    assert found["GPSLatitude"] == pytest.approx(43.1383333, abs=1e-5)


@pytest.mark.skipif(shutil.which("exiv2") is None, reason="exiv2 is not installed")
@pytest.mark.parametrize("keyword", [b"Raw profile type exif", b"Raw profile type APP1"])
def test_exiv2_reads_the_same_profiles(keyword: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(text_chunk("zTXt", keyword, raw_profile(PROFILES[keyword]))))
    command = ["exiv2", "-K", "Exif.Photo.DateTimeOriginal", "-Pv", str(tmp_path / "a.png")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "2019:07:14 10:20:30"


def test_other_forms_of_profiles_are_read() -> None:
    name = b"Raw profile type APP1"
    for data in (
        png(text_chunk("zTXt", name, raw_profile(block(), b"generic profile"))),
        png(text_chunk("tEXt", name, raw_profile(XMP + PACKET))),
        png(text_chunk("tEXt", b"Raw profile type exif", raw_profile(EXIF + block()).upper())),
        png(text_chunk("tEXt", b"Raw profile type exif", raw_profile(EXIF + block())), is_behind=True),
        png(text_chunk("zTXt", b"XML:com.adobe.xmp", PACKET)),
        png(chunk(b"iTXt", name + b"\0\0\0en\0\0" + raw_profile(EXIF + block()))),
        png(
            text_chunk("tEXt", name, raw_profile(b"")), text_chunk("zTXt", name, raw_profile(EXIF + block()))
        ),
        png(chunk(b"eXIf", b""), text_chunk("zTXt", name, raw_profile(EXIF + block()))),
    ):
        check(data)


def test_the_chunk_of_exif_comes_before_a_profile() -> None:
    other = block().replace(b"2019:07:14", b"2011:01:02")
    check(
        png(text_chunk("tEXt", b"Raw profile type exif", raw_profile(EXIF + other)), chunk(b"eXIf", block()))
    )


def test_exif_that_begins_as_in_jpeg_is_read(tmp_path: Path) -> None:
    data = png(chunk(b"eXIf", EXIF + block()))
    check(data)
    (tmp_path / "a.png").write_bytes(data)
    assert exiftool(tmp_path / "a.png")["DateTimeOriginal"] == "2019:07:14 10:20:30"
    check(jpeg(EXIF + EXIF + block()))


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "offset_s"),
    [
        ("2019:07:14 10:20:30", None),
        ("2019-07-14T10:20:30+02:00", 7200),
        ("Sun, 14 Jul 2019 10:20:30 +0200", 7200),
        ("14 July 2019 10:20:30 GMT", 0),
        ("Sun, 14 Jul 2019 10:20:30 EDT", None),
    ],
)
def test_the_time_of_creation_is_read(kind: str, text: str, offset_s: int | None, tmp_path: Path) -> None:
    data = png(text_chunk(kind, b"Creation Time", text.encode()))
    assert check(data, has_position=False).utc_offset_s == offset_s
    (tmp_path / "a.png").write_bytes(data)
    assert "10:20:30" in str(exiftool(tmp_path / "a.png")["CreationTime"])


def test_a_time_in_exif_comes_before_that_of_creation() -> None:
    data = png(text_chunk("tEXt", b"Creation Time", b"2011:01:02 03:04:05"), chunk(b"eXIf", block()))
    check(data)


def test_texts_that_unpack_to_much_or_are_damaged_give_no_facts() -> None:
    bomb = text_chunk("zTXt", b"Raw profile type exif", b"\nexif\n99\n" + b"0" * (64 * 2**20))
    assert len(bomb) < 2**17
    assert camera_facts(png(*[bomb] * 40)) == CameraFacts()
    damaged = text_chunk("zTXt", b"Raw profile type exif", raw_profile(EXIF + block()))
    for content in (b"Raw profile type exif\0\0junk", b"Raw profile type exif", b"Raw profile type exif\0"):
        assert camera_facts(png(chunk(b"zTXt", content), chunk(b"iTXt", content))) == CameraFacts()
    for cut in range(8, len(damaged), 7):
        camera_facts(png(damaged)[: 33 + cut])


@pytest.mark.parametrize(
    "name",
    ["png-exif-chunk-with-preamble.png", "png-exif-in-raw-profile-ztxt.png", "jpeg-gps-as-double.jpg"],
)
def test_reported_files_have_their_facts(test_data: Path, name: str) -> None:
    check((test_data / "reports" / name).read_bytes())


def test_a_reported_time_of_windows_is_read(test_data: Path) -> None:
    check((test_data / "reports" / "png-windows-creation-time.png").read_bytes(), has_position=False)
