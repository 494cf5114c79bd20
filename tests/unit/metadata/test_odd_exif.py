"""EXIF blocks that begin oddly, or have odd numbers: as exiftool reads them."""

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

from tagger.metadata.camera import camera_facts
from tagger.metadata.photo_fields import photo_fields
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
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    command = ["exiftool", "-json", "-n", "-DateTimeOriginal", "-GPSLatitude", str(file)]
    answer: dict[str, object] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[0]
    return answer


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


def profile(kind: bytes, name: str, content: bytes) -> bytes:
    """A text of a PNG with a block, as ImageMagick writes it."""
    digits = content.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = f"\n{name}\n{len(content):8}\n{lines}\n".encode()
    form = {b"tEXt": text, b"zTXt": b"\0" + zlib.compress(text), b"iTXt": b"\1\0\0\0" + zlib.compress(text)}
    return chunk(kind, f"Raw profile type {name}".encode() + b"\0" + form[kind])


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"], ids=bytes.decode)
@pytest.mark.parametrize(("name", "content"), PROFILES.values(), ids=PROFILES)
def test_profiles_of_imagemagick_are_read(kind: bytes, name: str, content: bytes, tmp_path: Path) -> None:
    data = png(profile(kind, name, content))
    if name == "iptc":
        assert camera_facts(data).taken_at == TAKEN_AT
    else:
        check(data)
    assert photo_fields(data)
    assert camera_facts(png(profile(kind, name, content)[:-60])).taken_at is None
    (tmp_path / "a.png").write_bytes(data)
    if kind != b"iTXt" and "alone" not in name and name != "iptc":
        assert str(exiftool(tmp_path / "a.png")["DateTimeOriginal"])[:10] == "2019:07:14"


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
