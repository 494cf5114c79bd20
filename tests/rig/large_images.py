"""Image files of any size in each format, mode and layout whose decoding takes a different amount of memory.

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
from .raw_files import bare_dng

Size = tuple[int, int]
_STRIP_BYTES = 2**31
"""More than any image has: all rows are one strip."""
_DEFLATE = 8


def _saved(kind: str, mode: str, size: Size, **options: object) -> bytes:
    return encode_image(Image.new(mode, size), kind, **options)


def _zeros(size_bytes: int) -> bytes:
    """Zeros as a zlib stream."""
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
    separate: bool = False,
    tile: Size | None = None,
    **tags: int,
) -> bytes:
    """A TIFF compressed with deflate, in one strip, in one strip for each sample, or in tiles."""
    width, height = size
    wide, high = tile or size
    planes = samples if separate else 1
    part = _zeros(wide * high * samples * bits // 8 // planes)
    count = -(-width // wide) * -(-height // high) * planes
    fields = {
        256: [width],
        257: [height],
        258: [bits] * samples,
        259: [_DEFLATE],
        262: [photometric],
        277: [samples],
        284: [2 if separate else 1],
        **({322: [wide], 323: [high]} if tile else {278: [height]}),
        **({338: [2]} if samples == 4 and photometric == 2 else {}),
        **{int(tag[1:]): [value] for tag, value in tags.items()},
    }
    # All tiles share one part of the file.
    fields |= {(324 if tile else 273): [8] * count, (325 if tile else 279): [len(part)] * count}
    directory = 8 + len(part) + len(part) % 2
    values_at = directory + 2 + 12 * len(fields) + 4
    entries = values = b""
    for tag, value in sorted(fields.items()):
        packed = struct.pack(f"<{len(value)}I", *value)
        entries += struct.pack("<HHI", tag, 4, len(value))
        entries += packed if len(value) == 1 else struct.pack("<I", values_at + len(values))
        values += packed if len(value) > 1 else b""
    head = b"II*\0" + struct.pack("<I", directory) + part + bytes(len(part) % 2)
    return head + struct.pack("<H", len(fields)) + entries + bytes(4) + values


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
    "jpeg cmyk": partial(_saved, "JPEG", "CMYK"),
    "jpeg separate scans": _separate_scans,
    "jpeg progressive 4:2:0": partial(_saved, "JPEG", "RGB", progressive=True),
    "jpeg progressive 4:4:4": partial(_saved, "JPEG", "RGB", progressive=True, subsampling=0),
    "jpeg progressive cmyk": partial(_saved, "JPEG", "CMYK", progressive=True),
    "png 1 bit": partial(_png, colours=0, depth=1, samples=1),
    "png gray alpha": partial(_png, colours=4, depth=8, samples=2),
    "png palette alpha": partial(_png, colours=3, depth=8, samples=1, PLTE=bytes(768), tRNS=bytes(9)),
    "png rgb": partial(_png, colours=2, depth=8, samples=3),
    "png rgba": partial(_png, colours=6, depth=8, samples=4),
    "png gray 16 bit": partial(_png, colours=0, depth=16, samples=1),
    "png rgba 16 bit": partial(_png, colours=6, depth=16, samples=4),
    "png animated": partial(_animated, "PNG", "RGBA", disposal=1),
    "webp lossy": partial(_saved, "WEBP", "RGB", method=0),
    "webp lossless": partial(_saved, "WEBP", "RGB", lossless=True, method=0),
    "webp animated": partial(_animated, "WEBP", "RGBA", lossless=True, method=0),
    "gif": partial(_saved, "GIF", "P"),
    "gif animated": partial(_animated, "GIF", "P", disposal=2),
    "bmp run length": _run_length_bmp,
    "bmp rgba": partial(_saved, "BMP", "RGBA"),
    "tiff 1 bit fax strip": partial(_saved, "TIFF", "1", compression="group4", strip_size=_STRIP_BYTES),
    "tiff rgb raw strip": partial(_saved, "TIFF", "RGB", strip_size=_STRIP_BYTES),
    "tiff rgb lzw strip": partial(_saved, "TIFF", "RGB", compression="tiff_lzw", strip_size=_STRIP_BYTES),
    "tiff rgb jpeg strip": partial(_saved, "TIFF", "RGB", compression="jpeg", strip_size=_STRIP_BYTES),
    "tiff rgb webp strip": partial(_saved, "TIFF", "RGB", compression="webp", strip_size=_STRIP_BYTES),
    "tiff cmyk packbits strip": partial(
        _saved, "TIFF", "CMYK", compression="packbits", strip_size=_STRIP_BYTES
    ),
    "tiff gray 16 bit strip": partial(_tiff, samples=1, bits=16, photometric=1),
    "tiff rgb strip": partial(_tiff, samples=3, bits=8),
    "tiff rgb strip rotated": partial(_tiff, samples=3, bits=8, t274=6),
    "tiff rgba 16 bit strip": partial(_tiff, samples=4, bits=16),
    "tiff rgba 16 bit strip rotated": partial(_tiff, samples=4, bits=16, t274=6),
    "tiff rgba 16 bit tile": lambda size: _tiff(
        size, samples=4, bits=16, tile=(-(-size[0] // 16) * 16, -(-size[1] // 16) * 16)
    ),
    "tiff rgba 16 bit tiles": partial(_tiff, samples=4, bits=16, tile=(512, 512)),
    "tiff ycbcr strip": partial(_tiff, samples=3, bits=8, photometric=6, t530=0x10001),
    "avif 4:2:0": partial(_saved, "AVIF", "RGB", speed=10),
    "avif 4:4:4": partial(_saved, "AVIF", "RGB", speed=10, subsampling="4:4:4"),
    "avif alpha": partial(_saved, "AVIF", "RGBA", speed=10, subsampling="4:4:4"),
    "heic": partial(_heif, "RGB"),
    "heic 4:4:4": partial(_heif, "RGB", chroma=444),
    "heic alpha": partial(_heif, "RGBA"),
    "heic 10 bit alpha": partial(_heif, "RGBA;16", chroma=444),
    "raw": lambda size: bare_dng(Image.new("RGB", size, "orange")),
    "raw three colours": lambda size: bare_dng(Image.new("RGB", size, "orange"), colours=3),
}
