"""RAW photos: their largest preview or, without one, developed; identified by their sensor's data; broken ones fail alone."""

import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image
from rig.containers import encode_image
from rig.drawing import draw_photo
from rig.mutations import broken
from rig.raw_files import (
    LARGE,
    MIDDLE,
    RAW_KINDS,
    SENSOR,
    THUMBNAIL,
    RawContent,
    TiffFile,
    bare_dng,
    bare_mrw,
    box,
    preview,
    raw_file,
)
from support.decoding import traced_bytes
from support.examples import examples

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure
from tagger.metadata.camera import camera_facts
from tagger.metadata.formats import read_blocks
from tagger.photos.decoding import _TRANSPOSES, DecodedImage, Pixels, Resize, decode_photo
from tagger.photos.decoding.raw_development import NoPreview
from tagger.photos.files import PhotoBytes
from tagger.photos.formats import HEAD_BYTES, RAW, TIFF, Extra, detect_format, digest_photo, orientation_in
from tagger.photos.names import is_photo_name, is_raw_name
from tagger.photos.raw import read_raw
from tagger.pipeline import Limits, open_bytes
from tagger.pipeline.sandbox import Sandbox

MAX_PIXELS = 10**6
RESIZE = Resize(240, 224)
SEVERAL_PREVIEWS = ("dng", "cr3", "nef", "arw", "pef")
SMALL = preview(THUMBNAIL)


def shown(data: bytes) -> Pixels:
    return decode_photo(data, Resize(240, 240, "stretch"), max_pixels=MAX_PIXELS).pixels


def failure(data: bytes, max_pixels: int = MAX_PIXELS) -> PhotoFailure:
    with pytest.raises(PhotoFailed) as caught:
        decode_photo(data, RESIZE, max_pixels=max_pixels)
    return caught.value.failure


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_raw_files_are_listed_and_detected_and_their_camera_facts_read(kind):
    assert is_photo_name(f"IMG_1.{kind.upper()}")
    assert detect_format(raw_file(kind)) is RAW
    # No format that browsers show:
    assert detect_format(raw_file(kind)[:HEAD_BYTES]) in (RAW, TIFF)
    facts = camera_facts(raw_file(kind))
    assert facts.taken_at == datetime(2024, 6, 1, 12, 30)  # noqa: DTZ001
    assert (facts.utc_offset_s, facts.model, facts.serial) == (7200, "Camera 1", "S-12345")
    assert (facts.latitude, facts.longitude) == (pytest.approx(48.858333), pytest.approx(2.294444))


@pytest.mark.parametrize("options", [{}, {"compression": "jpeg"}])
def test_other_tiffs_are_no_raw_files(options):
    image = Image.frombytes("RGB", (64, 64), b"IMC" * (64 * 64))
    tiff = encode_image(image, "TIFF", save_all=True, append_images=[image], **options)
    assert detect_format(tiff) is TIFF


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_the_largest_preview_is_shown_wherever_it_is(kind):
    assert np.array_equal(shown(raw_file(kind)), shown(preview()))
    if kind in SEVERAL_PREVIEWS:
        swapped = raw_file(kind, RawContent(large=preview(MIDDLE), middle=preview(LARGE)))
        assert decode_photo(swapped, RESIZE, max_pixels=MAX_PIXELS).width == LARGE[0]


@pytest.mark.parametrize("kind", SEVERAL_PREVIEWS)
def test_a_preview_above_the_limit_is_left_for_the_next(kind):
    limit = MIDDLE[0] * MIDDLE[1]
    assert decode_photo(raw_file(kind), RESIZE, max_pixels=limit).width == MIDDLE[0]
    assert failure(raw_file(kind), max_pixels=1000).kind is FailureKind.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_thumbnails_sensor_data_and_lossless_jpegs_are_no_preview(kind):
    thumbnail = failure(raw_file(kind, RawContent(large=SMALL, middle=SMALL)))
    assert thumbnail.kind is FailureKind.UNSUPPORTED
    assert "only a thumbnail of 160 x 120 pixels" in thumbnail.text
    nothing = RawContent(large=b"no JPEG", middle=b"\xff\xd8\xff\xd9", thumbnail=b"\xff")
    assert "this one has none" in failure(raw_file(kind, nothing)).text
    sensor = RawContent(large=SMALL, middle=SMALL, sensor=preview((960, 640)))
    if kind not in ("cr2", "cr3", "orf"):  # those do not say what an image is for
        assert failure(raw_file(kind, sensor)).kind is FailureKind.UNSUPPORTED


@pytest.mark.parametrize("kind", RAW_KINDS)
@pytest.mark.parametrize("orientation", [5, 6])
def test_previews_are_turned_upright_by_the_orientation_of_the_file(kind, orientation):
    data = raw_file(kind, RawContent(orientation=orientation))
    exif = Image.Exif()
    exif[274] = orientation
    assert np.array_equal(shown(data), shown(preview(exif=exif)))
    if kind != "raf":  # the orientation of the file precedes that of its preview
        exif[274] = 3
        data = raw_file(kind, RawContent(large=preview(exif=exif), orientation=orientation))
    assert orientation_in(data) == orientation


def test_facts_come_from_the_preview_where_the_file_has_none():
    exif = Image.Exif()
    exif[274], exif[272] = 3, "Of the preview"
    tiff = TiffFile()
    below = tiff.directory(tiff.strip(SENSOR, 1, 32803))
    for large, model, orientation in (
        (preview(exif=exif), "Of the preview", 3),
        (preview(), "Of the file", 6),
    ):
        main = {272: tiff.text("Of the file"), 274: tiff.short(6), 330: tiff.long(below)}
        data = tiff.ending_at(tiff.directory(main | tiff.strip(large, 7, 6)))
        assert (camera_facts(data).model, orientation_in(data)) == (model, orientation)


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_the_digest_is_that_of_sensor_data_and_orientation(kind):
    raw = RawContent()
    digest = digest_photo(raw_file(kind, raw))
    same = replace(raw, large=preview(LARGE, seed=2), middle=preview(MIDDLE, seed=2), xmp=b"<x/>")
    assert digest_photo(raw_file(kind, same)) == digest
    assert digest_photo(raw_file(kind, replace(raw, orientation=8))) != digest
    assert digest_photo(raw_file(kind, replace(raw, sensor=SENSOR[:-1] + b"\0"))) != digest


@pytest.mark.parametrize("kind", ["cr3", "raf"])  # where the sensor's data are at the end
def test_a_file_whose_sensor_data_are_cut_off_or_scraps_is_another_photo(kind):
    data = raw_file(kind)
    assert read_raw(data[:-1]).image == ()
    assert digest_photo(data[:-1]) not in (digest_photo(data), digest_photo(data[:-2]))
    one, other = (raw_file("nef", RawContent(large=preview(seed=seed), sensor=bytes(9))) for seed in (1, 2))
    assert read_raw(one).image == ()
    assert digest_photo(one) != digest_photo(other)


@pytest.mark.parametrize("kind", ["cr2", "iiq", "orf", "raf", "rw2"])
def test_a_file_that_ends_before_its_directories_is_truncated(kind):
    with pytest.raises(PhotoFailed, match="ends before its preview does") as failure:
        decode_photo(raw_file(kind)[:100], RESIZE, max_pixels=MAX_PIXELS)
    assert failure.value.failure.kind is FailureKind.TRUNCATED


def test_a_cut_off_file_is_shown_by_a_smaller_preview_that_is_whole():
    data = raw_file("cr3")
    cut = data[: data.find(preview()) + 1000]
    assert decode_photo(cut, RESIZE, max_pixels=MAX_PIXELS).width == MIDDLE[0]
    for end in (data.find(b"PRVW"), data.find(preview(MIDDLE)) + 1000):
        assert failure(data[:end]).kind is FailureKind.TRUNCATED


LIMITS = Limits(readers=1, max_bytes=10**7, max_pixels=MAX_PIXELS, timeout_s=60)
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


def failure_without_preview(sandbox: Sandbox, data: bytes, limits: Limits = LIMITS) -> PhotoFailure:
    with pytest.raises(PhotoFailed) as caught:
        decoded(sandbox, data, limits)
    return caught.value.failure


def likeness(image: DecodedImage, expected: Image.Image) -> float:
    """The correlation of two images: developing brightens."""
    pixels = np.asarray(expected.resize((WHOLE.size, WHOLE.size)))
    return float(np.corrcoef(image.pixels.ravel(), pixels.ravel())[0, 1])


@pytest.mark.parametrize(("orientation", "colours"), [(1, 1), (4, 1), (5, 1), (6, 1), (6, 3)])
def test_a_photo_without_a_preview_is_developed_upright(sandbox, orientation, colours):
    upright = DRAWING.transpose(_TRANSPOSES[orientation]) if orientation > 1 else DRAWING
    image = decoded(sandbox, bare_dng(DRAWING, orientation, colours=colours))
    assert (image.width, image.height) == upright.size
    assert likeness(image, upright) > 0.97


def test_a_photo_of_minolta_is_developed_upright_and_has_camera_facts(sandbox):
    upright = DRAWING.transpose(_TRANSPOSES[6])
    data = bare_mrw(DRAWING, 6)
    image = decoded(sandbox, data)
    assert (image.width, image.height) == upright.size
    assert likeness(image, upright) > 0.9
    assert camera_facts(data).model == "DiMAGE 7"
    assert camera_facts(data).taken_at == datetime(2024, 6, 1, 12, 30)  # noqa: DTZ001
    assert digest_photo(data.replace(b"2024:06:01", b"2024:06:02")) == digest_photo(data)
    assert digest_photo(data[:-1]) != digest_photo(data) != digest_photo(bare_mrw(DRAWING, 3))


def test_a_process_that_is_not_confined_never_loads_libraw(tmp_path):
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
from tagger.pipeline import Limits, open_bytes
from tagger.pipeline.sandbox import Sandbox
photo, limits = PhotoBytes(Path(sys.argv[1]).read_bytes(), 1, 0), Limits(1, 10**7, 10**6)
with Sandbox(limits) as sandbox:
    print(open_bytes(photo, limits, sandbox.decode).decode(Resize(240, 224)).width, "rawpy" in sys.modules)
"""


def test_nothing_unconfined_or_too_large_is_developed():
    pytest.importorskip("rawpy", reason="the extra `raw` is not installed")
    with pytest.raises(NoPreview, match=r"this one has none\. Export it as JPEG"):
        decode_photo(bare_dng(DRAWING), WHOLE, max_pixels=MAX_PIXELS)
    limits = Limits(readers=1, max_bytes=10**7, max_pixels=1000)
    with Sandbox(limits) as small:
        assert failure_without_preview(small, bare_dng(DRAWING), limits).kind is FailureKind.TOO_MANY_PIXELS


def test_previews_are_preferred_and_damaged_photos_fail_alone(sandbox):
    shown = decode_photo(raw_file("dng"), WHOLE, max_pixels=MAX_PIXELS)
    assert np.array_equal(decoded(sandbox, raw_file("dng")).pixels, shown.pixels)
    assert np.array_equal(shown.pixels, decode_photo(preview(), WHOLE, max_pixels=MAX_PIXELS).pixels)
    files = [bare_dng(DRAWING.resize((96, 64)), colours=colours) for colours in (1, 3)]
    rng = random.Random(1)
    for _ in range(60):
        with suppress(PhotoFailed):
            decoded(sandbox, broken(rng.choice(files), files, rng))
    assert decoded(sandbox, files[0]).width == 96


@pytest.mark.parametrize(
    ("kind", "failure_kind", "text"),
    [
        ("dng", FailureKind.UNSUPPORTED, "(Unsupported file format or not RAW file). Export it as JPEG."),
        ("nef", FailureKind.TRUNCATED, "Copy it again from where it came from."),
        ("pef", FailureKind.CORRUPT, "the data of its sensor are damaged. Restore it from a backup."),
    ],
)
def test_what_libraw_does_not_read_is_told(sandbox, kind, failure_kind, text):
    nothing = RawContent(large=b"no JPEG", middle=b"no JPEG", thumbnail=b"no JPEG")
    found = failure_without_preview(sandbox, raw_file(kind, nothing))
    assert found.kind is failure_kind
    assert found.text.endswith(text)


@pytest.mark.parametrize(
    "data", [bare_dng(DRAWING, sensor_bytes=1000), *(head + bytes(1000) for head in OTHER_MAKERS.values())]
)
def test_a_photo_without_the_data_of_its_sensor_fails(sandbox, data):
    assert failure_without_preview(sandbox, data).kind in (FailureKind.TRUNCATED, FailureKind.UNSUPPORTED)


def test_files_that_need_an_extra_are_photos_where_it_is_installed_and_failures_name_it(monkeypatch):
    for extension, head in OTHER_MAKERS.items():
        assert detect_format(head + bytes(300)) is RAW
        assert is_raw_name(f"a{extension}")
    for installed in (True, False):
        monkeypatch.setattr(Extra, "is_installed", installed)
        for extension in (*OTHER_MAKERS, ".HEIC", ".hif"):
            assert is_photo_name(f"a{extension}") is installed
    for data in (bare_dng(DRAWING), *(head + bytes(300) for head in OTHER_MAKERS.values())):
        with pytest.raises(PhotoFailed, match="install the extra raw") as failed:
            decode_photo(data, WHOLE, max_pixels=MAX_PIXELS)
        assert failed.value.failure.kind is FailureKind.UNSUPPORTED


FILES = {kind: raw_file(kind) for kind in RAW_KINDS} | {
    "mrw": bare_mrw(Image.new("RGB", (64, 64), "navy")),
}
fuzzing = examples(38)
kinds = st.sampled_from(sorted(FILES))


def examine(data: bytes) -> None:
    """Read all that is read of a photo; the only error is the photo's own failure."""
    raw = read_raw(data)
    assert sum(map(len, raw.image)) <= len(data)
    assert all(preview.pixels > 0 for preview in raw.previews)
    assert digest_photo(data) == digest_photo(data)
    camera_facts(data)
    read_blocks(data)
    with suppress(PhotoFailed):
        decode_photo(data, Resize(64, 64), max_pixels=MAX_PIXELS)


@fuzzing
@given(kind=kinds, seed=st.integers(0, 2**32))
def test_damaged_files(kind, seed):
    examine(broken(FILES[kind], list(FILES.values()), random.Random(seed)))


@fuzzing
@given(kind=kinds, seed=st.integers(0, 2**32))
def test_files_with_random_numbers_in_their_directories(kind, seed):
    rng, data = random.Random(seed), bytearray(FILES[kind])
    odd = (0, 1, 8, 12, len(data) - 1, len(data), 2**16, 2**31, 2**32 - 1)
    for _ in range(rng.randrange(1, 20)):
        at = rng.randrange(4, len(data) - 4)
        struct.pack_into(rng.choice("<>") + "I", data, at, rng.choice(odd))
    examine(bytes(data))


@pytest.mark.parametrize("order", [b"II*\0", b"MM\0*"])
def test_directories_that_refer_to_each_other_are_read_once(order):
    tiff = TiffFile(order)
    at = 8
    loop = {
        262: tiff.short(32803),
        330: tiff.long(*[at] * 1000),
        0x8769: tiff.long(at),
        0x8825: tiff.long(at),
    }
    tiff.directory({tag: value for tag, value in loop.items() if tag != 330}, following=at)
    assert read_raw(tiff.ending_at(at)).previews == ()
    first = tiff.directory(loop, following=at)
    examine(tiff.ending_at(first))


def test_chains_and_boxes_without_end_are_read_in_part():
    tiff = TiffFile()
    following = 0
    for _ in range(5000):
        following = tiff.directory({262: tiff.short(32803), 330: tiff.long(following or 8)}, following)
    examine(tiff.ending_at(following))
    head = box(b"ftyp", b"crx \0\0\0\1crx isom")
    deep = b""
    for _ in range(2000):
        deep = box(b"moov", deep)
    examine(head + deep)
    examine(head + box(b"moov", box(b"trak") * 100_000))
    examine(head + struct.pack(">I4sQ", 1, b"moov", 2**64 - 1) + bytes(100))


@pytest.mark.parametrize("kind", RAW_KINDS)
def test_finding_previews_copies_nothing_of_the_file(kind):
    data = raw_file(kind, RawContent(sensor=bytes(range(256)) * 2**15))
    assert sum(map(len, read_raw(data).image)) >= 2**23
    assert traced_bytes(lambda: read_raw(data)) < 2**20


def test_tags_that_refer_to_the_same_megabytes_take_no_more_of_them():
    size = 2**21
    tiff = TiffFile()
    shared = tiff.add(bytes(size))
    entries = b"".join(struct.pack("<HHII", tag, 7, size, shared) for tag in range(4000))
    first = tiff.add(struct.pack("<H", 4000) + entries + bytes(4))
    data = tiff.ending_at(first)
    metadata = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    boxes = b"".join(box(kind, data) for kind in (b"CMT1", b"CMT2", b"CMT4"))
    cr3 = box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", metadata, boxes))
    assert traced_bytes(lambda: read_raw(cr3)) < 4 * len(cr3)
