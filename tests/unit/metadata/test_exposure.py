"""How a photo was exposed, from its EXIF."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from tagger.metadata.camera import Exposure, read_exposure


def exposed(**values: object) -> bytes:
    exif = Image.Exif()
    numbers = {"time": 0x829A, "aperture": 0x829D, "iso": 0x8827, "focal": 0x920A, "lens": 0xA434}
    exif.get_ifd(0x8769).update({numbers[name]: value for name, value in values.items()})
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=exif)
    return out.getvalue()


def test_an_exposure_is_written_as_photographers_do() -> None:
    rational = TiffImagePlugin.IFDRational
    data = exposed(time=rational(1, 250), aperture=rational(28, 10), iso=400, focal=50.0, lens="EF 50mm")
    found = read_exposure(data)
    assert (found.text, found.lens) == ("1/250 s · f/2.8 · ISO 400 · 50 mm", "EF 50mm")
    assert read_exposure(exposed(time=2.0)).text == "2 s"


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", exposed(), exposed(iso=0, lens="\0")])
def test_without_facts_there_is_no_exposure(data: bytes) -> None:
    assert read_exposure(data) == Exposure()


@given(st.integers(20, 120), st.binary(max_size=40))
def test_damaged_exif_is_read_without_an_error(start: int, damage: bytes) -> None:
    data = exposed(time=0.01, iso=100, lens="x")
    read_exposure(data[:start] + damage + data[start + len(damage) :])
