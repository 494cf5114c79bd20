"""PNG and TIFF files with depths and layouts that Pillow reads but does not write, built from arrays."""

import itertools
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .containers import png_chunk
from .raw_files import TiffFile

Pixels = npt.NDArray[np.generic]  # (H, W) or (H, W, samples), in the byte order of the file

GRAY, RGB, CMYK, LAB = 1, 2, 5, 8  # Values of the TIFF field PhotometricInterpretation
SEE_THROUGH = 2  # The value of the TIFF field ExtraSamples for transparency


def png_of(pixels: Pixels, **chunks: bytes) -> bytes:
    """A PNG of 8 or 16 bits with 1 to 4 samples; `chunks`, such as `tRNS=…`, come before the pixels."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, samples = pixels.shape
    colours = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    header = struct.pack(">IIBBBBB", width, height, pixels.dtype.itemsize * 8, colours, 0, 0, 0)
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(lines), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind.encode(), part) for kind, part in parts.items())


def tiff_of(
    pixels: Pixels,
    photometric: int = RGB,
    *,
    separate: bool = False,
    tile: int = 0,
    strip_rows: int = 0,
    tags: Mapping[int, int] | None = None,
) -> bytes:
    """An uncompressed TIFF in the byte order of the array.

    `separate` stores each sample separately, `tile` stores squares of that side, and `strip_rows` strips of
    so many rows. `tags` are added or replace fields.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, samples = pixels.shape
    parts = _tiles(pixels, tile) if tile else _strips(pixels, strip_rows or height, separate=separate)
    fields: dict[int, Sequence[int]] = {
        256: [width],
        257: [height],
        258: [pixels.dtype.itemsize * 8] * samples,
        259: [1],
        262: [photometric],
        277: [samples],
        284: [2 if separate else 1],
        339: [{"f": 3, "i": 2}.get(pixels.dtype.kind, 1)] * samples,
        **({322: [tile], 323: [tile]} if tile else {278: [strip_rows or height]}),
        **{tag: [value] for tag, value in (tags or {}).items()},
    }
    tiff = TiffFile(b"MM\0*" if pixels.dtype.str[0] == ">" else b"II*\0")
    offsets_tag, sizes_tag = (324, 325) if tile else (273, 279)
    fields |= {offsets_tag: [tiff.add(part) for part in parts], sizes_tag: [len(part) for part in parts]}
    return tiff.ending_at(tiff.directory({tag: tiff.long(*values) for tag, values in fields.items()}))


def _strips(pixels: Pixels, rows: int, *, separate: bool) -> list[bytes]:
    if not separate:
        return [pixels[at : at + rows].tobytes() for at in range(0, pixels.shape[0], rows)]
    return [np.ascontiguousarray(pixels[..., sample]).tobytes() for sample in range(pixels.shape[2])]


def _tiles(pixels: Pixels, side: int) -> list[bytes]:
    height, width, _ = pixels.shape
    padded = np.pad(pixels, ((0, -height % side), (0, -width % side), (0, 0)))
    return [
        padded[y : y + side, x : x + side].tobytes()
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]


WHITE = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)


def gray_profile() -> bytes:
    """A profile for gray images with a gamma of 2.2."""
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, 0x0233)
    return colour_profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": WHITE, b"kTRC": curve})


def ink_profile(cyan: tuple[int, int, int]) -> bytes:
    """A CMYK profile of an imaginary press: cyan gives the colour `cyan` (L*a*b*), all other inks black."""
    identity = struct.pack(">9i", *(65536 if k % 4 == 0 else 0 for k in range(9)))
    straight = bytes(range(256))
    inks = itertools.product((0, 1), repeat=4)
    colours = {(0, 0, 0, 0): (100, 0, 0), (1, 0, 0, 0): cyan}
    corners = [colours.get(ink, (0, 0, 0)) for ink in inks]
    table = b"".join(bytes((round(light * 2.55), a + 128, b + 128)) for light, a, b in corners)
    lookup = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + straight * 4 + table + straight * 3
    return colour_profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": WHITE, b"A2B0": lookup})


def colour_profile(kind: bytes, colours: bytes, between: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of this class, from these colours, with these tags."""
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02100000, kind, colours, between)
    header = (header.ljust(36, b"\0") + b"acsp").ljust(68, b"\0") + WHITE[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
