"""The metadata blocks of photos: read, and in JPEG files replaced in place without encoding the image again.

Every change is a splice. Offsets and sizes that span a splice are adjusted; a file whose offsets cannot be
adjusted is refused. `difference_outside_blocks` checks the result independently. Knows nothing of the blocks'
content. The image decoders parse the boxes of HEIC and AVIF, so nothing here knows their structure.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress

from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.formats import jpeg
from tagger.metadata.formats.jpeg_segments import EXIF, XMP, iptc_in
from tagger.metadata.splices import Blocks, Splice, broken_structure
from tagger.photos.containers import exif_of, png_chunks, read_container, webp_chunks
from tagger.photos.decoding.formats import open_header, require_format
from tagger.photos.formats import PhotoFormat, detect_format, is_iso_media
from tagger.photos.raw import read_raw
from tagger.photos.tiff import open_tiff


def may_hold_tags(data: bytes) -> bool:
    """Whether this program embeds tags into files of this format, or did so in version 1."""
    return _reader(data) is not None


def is_jpeg(data: bytes) -> bool:
    """Whether the file is a JPEG."""
    return detect_format(data) is PhotoFormat.JPEG


def read_blocks(data: bytes) -> Blocks:
    """Read a file's metadata blocks.

    Raises:
        WriteRefused: the file has a format that never holds our tags, or is broken.
    """
    if (reader := _reader(data)) is None:
        raise only_jpeg()
    return reader(data)


def replace_blocks(data: bytes, new: Blocks) -> tuple[Splice, ...]:
    """Return the splices that give a JPEG these blocks. Equal ones are not changed; None removes a block.

    Raises:
        WriteRefused: the change would put other data in the file at risk.
    """
    if not is_jpeg(data):
        raise only_jpeg()
    splices = jpeg.replace_blocks(data, new)
    if splices and read_container(data) is None:
        raise broken_structure("its image data cannot be located")
    return splices


def only_jpeg() -> WriteRefused:
    """The refusal for files of other formats."""
    return WriteRefused(
        RefusalKind.FORMAT, "Tags are embedded into JPEG files only. Keep its tags in a sidecar."
    )


_XMP_TEXT = b"XML:com.adobe.xmp"
_PROFILES = [b"Raw profile type " + name for name in (b"exif", b"APP1", b"xmp", b"iptc", b"8bim")]
"""The names of the texts in which ImageMagick keeps blocks, as digits."""
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_UNPACKED_LIMIT = 16 * 2**20
_TIFF_XMP = 700


def _read_png(data: bytes) -> Blocks:
    """Read the XMP text and the EXIF chunk of a PNG, else ImageMagick's profiles, the first of each name."""
    texts: dict[bytes, tuple[bytes, bytes]] = {}
    for kind, chunk in png_chunks(data):
        if kind in _TEXT_CHUNKS:
            name, _, content = bytes(chunk[8:-4]).partition(b"\0")
            texts.setdefault(name, (kind, content))
    blocks: dict[str, bytes] = {}
    for name in filter(texts.__contains__, _PROFILES):
        blocks |= _profile(name, *texts[name])
    if _XMP_TEXT in texts:
        blocks["xmp"] = _png_text(*texts[_XMP_TEXT])
    if (exif := _exif(data)) is not None:
        blocks["exif"] = exif
    return Blocks(**blocks)


def _profile(name: bytes, kind: bytes, content: bytes) -> dict[str, bytes]:
    """The block in a profile, which is its type, its size, and its bytes as digits; none if it is broken."""
    try:
        _, _, digits = _png_text(kind, content).split(maxsplit=2)
        block = bytes.fromhex(digits.decode())
    except (WriteRefused, ValueError):
        return {}
    if name.endswith(b"xmp") or block.startswith(XMP):
        return {"xmp": block.removeprefix(XMP)}
    if name.endswith((b"iptc", b"8bim")):
        return {"iptc": (iptc_in(block) or b"") if block.startswith(b"8BIM") else block}
    return {"exif": block.removeprefix(EXIF)}


def _read_webp(data: bytes) -> Blocks:
    """Read the XMP and EXIF chunks of a WebP."""
    packets = (bytes(chunk[8:]) for kind, chunk in webp_chunks(data) if kind == b"XMP ")
    return Blocks(xmp=next(packets, None), exif=_exif(data))


def _read_tiff(data: bytes) -> Blocks:
    """Read the XMP tag of a TIFF. The file itself is its EXIF block."""
    block = open_tiff(data)
    main = block.directory(block.first) if block else None
    tag = main.tags.get(_TIFF_XMP) if main else None
    return Blocks(xmp=bytes(tag.raw) if tag else None)


def _exif(data: bytes) -> bytes | None:
    exif = exif_of(data)
    return None if exif is None else exif.removeprefix(EXIF)


def _png_text(kind: bytes, content: bytes) -> bytes:
    """The text of a chunk after its name: iTXt has flags, language and translated name before it.

    Raises:
        WriteRefused: the chunk is broken.
    """
    is_packed = kind == b"zTXt"
    if kind == b"iTXt":
        flags, *fields = content[:2], *content[2:].split(b"\0", 2)
        if len(fields) != 3 or flags not in (b"\0\0", b"\0\1", b"\1\0"):
            raise broken_structure("the XMP chunk cannot be read")
        is_packed, content = flags[:1] == b"\1", fields[2]
    elif is_packed:
        content = content[1:]
    if not is_packed:
        return content
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(content, _UNPACKED_LIMIT)
    except zlib.error as error:
        raise broken_structure("the XMP chunk cannot be decompressed") from error
    if not decompressor.eof:
        raise broken_structure("the XMP chunk is truncated or too large")
    return text


_READERS: dict[PhotoFormat | None, Callable[[bytes], Blocks]] = {
    PhotoFormat.JPEG: jpeg.read_blocks,
    PhotoFormat.PNG: _read_png,
    PhotoFormat.WEBP: _read_webp,
    PhotoFormat.TIFF: _read_tiff,
}


def _reader(data: bytes) -> Callable[[bytes], Blocks] | None:
    photo_format = detect_format(data)
    is_unreadable = photo_format is PhotoFormat.TIFF and open_tiff(data) is None
    return None if is_unreadable else _READERS.get(photo_format)


def _read_raw_blocks(data: bytes) -> Blocks:
    """Read the EXIF and XMP of a RAW photo; where the file itself has no XMP, that of its largest preview."""
    raw, preview = read_raw(data), Blocks()
    if raw.previews and not raw.xmp:
        with suppress(WriteRefused):
            preview = jpeg.read_blocks(bytes(raw.previews[0].data))
    return Blocks(xmp=raw.xmp or preview.xmp, exif=raw.exif, iptc=preview.iptc)


def read_heif_blocks(data: bytes) -> Blocks:
    """Read the EXIF and XMP of a HEIC or AVIF photo; empty for other formats and broken files."""
    if not is_iso_media(data):
        return Blocks()
    try:
        photo_format = require_format(data)
        if photo_format not in (PhotoFormat.AVIF, PhotoFormat.HEIF):
            return Blocks()
        info = open_header(data, photo_format, _NO_LIMIT).info
    except Exception:  # noqa: BLE001 - decoders raise errors of any type for broken files
        return Blocks()
    exif, xmp = info.get("exif"), info.get("xmp")
    return Blocks(
        xmp=xmp if isinstance(xmp, bytes) and xmp else None,
        exif=exif.removeprefix(EXIF) if isinstance(exif, bytes) and exif else None,
    )


_NO_LIMIT = 2**62


def read_only_blocks(data: bytes) -> Blocks:
    """Read a photo's blocks; empty for other formats and broken files."""
    return _read_raw_blocks(data) if detect_format(data) is PhotoFormat.RAW else read_heif_blocks(data)
