"""Reading and exchanging the metadata blocks of a photo file, whatever its container."""

from collections.abc import Callable
from dataclasses import dataclass

from tagger.metadata.blocks import Blocks
from tagger.metadata.formats import jpeg, png, tiff, webp
from tagger.metadata.formats.refusing import broken, no_place
from tagger.metadata.splices import Splice
from tagger.photos.containers import PNG_SIGNATURE, read_container
from tagger.photos.tiff import open_tiff


def can_embed(data: bytes) -> bool:
    """Whether a file is of a container that blocks are written into; it may be refused all the same."""
    return _format(data) is not None


def read_blocks(data: bytes) -> Blocks:
    """What stands in a file beside its picture.

    Raises:
        WriteRefused: it is of another container, or does not hold together.
    """
    return _known_format(data).read(data)


def replace_blocks(data: bytes, wanted: Blocks) -> tuple[Splice, ...]:
    """The changes that give a file these blocks; those that it has already are not touched, None takes one away.

    Raises:
        WriteRefused: it cannot be done without risk to what else is in the file.
    """
    splices = _known_format(data).replace(data, wanted)
    if splices and read_container(data) is None:
        raise broken("its picture cannot be told from the rest of the file")
    return splices


def extended_xmp(data: bytes) -> bytes | None:
    """The part of a JPEG file's XMP that did not fit into its packet and is never written; None: nothing readable.

    Raises:
        WriteRefused: the file does not hold together.
    """
    return jpeg.extended_xmp(data) if _format(data) is _JPEG else None


@dataclass(frozen=True)
class _Format:
    read: Callable[[bytes], Blocks]
    replace: Callable[[bytes, Blocks], tuple[Splice, ...]]


_JPEG = _Format(jpeg.read_blocks, jpeg.replace_blocks)
_PNG = _Format(png.read_blocks, png.replace_blocks)
_WEBP = _Format(webp.read_blocks, webp.replace_blocks)
_TIFF = _Format(tiff.read_blocks, tiff.replace_blocks)


def _known_format(data: bytes) -> _Format:
    found = _format(data)
    if found is None:
        raise no_place("Only JPEG, PNG, WebP and TIFF files are written into")
    return found


def _format(data: bytes) -> _Format | None:
    if data.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if data.startswith(PNG_SIGNATURE):
        return _PNG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _WEBP
    return _TIFF if open_tiff(data) else None
