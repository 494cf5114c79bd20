"""Containers: the bytes of the image, and the metadata. Broken photos fail alone, with a stable digest."""

import io
import random
import re
import struct
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from PIL import Image
from rig.containers import encode_image, jpeg_segment, png_chunk, riff_chunk
from rig.drawing import draw_photo
from rig.mutations import broken
from rig.odd_photos import small_photos
from support.decoding import decode
from support.examples import examples

from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.camera import camera_facts, short_text
from tagger.photos import containers
from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.files import read_photo
from tagger.photos.formats import (
    JPEG,
    PHOTO_FORMATS,
    detect_format,
    digest_photo,
    exif_of,
    has_image,
    orientation_in,
    read_container,
)

PICTURE = draw_photo(2, (160, 120))
KINDS = ("JPEG", "PNG", "WEBP", "TIFF")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">sunset</x:xmpmeta>'


def exif(orientation: int | None = None, text: str = "a camera") -> Image.Exif:
    block = Image.Exif()
    block[271] = text
    if orientation is not None:
        block[274] = orientation
    return block


@pytest.mark.parametrize("kind", KINDS)
def test_exif_and_xmp_do_not_change_the_digest(kind):
    plain = digest_photo(encode_image(PICTURE, kind))
    assert digest_photo(encode_image(PICTURE, kind, exif=exif())) == plain
    assert digest_photo(encode_image(PICTURE, kind, exif=exif(1, "another camera" * 50))) == plain
    if kind == "TIFF":
        assert digest_photo(encode_image(PICTURE, kind, tiffinfo={700: XMP, 270: "sunset"})) == plain
    elif kind != "PNG":
        assert digest_photo(encode_image(PICTURE, kind, xmp=XMP)) == plain


@pytest.mark.parametrize(
    "written",
    [
        jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0"),
        jpeg_segment(0xFE, b"a comment"),
        jpeg_segment(0xE2, b"MPF\0II*\0\x08\0\0\0"),
        jpeg_segment(0xE0, b"JFXX\0\x10") + jpeg_segment(0xEB, b"JP whatever"),
    ],
)
def test_what_is_written_into_a_jpeg_does_not_change_its_digest(written):
    jpeg = encode_image(PICTURE, "JPEG")
    assert digest_photo(jpeg[:2] + written + jpeg[2:]) == digest_photo(jpeg)
    assert digest_photo(jpeg[:20] + written + jpeg[20:]) == digest_photo(jpeg)
    assert digest_photo(jpeg[:2] + jpeg[20:]) == digest_photo(jpeg), "without JFIF"
    assert digest_photo(jpeg + b"a second picture, or a film") == digest_photo(jpeg)


def test_written_metadata_changes_no_digest_and_what_is_seen_does():
    png = encode_image(PICTURE, "PNG")
    for written in (
        png_chunk(b"tEXt", b"Title\0sunset"),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        png_chunk(b"tIME", bytes(7)),
    ):
        assert digest_photo(png[:33] + written + png[33:]) == digest_photo(png)
        assert digest_photo(png[:-12] + written + png[-12:]) == digest_photo(png)
    webp = encode_image(PICTURE, "WEBP")
    extended = riff_chunk(b"VP8X", b"\x0c\0\0\0" + struct.pack("<I", 159)[:3] + struct.pack("<I", 119)[:3])
    body = extended + webp[12:] + riff_chunk(b"XMP ", XMP)
    assert digest_photo(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body) == digest_photo(webp)
    tiff = encode_image(PICTURE, "TIFF")
    moved = encode_image(PICTURE, "TIFF", tiffinfo={270: "a text that moves everything behind it" * 20})
    assert read_container(tiff) is not None
    assert len(moved) > len(tiff)
    assert digest_photo(moved) == digest_photo(tiff)
    jpeg = encode_image(PICTURE, "JPEG")
    quantisation = jpeg.index(b"\xff\xdb") + 10
    coded = jpeg.index(b"\xff\xda") + 200
    for at in (quantisation, coded):
        changed = jpeg[:at] + bytes([jpeg[at] ^ 1]) + jpeg[at + 1 :]
        assert digest_photo(changed) != digest_photo(jpeg)
    adobe = jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
    assert digest_photo(jpeg[:20] + adobe + jpeg[20:]) != digest_photo(jpeg)
    png = encode_image(PICTURE.quantize(8), "PNG")
    at = png.index(b"PLTE") + 4
    assert digest_photo(png[:at] + b"\0\1\2" + png[at + 3 :]) != digest_photo(png)
    assert digest_photo(png[:33] + png_chunk(b"gAMA", bytes([0, 1, 0, 0])) + png[33:]) != digest_photo(png)


@pytest.mark.parametrize("kind", KINDS)
def test_orientation_and_colour_profile_change_the_digest(kind):
    digests = {
        digest_photo(encode_image(PICTURE, kind, exif=exif(orientation))) for orientation in range(1, 9)
    }
    assert len(digests) == 8
    assert digest_photo(encode_image(PICTURE, kind, exif=exif(None))) in digests
    profiled = encode_image(PICTURE, kind, icc_profile=b"a profile" * 20)
    assert digest_photo(profiled) != digest_photo(encode_image(PICTURE, kind))


@pytest.mark.parametrize("kind", [*KINDS, "GIF", "BMP", "AVIF"])
def test_pixels_change_the_digest(kind):
    other = PICTURE.copy()
    other.paste("white", (40, 40, 80, 80))
    assert digest_photo(encode_image(PICTURE, kind)) != digest_photo(encode_image(other, kind))
    assert digest_photo(encode_image(PICTURE, kind)).startswith("1-")


@examples(50)
@given(
    coded=st.lists(st.sampled_from(b"\0\1\xcf\xd0\xd7\xd8\xfe\xff\xff"), max_size=20).map(bytes),
    searched=st.integers(1, 8),
)
def test_a_scan_ends_at_the_first_marker_wherever_the_search_is_cut(coded, searched):
    marker = re.search(rb"\xff[\x01-\xcf\xd8-\xfe]", coded)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers, "_SEARCHED_BYTES", searched)
        assert containers._end_of_scan(coded, 0) == (marker.start() if marker else len(coded))


@pytest.mark.parametrize("kind", KINDS)
def test_orientation_and_exif_are_found(kind):
    data = encode_image(PICTURE, kind, exif=exif(6, "Leica"))
    assert orientation_in(data) == 6
    assert b"Leica" in (exif_of(data) or b"")
    assert orientation_in(encode_image(PICTURE, kind)) == 1


def test_the_first_exif_counts_and_a_cut_file_ends_where_its_data_does():
    jpeg = encode_image(PICTURE, "JPEG")
    blocks = [jpeg_segment(0xE1, b"Exif\0\0" + exif(k).tobytes().removeprefix(b"Exif\0\0")) for k in (8, 3)]
    assert orientation_in(jpeg[:2] + b"".join(blocks) + jpeg[2:]) == 8
    jpeg = encode_image(PICTURE, "JPEG", exif=exif(3), comment=b"sunset")
    bare = JPEG.reader.bare_file(jpeg[:-500])
    assert bare.endswith(b"\xff\xd9")
    assert b"sunset" not in bare
    Image.open(io.BytesIO(bare)).load()
    for options in ({"progressive": True}, {"restart_marker_rows": 1}):
        jpeg = encode_image(PICTURE, "JPEG", **options)
        container = read_container(jpeg)
        assert sum(len(part) for part in container.parts) > len(jpeg) - 40


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"II*\0", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(100)]
)
def test_what_cannot_be_taken_apart_is_known_by_the_whole_file(data):
    assert read_container(data) is None
    assert digest_photo(data) != digest_photo(data + b"\0")


def test_directories_that_repeat_or_refer_to_each_other_are_read_once():
    strips = 2000
    tags = [(256, 4, 1, 10), (257, 4, 1, strips), (273, 4, strips, 100), (279, 4, strips, 100 + strips * 4)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    data = (b"II*\0" + struct.pack("<I", 8) + directory).ljust(100, b"\0")
    data += struct.pack("<I", 8) * strips + struct.pack("<I", 10_000) * strips
    assert read_container(data) is None
    data = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 270, 4, 1, 7, 8)
    assert read_container(data) is None
    assert orientation_in(data) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xda\0\2" + b"\xff\xfe\0\2" * 400_000,
        b"\xff\xd8" + b"\xff" * 4_000_000,
        b"\xff\xd8\xff\xda\0\2" + b"\xff\0" * 2_000_000,
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", b"") * 400_000,
        b"RIFF\0\0\0\0WEBP" + riff_chunk(b"VP8 ", b"") * 400_000,
    ],
)
@pytest.mark.timeout(60)  # with time that grows as the square of the size, each would take many minutes
def test_time_does_not_explode(data):
    digest_photo(data)


@examples(25)
@given(
    head=st.sampled_from(
        [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF....WEBP", b"II*\0", b"MM\0+\0\x08\0\0"]
    ),
    rest=st.binary(max_size=300),
)
def test_wild_bytes_never_raise(head, rest):
    digest_photo(head + rest)
    for each in PHOTO_FORMATS:
        each.reader.bare_file(head + rest)


def test_camera_files_keep_their_digest_when_stripped(test_data):
    for path in sorted((test_data / "originals").glob("*.jpg")):
        data = path.read_bytes()
        container = read_container(data)
        assert container is not None
        assert exif_of(data)
        if container.orientation == 1:
            stripped = JPEG.reader.bare_file(data)
            assert stripped is not None
            assert len(stripped) < len(data)
            assert digest_photo(stripped) == digest_photo(data)


@pytest.mark.parametrize("name", small_photos())
def test_what_can_be_decoded_has_an_image_however_short(name):
    data = small_photos()[name]
    for end in range(1, len(data) + 1, max(1, len(data) // 12)):
        part = data[:end] if end > 1 else data
        try:
            decode(part)
        except PhotoFailed:
            continue
        assert has_image(part, len(part)), end


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
def test_one_pixel_is_an_image_and_a_signature_is_none(kind):
    data = encode_image(Image.new("RGB", (1, 1)), kind)
    assert has_image(data, len(data))
    start = data[:16] if kind == "AVIF" else data[:12]
    assert detect_format(start) is not None
    assert not has_image(start, len(start))
    assert has_image(start, len(data))  # the image may follow


MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
MAX_TEXT = 400
RESIZE = Resize(short_side=256, size=224)
DECODED = "decoded"

PHOTOS = small_photos()
seeds = st.integers(0, 2**32)
kinds = st.sampled_from(sorted(PHOTOS))
fuzzing = examples(75)


@pytest.mark.parametrize("kind", sorted(PHOTOS))
def test_unbroken_photos_are_shown(kind, tmp_path):
    (tmp_path / "photo").write_bytes(PHOTOS[kind])
    assert examine(tmp_path / "photo") == DECODED


@fuzzing
@given(kind=kinds, seed=seeds)
def test_broken_photos_are_shown_or_fail_alone(kind, seed, tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(broken(PHOTOS[kind], list(PHOTOS.values()), random.Random(seed)))
    examine(path)


@examples(25)
@given(seed=seeds)
def test_broken_real_photos_are_shown_or_fail_alone(seed, tmp_path, test_data):
    rng = random.Random(seed)
    samples = _real_samples(test_data)
    path = tmp_path / "photo"
    path.write_bytes(broken(rng.choice(samples), samples, rng))
    examine(path)


@cache
def _real_samples(folder: Path) -> list[bytes]:
    files = [path for name in ("hostile", "exif") for path in sorted((folder / name).rglob("*"))]
    real = [path.read_bytes() for path in files if path.is_file() and 0 < path.stat().st_size < 300_000]
    return [*PHOTOS.values()] * max(1, len(real) // len(PHOTOS)) + real


class Violation(Exception):
    """Reading a photo had an effect that no photo may have."""


def examine(path: Path) -> str:
    """Read a file completely; return `decoded` or the kind of its failure.

    Raises:
        Violation: the digest is not stable, a failure is not the photo's, or a text is not readable.
    """
    try:
        data = read_photo(path, max_bytes=MAX_BYTES).data
        if digest_photo(data) != digest_photo(bytes(bytearray(data))):
            raise Violation("two digests of the same bytes differ")
        facts = camera_facts(data)
        if abs(facts.latitude or 0) > 90 or abs(facts.longitude or 0) > 180:
            raise Violation(f"an impossible position: {facts}")
        if any(
            text is not None and text != short_text(text) for text in (facts.make, facts.model, facts.serial)
        ):
            raise Violation(f"an unprintable camera: {facts}")
        image = decode_photo(data, RESIZE, max_pixels=MAX_PIXELS)
    except PhotoFailed as failed:
        kind, text = failed.failure.kind, failed.failure.text
        if kind in (FailureKind.INTERNAL, FailureKind.GONE, FailureKind.UNREADABLE):
            raise Violation(f"{kind}: {text}") from failed
        if not text.isprintable() or not text.endswith(".") or len(text) > MAX_TEXT:
            raise Violation(f"an unreadable text: {text!r}") from failed
        return str(kind)
    if image.pixels.shape != (RESIZE.size, RESIZE.size, 3) or min(image.width, image.height) < 1:
        raise Violation(f"pixels of shape {image.pixels.shape} for {image.width} x {image.height}")
    return DECODED
