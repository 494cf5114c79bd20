"""Small drawn photos in every supported format, depth and coding, with EXIF and profiles, for fuzzing."""

import importlib.util
import io
from functools import cache

import numpy as np
from PIL import Image, ImageCms

from .containers import encode_image
from .handmade_images import GRAY, png_of, tiff_of
from .raw_files import RAW_KINDS, raw_file

SIZE = (60, 44)
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@cache
def small_photos() -> dict[str, bytes]:
    """A photo of each kind by the kind's name; HEIC only if its reader is installed."""
    raw = {f"raw {kind}": raw_file(kind) for kind in RAW_KINDS}
    heic = _heic() if importlib.util.find_spec("pillow_heif") else {}
    return _jpeg() | _png() | _tiff() | _others() | raw | heic


def _jpeg() -> dict[str, bytes]:
    picture = _picture()
    return {
        "jpeg": _saved("JPEG", exif=_exif(6), icc_profile=_SRGB, xmp=_XMP),
        "jpeg progressive": _saved("JPEG", progressive=True, exif=_exif(1)),
        "jpeg restart": _saved("JPEG", restart_marker_rows=1, subsampling=0),
        "jpeg gray": _saved("JPEG", picture.convert("L")),
        "jpeg cmyk": _saved("JPEG", picture.convert("CMYK")),
        "mpo": _saved("MPO", save_all=True, append_images=[picture.rotate(180)], exif=_exif(8)),
    }


def _png() -> dict[str, bytes]:
    picture = _picture()
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return {
        "png": _saved("PNG", exif=_exif(3), icc_profile=_SRGB),
        "png alpha": _saved("PNG", _see_through()),
        "png gray alpha": _saved("PNG", _see_through().convert("LA")),
        "png palette": _saved("PNG", picture.quantize(9), transparency=1),
        "png 1 bit": _saved("PNG", picture.convert("1")),
        "png 16 bit": _saved("PNG", deep),
        "png 16 bit alpha": png_of(np.asarray(_see_through()).astype(np.uint16) * 257),
        "apng": _saved("PNG", save_all=True, append_images=[picture.rotate(180)]),
    }


def _tiff() -> dict[str, bytes]:
    picture = _picture()
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return {
        "tiff": _saved("TIFF", exif=_exif(6), icc_profile=_SRGB),
        "tiff lzw": _saved("TIFF", _see_through(), compression="tiff_lzw"),
        "tiff jpeg": _saved("TIFF", compression="jpeg"),
        "tiff deflate": _saved("TIFF", picture.quantize(16), compression="tiff_adobe_deflate"),
        "tiff packbits": _saved("TIFF", picture.convert("CMYK"), compression="packbits"),
        "tiff fax": _saved("TIFF", picture.convert("1"), compression="group4"),
        "tiff big": _saved("TIFF", big_tiff=True, compression="tiff_lzw"),
        "tiff pages": _saved("TIFF", save_all=True, append_images=[picture.rotate(180)]),
        "tiff 16 bit": _saved("TIFF", deep),
        "tiff tiles": tiff_of(np.asarray(picture.convert("L")), GRAY, tile=32),
        "tiff planes": tiff_of(np.asarray(picture), separate=True),
    }


def _others() -> dict[str, bytes]:
    picture = _picture()
    more = [picture.rotate(180)]
    return {
        "webp": _saved("WEBP", quality=80, exif=_exif(5), icc_profile=_SRGB, xmp=_XMP),
        "webp lossless": _saved("WEBP", _see_through(), lossless=True),
        "webp animated": _saved("WEBP", save_all=True, append_images=more, duration=100),
        "gif": _saved("GIF", picture.quantize(16), interlace=1),
        "gif animated": _saved("GIF", save_all=True, append_images=more, duration=100, transparency=0),
        "bmp": _saved("BMP"),
        "bmp palette": _saved("BMP", picture.quantize(16)),
        "avif": _saved("AVIF", speed=10, exif=_exif(6), icc_profile=_SRGB),
        "avif alpha": _saved("AVIF", _see_through(), speed=10),
        "avif animated": _saved("AVIF", speed=10, save_all=True, append_images=more),
    }


def _heic() -> dict[str, bytes]:
    from pillow_heif import from_pillow

    photos = {}
    for name, picture, options in (
        ("heic", _picture(), {"exif": _exif(6).tobytes(), "xmp": _XMP}),
        ("heic alpha", _see_through(), {}),
        ("heic gray", _picture().convert("L"), {}),
    ):
        file = io.BytesIO()
        from_pillow(picture).save(file, quality=60, **options)
        photos[name] = file.getvalue()
    return photos


def _picture() -> Image.Image:
    width, height = SIZE
    down, across = np.mgrid[0:height, 0:width]
    grain = np.random.default_rng(1).integers(-12, 12, (height, width))
    colours = np.stack([across * 4, down * 5, 255 - across * 2 - down * 2], axis=-1) + grain[..., None]
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))


def _see_through() -> Image.Image:
    picture = _picture()
    picture.putalpha(picture.getchannel("R"))
    return picture


def _exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[271], block[274] = "a camera", orientation
    block.get_ifd(0x8769).update({36867: "2019:07:14 21:58:03"})
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.24), 3: "E", 4: (2.0, 17.0, 40.2)})
    return block


def _saved(kind: str, picture: Image.Image | None = None, **options: object) -> bytes:
    return encode_image(picture or _picture(), kind, **options)
