"""Image files for tests: encoded images, the parts of their containers, and blocks of metadata in them."""

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


def resource(number: int, content: bytes, name: bytes = b"\0\0") -> bytes:
    size = struct.pack(">I", len(content))
    return b"8BIM" + number.to_bytes(2, "big") + name + size + content + bytes(len(content) % 2)


def photoshop(*resources: bytes) -> bytes:
    """The segment of a JPEG with Photoshop's resources, of which 0x0404 holds IPTC."""
    return jpeg_segment(0xED, b"Photoshop 3.0\0" + b"".join(resources))


def iptc_dataset(record: int, number: int, value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">BBBH", 0x1C, record, number, len(raw)) + raw
