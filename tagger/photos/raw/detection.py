"""Detects RAW files by their content. Most are TIFFs to every other reader, so their directories decide."""

from tagger.photos.raw.directories import directories_of, is_sensor_image
from tagger.photos.raw.phase_one import is_phase_one
from tagger.photos.tiff import open_tiff

CANON_BRAND = b"crx "
FUJIFILM_SIGNATURE = b"FUJIFILMCCD-RAW"
PANASONIC_SIGNATURE = b"IIU\0"
_OLYMPUS_SIGNATURES = (b"IIRO", b"IIRS", b"MMOR")
MINOLTA_SIGNATURE = b"\0MRM"
_UNPARSED_SIGNATURES = (b"II\x1a\0\0\0HEAPCCDR", b"FOVb")
"""Of Canon (CRW) and Sigma. No parts of these files are found; they can be developed."""
_SIGNATURES = (
    *(FUJIFILM_SIGNATURE, PANASONIC_SIGNATURE, MINOLTA_SIGNATURE),
    *_OLYMPUS_SIGNATURES,
    *_UNPARSED_SIGNATURES,
)
_DIRECTORY_LIMIT = 8
_DNG_VERSION = 50706


def is_raw(head: bytes) -> bool:
    """Whether a file that begins with `head` is a RAW file. False if the directories that say so lie behind `head`."""
    if head.startswith(_SIGNATURES) or (head[4:8] == b"ftyp" and head[8:12] == CANON_BRAND):
        return True
    block = open_tiff(head)
    if block is None:
        return False
    if head[8:11] == b"CR\2" or is_phase_one(head):
        return True
    return any(
        _DNG_VERSION in directory.tags or is_sensor_image(block, directory)
        for directory in directories_of(block, _DIRECTORY_LIMIT)
    )
