"""RAW photos without a preview: developed in a child process if the extra `raw` is installed, else told by a failure that names it."""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rig.drawing import draw_photo
from rig.mutations import broken
from rig.raw_files import LARGE, RawContent, bare_dng, bare_mrw, preview, raw_file

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure
from tagger.metadata.camera import camera_facts
from tagger.photos.containers import digest_photo
from tagger.photos.decoding import _TRANSPOSES, DecodedImage, Resize, decode_photo
from tagger.photos.decoding.raw_development import NoPreview
from tagger.photos.files import PhotoBytes
from tagger.photos.formats import RAW, Extra, detect_format
from tagger.photos.names import is_photo_name, is_raw_name
from tagger.pipeline.requests import Limits, open_bytes
from tagger.pipeline.sandbox import Sandbox

LIMITS = Limits(readers=1, max_bytes=10**7, max_pixels=10**6, timeout_s=60)
WHOLE = Resize(240, 240, "stretch")
DRAWING = draw_photo(1, LARGE)
OTHER_MAKERS = {".CRW": b"II\x1a\0\0\0HEAPCCDR", ".MRW": b"\0MRM", ".X3F": b"FOVb"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    pytest.importorskip("rawpy", reason="the extra `raw` is not installed")
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


def decoded(sandbox: Sandbox, data: bytes, limits: Limits = LIMITS) -> DecodedImage:
    return open_bytes(PhotoBytes(data, len(data), 0), limits, sandbox.decode).decode(WHOLE)


def failure(sandbox: Sandbox, data: bytes, limits: Limits = LIMITS) -> PhotoFailure:
    with pytest.raises(PhotoFailed) as caught:
        decoded(sandbox, data, limits)
    return caught.value.failure


def likeness(image: DecodedImage, expected: Image.Image) -> float:
    """The correlation of two images: developing brightens."""
    pixels = np.asarray(expected.resize((WHOLE.size, WHOLE.size)))
    return float(np.corrcoef(image.pixels.ravel(), pixels.ravel())[0, 1])


@pytest.mark.parametrize(("orientation", "colours"), [(1, 1), (4, 1), (5, 1), (6, 1), (6, 3)])
def test_a_photo_without_a_preview_is_developed_upright(
    sandbox: Sandbox, orientation: int, colours: int
) -> None:
    upright = DRAWING.transpose(_TRANSPOSES[orientation]) if orientation > 1 else DRAWING
    image = decoded(sandbox, bare_dng(DRAWING, orientation, colours=colours))
    assert (image.width, image.height) == upright.size
    assert likeness(image, upright) > 0.97


def test_a_photo_of_minolta_is_developed_upright_and_has_camera_facts(sandbox: Sandbox) -> None:
    upright = DRAWING.transpose(_TRANSPOSES[6])
    data = bare_mrw(DRAWING, 6)
    image = decoded(sandbox, data)
    assert (image.width, image.height) == upright.size
    assert likeness(image, upright) > 0.9
    assert camera_facts(data).model == "DiMAGE 7"
    assert camera_facts(data).taken_at == datetime(2024, 6, 1, 12, 30)  # noqa: DTZ001
    assert digest_photo(data.replace(b"2024:06:01", b"2024:06:02")) == digest_photo(data)
    assert digest_photo(data[:-1]) != digest_photo(data) != digest_photo(bare_mrw(DRAWING, 3))


def test_a_process_that_is_not_confined_never_loads_libraw(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="the extra `raw` is not installed")
    file = tmp_path / "a.dng"
    file.write_bytes(bare_dng(DRAWING))
    done = subprocess.run([sys.executable, "-c", DEVELOPS, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "480 False\n"), done.stderr


DEVELOPS = """
import sys
from pathlib import Path
from tagger.photos.decoding import Resize
from tagger.photos.files import PhotoBytes
from tagger.pipeline.requests import Limits, open_bytes
from tagger.pipeline.sandbox import Sandbox
photo, limits = PhotoBytes(Path(sys.argv[1]).read_bytes(), 1, 0), Limits(1, 10**7, 10**6)
with Sandbox(limits) as sandbox:
    print(open_bytes(photo, limits, sandbox.decode).decode(Resize(240, 224)).width, "rawpy" in sys.modules)
"""


def test_without_a_confined_process_nothing_is_developed() -> None:
    pytest.importorskip("rawpy", reason="the extra `raw` is not installed")
    with pytest.raises(NoPreview, match=r"this one has none\. Export it as JPEG"):
        decode_photo(bare_dng(DRAWING), WHOLE, max_pixels=10**6)


def test_a_preview_is_preferred(sandbox: Sandbox) -> None:
    shown = decode_photo(raw_file("dng"), WHOLE, max_pixels=10**6)
    assert np.array_equal(decoded(sandbox, raw_file("dng")).pixels, shown.pixels)
    assert np.array_equal(shown.pixels, decode_photo(preview(), WHOLE, max_pixels=10**6).pixels)


@pytest.mark.parametrize(
    ("kind", "failure_kind", "text"),
    [
        ("dng", FailureKind.UNSUPPORTED, "(Unsupported file format or not RAW file). Export it as JPEG."),
        ("nef", FailureKind.TRUNCATED, "Copy it again from where it came from."),
        ("pef", FailureKind.CORRUPT, "the data of its sensor are damaged. Restore it from a backup."),
    ],
)
def test_what_libraw_does_not_read_is_told(
    sandbox: Sandbox, kind: str, failure_kind: FailureKind, text: str
) -> None:
    nothing = RawContent(large=b"no JPEG", middle=b"no JPEG", thumbnail=b"no JPEG")
    found = failure(sandbox, raw_file(kind, nothing))
    assert found.kind is failure_kind
    assert found.text.endswith(text)


@pytest.mark.parametrize(
    "data", [bare_dng(DRAWING, sensor_bytes=1000), *(head + bytes(1000) for head in OTHER_MAKERS.values())]
)
def test_a_photo_without_the_data_of_its_sensor_fails(sandbox: Sandbox, data: bytes) -> None:
    assert failure(sandbox, data).kind in (FailureKind.TRUNCATED, FailureKind.UNSUPPORTED)


def test_a_photo_with_too_many_pixels_is_not_developed() -> None:
    pytest.importorskip("rawpy", reason="the extra `raw` is not installed")
    limits = Limits(readers=1, max_bytes=10**7, max_pixels=1000)
    with Sandbox(limits) as small:
        assert failure(small, bare_dng(DRAWING), limits).kind is FailureKind.TOO_MANY_PIXELS


def test_damaged_photos_fail_alone(sandbox: Sandbox) -> None:
    files = [bare_dng(DRAWING.resize((96, 64)), colours=colours) for colours in (1, 3)]
    rng = random.Random(1)
    for _ in range(60):
        with suppress(PhotoFailed):
            decoded(sandbox, broken(rng.choice(files), files, rng))
    assert decoded(sandbox, files[0]).width == 96


def test_raw_files_of_other_makers_are_photos_where_they_can_be_developed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for extension, head in OTHER_MAKERS.items():
        assert detect_format(head + bytes(300)) is RAW
        assert is_raw_name(f"a{extension}")
        for installed in (True, False):
            monkeypatch.setattr(Extra, "is_installed", installed)
            assert is_photo_name(f"a{extension}") is installed


def test_without_the_extra_the_failure_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Extra, "is_installed", False)
    for data in (bare_dng(DRAWING), *(head + bytes(300) for head in OTHER_MAKERS.values())):
        with pytest.raises(PhotoFailed, match="install the extra raw") as failed:
            decode_photo(data, WHOLE, max_pixels=10**6)
        assert failed.value.failure.kind is FailureKind.UNSUPPORTED
