"""Camera facts: valid time and position, or None."""

import io
import struct
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from support.drawing import draw_photo

from tagger.metadata import exif
from tagger.metadata.camera import CameraFacts, camera_facts
from tagger.metadata.tag_fields import NamedLandmark, make_tag_fields
from tagger.photos.containers import exif_of

PICTURE = draw_photo(5, (64, 48))
EIFFEL = {1: "N", 2: (48.0, 51.0, 30.24), 3: "E", 4: (2.0, 17.0, 40.2)}
EIFFEL_TOWER = NamedLandmark(
    "eiffel-tower", "Eiffel Tower", latitude=48.8584, longitude=2.2945, extent="point"
)
TAKEN = {36867: "2019:07:14 21:58:03"}


def photo(kind: str = "JPEG", *, exif: dict[int, object] = TAKEN, gps: dict[int, object] = EIFFEL) -> bytes:
    block = Image.Exif()
    block[271] = "a camera"
    block.get_ifd(0x8769).update(exif)
    block.get_ifd(0x8825).update(gps)
    file = io.BytesIO()
    PICTURE.save(file, kind, exif=block)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_time_and_position_are_read_from_every_format(kind: str) -> None:
    facts = camera_facts(photo(kind))
    assert facts.taken_at == datetime(2019, 7, 14, 21, 58, 3)  # noqa: DTZ001
    assert facts.latitude == pytest.approx(48.8584)
    assert facts.longitude == pytest.approx(2.2945)


def test_time_and_position_are_read_from_heic() -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    block = Image.open(io.BytesIO(photo())).info["exif"]
    file = io.BytesIO()
    heif.from_pillow(PICTURE).save(file, exif=block)
    assert camera_facts(file.getvalue()) == camera_facts(photo())


def test_time_and_position_are_read_from_tiff() -> None:
    block = Image.open(io.BytesIO(photo())).info["exif"].removeprefix(b"Exif\0\0")
    assert camera_facts(block) == camera_facts(photo())


def test_south_and_west_are_negative() -> None:
    facts = camera_facts(photo(gps={1: "S", 2: (22.0, 57.0, 6.0), 3: "W", 4: (43.0, 12.0, 37.0)}))
    assert facts.latitude == pytest.approx(-22.951667)
    assert facts.longitude == pytest.approx(-43.210278)


@pytest.mark.parametrize(
    "gps",
    [
        {},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},
        {2: (48.0, 51.0, 30.0), 4: (2.0, 17.0, 40.0)},
        {1: "N", 2: (48.0, 51.0, 30.0)},
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (2.0, 0.0, 0.0)},
        {1: "N", 2: (48.0, 0.0, 0.0), 3: "E", 4: (181.0, 0.0, 0.0)},
        {1: "x", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)},
        {1: "N", 2: (IFDRational(48, 0), 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)},
    ],
)
def test_invalid_position_is_absent(gps: dict[int, object]) -> None:
    facts = camera_facts(photo(gps=gps))
    assert (facts.latitude, facts.longitude) == (None, None)
    assert facts.taken_at is not None


def test_our_own_position_is_ignored() -> None:
    undated = photo(gps={})
    tag_fields = make_tag_fields([EIFFEL_TOWER], gps=True, description=True)
    block = exif.add(exif_of(undated), tag_fields).block
    assert block is not None
    assert "EXIF:GPSLatitude" in exif.read(block)  # stored, but not evidence
    assert camera_facts(block) == camera_facts(undated)
    assert camera_facts(block).taken_at == datetime(2019, 7, 14, 21, 58, 3)  # noqa: DTZ001
    assert camera_facts(photo(gps=EIFFEL | {27: b"ASCII\0\0\0GPS"})).latitude is not None


@pytest.mark.parametrize(
    "text",
    ["0000:00:00 00:00:00", "    :  :     :  :  ", "2019:13:40 25:61:61", "yesterday", "", "2019:07:14"],
)
def test_invalid_time_is_absent(text: str) -> None:
    assert camera_facts(photo(exif={36867: text})).taken_at is None


def test_digitisation_or_change_time_is_the_fallback() -> None:
    zeros = "0000:00:00 00:00:00"
    scanned = camera_facts(photo(exif={36867: zeros, 36868: "2001-02-03T04:05:06"}))
    assert scanned.taken_at == datetime(2001, 2, 3, 4, 5, 6)  # noqa: DTZ001
    block = Image.Exif()
    block[306] = "2011:12:13 14:15:16"
    file = io.BytesIO()
    PICTURE.save(file, "JPEG", exif=block)
    assert camera_facts(file.getvalue()).taken_at == datetime(2011, 12, 13, 14, 15, 16)  # noqa: DTZ001


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"text", b"\0\0\0\x18ftypavif" + bytes(40), b"II*\0\x08\0\0\0"]
)
def test_files_without_exif_have_no_camera_facts(data: bytes) -> None:
    assert camera_facts(data) == CameraFacts()


def test_circular_pointer_terminates() -> None:
    block = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8)
    assert camera_facts(block) == CameraFacts()


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_garbage_never_raises(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE[kind])
    start = max(data.find(b"MM\0*"), data.find(b"II*\0"))
    for where, value in changes:
        data[(start + where) % len(data)] = value
    facts = camera_facts(bytes(data))
    assert facts.latitude is None or -90 <= facts.latitude <= 90
    assert facts.longitude is None or -180 <= facts.longitude <= 180


WHOLE = {kind: photo(kind) for kind in ("JPEG", "PNG", "WEBP")}


def test_odd_files_never_raise(test_data: Path) -> None:
    paths = [path for path in sorted(test_data.glob("*/*/*")) if path.parts[-3] in ("exif", "hostile")]
    facts = [camera_facts(path.read_bytes()) for path in paths]
    assert sum(one.taken_at is not None for one in facts) > 80
    assert sum(one.latitude is not None for one in facts) > 15
