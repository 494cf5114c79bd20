"""Image files for tests: encoded images, and the parts of their containers."""

import io
import struct
import zlib

from PIL import Image


def encode_image(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file of this format; `options` are those of `Image.save`."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def riff_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
