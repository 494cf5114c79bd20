"""Decoding: photos give the image that a viewer shows, stretched to a square too, or fail alone with a reason."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin
from pydantic import ValidationError
from rig.containers import encode_image, png_chunk
from rig.drawing import draw_photo
from rig.handmade_images import WHITE, colour_profile
from support.decoding import MAX_PIXELS, RESIZE, decode, encode_heic, traced_bytes

from tagger.errors import FailureKind, PhotoFailed
from tagger.model.artifact import InputRule
from tagger.photos import formats
from tagger.photos.containers import at_an_eighth
from tagger.photos.decoding import DecodedImage, Pixels, Resize, decode_photo
from tagger.photos.formats import detect_format

PICTURE = draw_photo(7, (600, 400))
ORIENTATION = 274


def failure(data: bytes, max_pixels: int = MAX_PIXELS) -> FailureKind:
    with pytest.raises(PhotoFailed) as excinfo:
        decode_photo(data, RESIZE, max_pixels=max_pixels)
    kind, text = excinfo.value.failure.kind, excinfo.value.failure.text
    assert text.endswith(".")
    assert ("TAGGER_MAX_PIXELS" in text) == (kind is FailureKind.TOO_MANY_PIXELS), text
    return kind


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block


def difference(one: DecodedImage, other: DecodedImage) -> float:
    return float(np.abs(one.pixels.astype(int) - other.pixels.astype(int)).mean())


def middle(image: DecodedImage) -> list[int]:
    return image.pixels[50:62, 50:62].reshape(-1, 3).mean(axis=0).round().astype(int).tolist()


def near(colour: list[int], expected: tuple[int, int, int], tolerance: int = 4) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(colour, expected, strict=True))


EXPECTED = decode(encode_image(PICTURE, "PNG"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("MPO", {"quality": 95}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
        ("BMP", {}),
        ("AVIF", {"quality": 90}),
        ("GIF", {}),
    ],
)
def test_every_format_shows_the_same_picture(kind, options):
    image = decode(encode_image(PICTURE, kind, **options))
    assert image.pixels.shape == (112, 112, 3)
    assert image.pixels.dtype == np.uint8
    assert (image.width, image.height) == (600, 400)
    assert difference(image, EXPECTED) < 3


def test_heic_shows_the_same_picture_and_without_its_extra_names_the_package(monkeypatch):
    heic = encode_heic(PICTURE, quality=95)
    assert difference(decode(heic), EXPECTED) < 4
    for damaged_video in (b"\0\0\0\x40moov" + bytes(56), b"\0\0\x40\0moov", b"\0\0\0\x10freeSEFHSEFT"):
        assert difference(decode(heic + damaged_video), EXPECTED) < 4

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("tagger.photos.formats.readers.importlib.import_module", missing)
    with pytest.raises(PhotoFailed, match="needs the extra heic") as excinfo:
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    assert excinfo.value.failure.kind is FailureKind.UNSUPPORTED


def test_the_square_is_the_middle_and_its_short_side_keeps_detail():
    wide = Image.new("RGB", (900, 300), "red")
    wide.paste((0, 0, 255), (300, 0, 600, 300))
    square = decode(encode_image(wide, "PNG"), Resize(64, 64)).pixels
    assert (square[:, 1:-1] == (0, 0, 255)).all()
    assert np.array_equal(square, square[:, ::-1])
    inner = decode(encode_image(PICTURE, "PNG"), Resize(128, 64)).pixels
    outer = decode(encode_image(PICTURE, "PNG"), Resize(128, 128)).pixels
    assert np.abs(inner.astype(int) - outer[32:96, 32:96].astype(int)).max() <= 2
    stripes = np.zeros((128, 3200, 3), dtype=np.uint8)
    stripes[::16] = stripes[1::16] = stripes[2::16] = stripes[3::16] = 255
    pixels = stretched(encode_image(Image.fromarray(stripes), "JPEG", quality=95), 128)

    assert int(pixels[1::16].min()) > 200
    assert int(pixels[9::16].max()) < 50


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        *(("RGB", {"subsampling": subsampling}) for subsampling in (0, 1, 2)),
        ("L", {}),
        ("CMYK", {"restart_marker_rows": 2}),
    ],
)
def test_an_eighth_of_a_progressive_jpeg_needs_a_part_of_its_scans(mode, options, monkeypatch):
    image = draw_photo(1, (1810, 1797)).convert(mode)
    data = encode_image(image, "JPEG", quality=90, progressive=True, **options)
    parts = at_an_eighth(data)
    assert parts is not None
    assert len(parts) < 0.8 * len(data)
    pixels = decode(data).pixels
    monkeypatch.setattr("tagger.photos.decoding.at_an_eighth", lambda _data: None)
    np.testing.assert_array_equal(pixels, decode(data).pixels)


def test_cut_off_and_damaged_jpegs_show_what_is_there():
    data = encode_image(draw_photo(1, (1810, 1797)), "JPEG", progressive=True)
    for size in range(200, len(data), len(data) // 40):
        assert at_an_eighth(data[:size]) is None
    assert decode(data[: len(data) // 2]).is_damaged
    for progressive in (False, True):
        data = encode_image(PICTURE, "JPEG", quality=90, progressive=progressive)
        image = decode(data[: len(data) * 2 // 3])
        assert np.abs(image.pixels[:40].astype(int) - EXPECTED.pixels[:40]).mean() < 12
        assert image.is_damaged
        assert failure(data[: data.index(b"\xff\xda") + 14]) is FailureKind.TRUNCATED
    assert difference(decode(data[:-2]), EXPECTED) < 3
    assert not decode(data).is_damaged
    png = encode_image(PICTURE, "PNG")
    huge = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(4_000_000)))
    assert np.array_equal(decode(png[:33] + huge + png[33:]).pixels, EXPECTED.pixels)
    jpeg = encode_image(PICTURE, "JPEG", quality=95)
    broken_exif = b"\xff\xe1\x00\x12Exif\0\0MM\x13*\0\0\0\x08"
    data = jpeg[:2] + broken_exif + b"\0\0" + jpeg[2:]
    assert difference(decode(data), EXPECTED) < 3
    assert [decode(data[:end]).is_damaged for end in (len(data), len(data) // 2)] == [False, True]


@pytest.mark.parametrize(
    ("kind", "orientation"),
    [
        *(("JPEG", each) for each in range(10)),  # 0 and 9 say nothing
        ("PNG", 6),
        ("WEBP", 3),
        ("TIFF", 5),
        ("AVIF", 5),
        ("AVIF", 6),
    ],
)
def test_photo_stands_upright_in_every_orientation(kind, orientation):
    stored_as = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = PICTURE.transpose(stored_as[orientation]) if orientation in stored_as else PICTURE
    image = decode(encode_image(stored, kind, exif=exif(orientation)))
    assert (image.width, image.height) == (600, 400)
    assert difference(image, EXPECTED) < 3


def test_xmp_does_not_turn_a_photo():
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for kind in ("JPEG", "WEBP", "AVIF"):
        assert decode(encode_image(PICTURE, kind, xmp=packet)).width == 600
    tags = {700: packet}
    assert decode(encode_image(PICTURE, "TIFF", tiffinfo=tags)).width == 600


def test_colours_of_bits_palettes_transparency_and_lab_are_kept():
    assert middle(decode(encode_image(Image.new("1", (200, 200), 1), "PNG"))) == [255, 255, 255]
    palette = Image.new("RGB", (200, 200), (200, 30, 90)).quantize(4)
    assert near(middle(decode(encode_image(palette, "PNG"))), (200, 30, 90))
    assert near(middle(decode(encode_image(Image.new("LA", (200, 200), (0, 128)), "PNG"))), (127, 127, 127))
    palette = Image.new("P", (200, 200), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    assert middle(decode(encode_image(palette, "PNG", transparency=0))) == [255, 255, 255]
    assert near(middle(decode(encode_image(palette, "PNG", transparency=bytes([128, 255])))), (255, 127, 127))
    assert middle(decode(encode_image(palette, "GIF", transparency=0))) == [255, 255, 255]
    keyed = Image.new("RGB", (200, 200), (1, 2, 3))
    assert middle(decode(encode_image(keyed, "PNG", transparency=(1, 2, 3)))) == [255, 255, 255]
    orange = Image.new("RGB", (200, 200), (230, 120, 40))
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    assert near(middle(decode(encode_image(to_lab.apply(orange), "TIFF"))), (230, 120, 40), 6)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile", srgb[:200]):
        assert np.array_equal(
            decode(encode_image(PICTURE, "PNG", icc_profile=profile)).pixels, EXPECTED.pixels
        )


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_seen_on_white(kind):
    glass = Image.new("RGBA", (200, 200), (255, 0, 0, 128))
    assert near(middle(decode(encode_image(glass, kind))), (255, 127, 127))
    nothing = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    assert middle(decode(encode_image(nothing, kind))) == [255, 255, 255]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize(("inks", "shown"), [((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 200), (55, 55, 55))])
def test_cmyk_shows_its_colours_and_not_their_negative(kind, inks, shown):
    assert near(middle(decode(encode_image(Image.new("CMYK", (200, 200), inks), kind))), shown)


TO_XYZ_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
TO_XYZ_SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


def display_p3_profile() -> bytes:
    """A profile with the primaries of Display P3 and a gamma of 2.2."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, 0x0233)
    columns = {name: xyz(*TO_XYZ_P3[:, k]) for k, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags = {b"wtpt": WHITE, **columns, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)}
    return colour_profile(b"mntr", b"RGB ", b"XYZ ", tags)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_wide_colours_become_srgb(kind):
    numbers = (80, 150, 90)
    light = np.linalg.inv(TO_XYZ_SRGB) @ TO_XYZ_P3 @ (np.array(numbers) / 255) ** (0x0233 / 256)
    expected = (1.055 * light ** (1 / 2.4) - 0.055) * 255
    data = encode_image(Image.new("RGB", (200, 200), numbers), kind, icc_profile=display_p3_profile())
    assert np.abs(np.array(middle(decode(data))) - expected).max() < 4
    assert np.abs(expected - numbers).max() > 8


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_of_several_pictures_is_seen(kind):
    green = Image.new("RGB", (200, 200), (0, 160, 0))
    data = encode_image(green, kind, save_all=True, append_images=[Image.new("RGB", (200, 200), (200, 0, 0))])
    assert near(middle(decode(data)), (0, 160, 0), 5)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", FailureKind.EMPTY),
        (b"Dear diary, today I renamed a text to holiday.jpg", FailureKind.NOT_AN_IMAGE),
        (bytes(5000), FailureKind.CORRUPT),
        (b"PK\x03\x04 ...", FailureKind.NOT_AN_IMAGE),
        (b"%PDF-1.7 ...", FailureKind.UNSUPPORTED),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", FailureKind.UNSUPPORTED),
        (b"\xff\x0a" + bytes(20), FailureKind.UNSUPPORTED),
        (b"\n<!DOCTYPE html><title>404</title>", FailureKind.NOT_AN_IMAGE),
        (b"\xff\xd8\xff", FailureKind.CORRUPT),
        (b"\x89PNG\r\n\x1a\n", FailureKind.CORRUPT),
        (b"GIF89a", FailureKind.CORRUPT),
        (b"GIF89a\0\0\0\0\0\0\0,\0\0\0\0\0\0\0\0\0\x02\0;", FailureKind.CORRUPT),  # no pixels at all
    ],
)
def test_what_is_no_photo_fails_with_its_kind(data, kind):
    assert failure(data) in (kind, FailureKind.TRUNCATED)
    words = {b"\n<!DO": "web page", b"\xff\x0a": "JPEG XL", b"%PDF-": "PDF", b"PK\x03\x04": "archive"}
    for start, word in words.items():
        assert word in text_of(data) or not data.startswith(start)


def test_too_many_pixels_and_short_sides_that_cannot_be_cut_are_refused():
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + bytes(12) + b"\0\0\0\x04IDAT"
    kinds = ("JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")
    for data in (png, *(encode_image(PICTURE, kind) for kind in kinds)):
        assert traced_bytes(partial(failure, data, max_pixels=200_000)) < 20_000_000
        assert failure(data, max_pixels=200_000) is FailureKind.TOO_MANY_PIXELS
    with pytest.raises(ValueError, match="short_side"):
        Resize(short_side=100, size=112)
    with pytest.raises(ValueError, match="short_side must be size"):
        Resize(128, 112, "stretch")
    with pytest.raises(ValidationError, match="short_side must be size"):
        InputRule(size=112, short_side=128, fit="stretch")
    with pytest.raises(ValidationError, match="fit"):
        InputRule.model_validate({"size": 112, "short_side": 112, "fit": "squeeze"})
    rule = InputRule.model_validate_json('{"size": 112, "short_side": 128}')

    assert rule.resize == Resize(128, 112, "crop")
    stretching = InputRule(size=112, short_side=112, fit="stretch")
    assert InputRule.model_validate_json(stretching.model_dump_json()).resize == STRETCH


SUBFILE = 254
THUMBNAIL = Image.new("RGB", (60, 40), "red")


def pages(*images: tuple[Image.Image, dict[int, int]], **options: object) -> bytes:
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file) as writer:
        for image, tags in images:
            image.save(writer, "TIFF", tiffinfo=tags, **options)
            writer.newFrame()
    return file.getvalue()


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("kinds", [(1,), (1, 1), (4,), (1, 4)])
def test_of_a_tiff_the_first_page_that_is_no_thumbnail_or_mask_is_read(kinds, compression):
    smaller = [(THUMBNAIL, {SUBFILE: kind}) for kind in kinds]
    image = decode(pages(*smaller, (PICTURE, {}), (THUMBNAIL, {}), compression=compression))
    assert (image.width, image.height) == PICTURE.size
    assert difference(image, EXPECTED) < 3


def test_each_page_of_a_tiff_has_its_orientation_and_thumbnails_alone_are_read():
    turned = PICTURE.transpose(Image.Transpose.ROTATE_90)
    data = pages((THUMBNAIL, {SUBFILE: 1}), (turned, {ORIENTATION: 6}))
    assert difference(decode(data), EXPECTED) < 3
    upright = pages((THUMBNAIL, {SUBFILE: 1, ORIENTATION: 6}), (PICTURE, {}))
    assert difference(decode(upright), EXPECTED) < 3
    image = decode(pages((THUMBNAIL, {SUBFILE: 1}), (THUMBNAIL, {SUBFILE: 1})))
    assert (image.width, image.height) == THUMBNAIL.size
    later = pages((THUMBNAIL, {SUBFILE: 1}), (PICTURE, {}))
    assert failure(later, max_pixels=200_000) is FailureKind.TOO_MANY_PIXELS
    data = encode_image(PICTURE.crop((0, 0, 64, 64)), "TIFF", compression="tiff_lzw")
    tags = (256, 257, 258, 259, 262, 277, 322, 323, 324, 325)
    values = (64, 64, 8, 5, 1, 1, 65520, 65520, 8, 8)
    directory = struct.pack("<H", len(tags))
    for tag, value in zip(tags, values, strict=True):
        directory += struct.pack("<HHII", tag, 4, 1, value)
    assert failure(data[:4] + struct.pack("<I", 8) + directory + bytes(40)) is FailureKind.TOO_MANY_PIXELS


@pytest.mark.parametrize("size", [(1, 60000), (60000, 1), (1, 1), (3, 2)])
def test_extreme_shapes_cost_no_more_than_their_pixels(size):
    image = decode(encode_image(Image.new("RGB", size, (10, 200, 30)), "PNG"), Resize(256, 224))
    assert image.pixels.shape == (224, 224, 3)
    assert (image.pixels == (10, 200, 30)).all()
    assert (image.width, image.height) == size


SHOWN = "shown"


def text_of(data: bytes) -> str:
    try:
        image = decode(data)
    except PhotoFailed as failed:
        return failed.failure.text
    return SHOWN if image.pixels.shape == (112, 112, 3) else "misshapen\n"


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_every_odd_file_is_shown_or_fails_with_a_text(test_data, every):
    folders = (test_data / "hostile", test_data / "exif")
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())[::every]
    assert len(paths) > 400 / every

    with ThreadPoolExecutor(4) as threads:
        texts = list(threads.map(lambda path: text_of(path.read_bytes()), paths))
    assert all(text.isprintable() and path.name not in text for text, path in zip(texts, paths, strict=True))
    assert texts.count(SHOWN) > len(paths) // 2


def iso_media(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + b"\0\0\0\0" + b"".join(compatible)
    return (4 + len(body)).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0", formats.JPEG),
        (b"\x89PNG\r\n\x1a\n", formats.PNG),
        (b"RIFF\0\0\0\0WEBPVP8 ", formats.WEBP),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"II*\0", formats.TIFF),
        (b"GIF89a", formats.GIF),
        (iso_media(b"avif", b"mif1"), formats.AVIF),
        (iso_media(b"mif1", b"heic", b"avif"), formats.AVIF),
        (iso_media(b"heic", b"avif"), formats.HEIC),
        (iso_media(b"mif1"), formats.HEIC),
        (b"", None),
    ],
)
def test_the_first_bytes_decide(head, expected):
    assert detect_format(head) is expected


STRETCH = Resize(112, 112, "stretch")


def stretched(data: bytes, side: int = 112) -> Pixels:
    return decode_photo(data, Resize(side, side, "stretch"), max_pixels=MAX_PIXELS).pixels


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (112, 112), (40, 30), (1, 1), (3, 900)])
def test_the_whole_photo_is_used(size):
    picture = draw_photo(3, size) if min(size) > 20 else Image.new("RGB", size, "red")
    pixels = stretched(encode_image(picture, "PNG"))

    expected = np.asarray(picture.resize((112, 112), Image.Resampling.BILINEAR), dtype=int)
    assert pixels.shape == (112, 112, 3)
    assert np.abs(pixels - expected).mean() < 2


@pytest.mark.parametrize("size", [(1600, 1200), (4000, 300), (300, 4000)])
def test_jpeg_decoded_at_a_fraction_keeps_pixels_enough_for_both_sides(size):
    picture = draw_photo(5, size)
    data = encode_image(picture, "JPEG", quality=95)
    quick = stretched(data).astype(int)
    whole = Image.open(io.BytesIO(data))
    expected = np.asarray(whole.resize((112, 112), Image.Resampling.BILINEAR), dtype=int)

    assert np.abs(quick - expected).mean() < 3
    draft = Image.open(io.BytesIO(data))
    draft.draft(None, (112, 112))
    assert min(draft.size) >= min(112, *size)
