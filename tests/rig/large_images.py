"""Image files of any size in the formats, modes and layouts whose decoding takes different amounts of memory.

Most are small files: their pixels are all equal. `LARGE_IMAGES` has a function for each, from (width, height)
to the file.
"""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

from PIL import Image

from .containers import encode_image, png_chunk
from .raw_files import TiffFile, bare_dng

Size = tuple[int, int]
_STRIP_BYTES = 2**31  # More than any image has: all rows are one strip
_DEFLATE = 8


def _saved(kind: str, mode: str, size: Size, **options: object) -> bytes:
    return encode_image(Image.new(mode, size), kind, **options)


def _zeros(size_bytes: int) -> bytes:
    packer, block = zlib.compressobj(1), bytes(2**20)
    parts = [packer.compress(block[: min(2**20, size_bytes - at)]) for at in range(0, size_bytes, 2**20)]
    return b"".join((*parts, packer.flush()))


# --- JPEG ---


def _separate_scans(size: Size) -> bytes:
    """A baseline JPEG whose components have a scan each."""
    gray = _saved("JPEG", "L", size)
    frame, scan = gray.index(b"\xff\xc0"), gray.index(b"\xff\xda")
    components = b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))
    header = struct.pack(">H", 17) + gray[frame + 4 : frame + 9] + b"\3" + components
    before = gray[:frame] + b"\xff\xc0" + header + gray[frame + 13 : scan]
    scans = [
        gray[scan:-2].replace(b"\xff\xda\0\x08\1\1", b"\xff\xda\0\x08\1" + bytes([k]), 1) for k in (1, 2, 3)
    ]
    return before + b"".join(scans) + b"\xff\xd9"


# --- PNG ---


def _png(size: Size, colours: int, depth: int, samples: int, **chunks: bytes) -> bytes:
    width, height = size
    count = height * (1 + -(-width * samples * depth // 8))
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    parts = {"IHDR": header, **chunks, "IDAT": _zeros(count), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind.encode(), part) for kind, part in parts.items())


# --- TIFF ---


def _tiff(
    size: Size,
    samples: int,
    bits: int,
    *,
    photometric: int = 2,
    tile: Size | None = None,
    **tags: int,
) -> bytes:
    """A TIFF compressed with deflate, in one strip or in tiles."""
    width, height = size
    wide, high = tile or size
    tiff = TiffFile()
    part = _zeros(wide * high * samples * bits // 8)
    part_at = tiff.add(part)
    count = -(-width // wide) * -(-height // high)
    fields = {
        256: [width],
        257: [height],
        258: [bits] * samples,
        259: [_DEFLATE],
        262: [photometric],
        277: [samples],
        284: [1],
        **({322: [wide], 323: [high]} if tile else {278: [height]}),
        **({338: [2]} if samples == 4 and photometric == 2 else {}),
        **{int(tag[1:]): [value] for tag, value in tags.items()},
        # All tiles share one part of the file.
        (324 if tile else 273): [part_at] * count,
        (325 if tile else 279): [len(part)] * count,
    }
    return tiff.ending_at(tiff.directory({tag: tiff.long(*values) for tag, values in fields.items()}))


# --- Others ---


def _animated(kind: str, mode: str, size: Size, **options: object) -> bytes:
    second = Image.new(mode, size)
    second.paste(1 if mode in ("L", "P") else (255, 255, 255, 255)[: len(second.getbands())], (0, 0, 8, 8))
    return _saved(kind, mode, size, save_all=True, append_images=[second], duration=100, **options)


def _run_length_bmp(size: Size) -> bytes:
    width, height = size
    row = b"\xff\1" * (width // 255) + bytes((width % 255, 1)) * (width % 255 > 0) + b"\0\0"
    palette = bytes(1024)
    body = row * height + b"\0\1"
    start = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + info + palette + body


def _heif(mode: str, size: Size, **options: object) -> bytes:
    import pillow_heif

    file = io.BytesIO()
    if mode.endswith(";16"):
        samples = len(mode.split(";", maxsplit=1)[0])
        heif = pillow_heif.from_bytes(mode, size, bytes(2 * samples * size[0] * size[1]))
    else:
        heif = pillow_heif.from_pillow(Image.new(mode, size))
    heif.save(file, quality=10, **options)
    return file.getvalue()


LARGE_IMAGES: dict[str, Callable[[Size], bytes]] = {
    "jpeg 4:2:0": partial(_saved, "JPEG", "RGB"),
    "jpeg 4:4:4": partial(_saved, "JPEG", "RGB", subsampling=0),
    "jpeg separate scans": _separate_scans,
    "jpeg progressive 4:2:0": partial(_saved, "JPEG", "RGB", progressive=True),
    "jpeg progressive cmyk": partial(_saved, "JPEG", "CMYK", progressive=True),
    "png 1 bit": partial(_png, colours=0, depth=1, samples=1),
    "png rgb": partial(_png, colours=2, depth=8, samples=3),
    "png gray 16 bit": partial(_png, colours=0, depth=16, samples=1),
    "png rgba 16 bit": partial(_png, colours=6, depth=16, samples=4),
    "png animated": partial(_animated, "PNG", "RGBA", disposal=1),
    "webp lossless": partial(_saved, "WEBP", "RGB", lossless=True, method=0),
    "webp animated": partial(_animated, "WEBP", "RGBA", lossless=True, method=0),
    "gif": partial(_saved, "GIF", "P"),
    "gif animated": partial(_animated, "GIF", "P", disposal=2),
    "bmp run length": _run_length_bmp,
    "tiff 1 bit fax strip": partial(_saved, "TIFF", "1", compression="group4", strip_size=_STRIP_BYTES),
    "tiff rgb raw strip": partial(_saved, "TIFF", "RGB", strip_size=_STRIP_BYTES),
    "tiff rgb lzw strip": partial(_saved, "TIFF", "RGB", compression="tiff_lzw", strip_size=_STRIP_BYTES),
    "tiff gray 16 bit strip": partial(_tiff, samples=1, bits=16, photometric=1),
    "tiff rgb strip": partial(_tiff, samples=3, bits=8),
    "tiff rgba 16 bit strip": partial(_tiff, samples=4, bits=16),
    "tiff rgba 16 bit strip rotated": partial(_tiff, samples=4, bits=16, t274=6),
    "tiff rgba 16 bit tile": lambda size: _tiff(
        size, samples=4, bits=16, tile=(-(-size[0] // 16) * 16, -(-size[1] // 16) * 16)
    ),
    "tiff rgba 16 bit tiles": partial(_tiff, samples=4, bits=16, tile=(512, 512)),
    "avif 4:2:0": partial(_saved, "AVIF", "RGB", speed=10),
    "avif alpha": partial(_saved, "AVIF", "RGBA", speed=10, subsampling="4:4:4"),
    "heic": partial(_heif, "RGB"),
    "heic alpha": partial(_heif, "RGBA"),
    "heic 10 bit alpha": partial(_heif, "RGBA;16", chroma=444),
    "raw": lambda size: bare_dng(Image.new("RGB", size, "orange")),
}
