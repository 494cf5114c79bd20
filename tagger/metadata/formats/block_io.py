"""Reading and replacing the metadata blocks of a photo file of any supported format."""

from collections.abc import Callable
from dataclasses import dataclass

from tagger.metadata.formats import jpeg, png, tiff, webp
from tagger.metadata.formats.blocks import Blocks
from tagger.metadata.formats.refusals import broken_structure, unsupported_block
from tagger.metadata.splices import Splice
from tagger.photos.containers import read_container
from tagger.photos.formats import PhotoFormat, detect_format
from tagger.photos.tiff import open_tiff


def can_embed(data: bytes) -> bool:
    """Whether blocks can be written into files of this format. An individual file may still be refused."""
    return _block_format(data) is not None


def is_jpeg(data: bytes) -> bool:
    """Whether the file is a JPEG."""
    return detect_format(data) is PhotoFormat.JPEG


def read_blocks(data: bytes) -> Blocks:
    """Read a file's metadata blocks.

    Raises:
        WriteRefused: the file has another format, or is broken.
    """
    return _require_block_format(data).read(data)


def replace_blocks(data: bytes, new: Blocks) -> tuple[Splice, ...]:
    """Return the splices that give a file these blocks. Blocks that are equal are not changed; None removes a block.

    Raises:
        WriteRefused: the change would put other data in the file at risk.
    """
    splices = _require_block_format(data).replace(data, new)
    if splices and read_container(data) is None:
        raise broken_structure("its image data cannot be located")
    return splices


def extended_xmp(data: bytes) -> bytes | None:
    """The part of a JPEG file's XMP that exceeds its packet and is never written; None if there is none to read.

    Raises:
        WriteRefused: the file is broken.
    """
    return jpeg.extended_xmp(data) if is_jpeg(data) else None


@dataclass(frozen=True)
class _BlockFormat:
    read: Callable[[bytes], Blocks]
    replace: Callable[[bytes, Blocks], tuple[Splice, ...]]


_BLOCK_FORMATS = {
    PhotoFormat.JPEG: _BlockFormat(jpeg.read_blocks, jpeg.replace_blocks),
    PhotoFormat.PNG: _BlockFormat(png.read_blocks, png.replace_blocks),
    PhotoFormat.WEBP: _BlockFormat(webp.read_blocks, webp.replace_blocks),
    PhotoFormat.TIFF: _BlockFormat(tiff.read_blocks, tiff.replace_blocks),
}


def _require_block_format(data: bytes) -> _BlockFormat:
    block_format = _block_format(data)
    if block_format is None:
        raise unsupported_block("Metadata is embedded in JPEG, PNG, WebP and TIFF files only")
    return block_format


def _block_format(data: bytes) -> _BlockFormat | None:
    photo_format = detect_format(data)
    if photo_format is PhotoFormat.TIFF and open_tiff(data) is None:
        return None
    return _BLOCK_FORMATS.get(photo_format) if photo_format else None
