"""EXIF blocks: our keywords, description and position are added and removed, and nothing else changes.

Knows nothing of the files that hold EXIF.
"""

from tagger.metadata.exif.block import ExifRewriteError
from tagger.metadata.exif.piexif_writer import ExifChange, add, remove
from tagger.metadata.exif.values import has_position, insertion_difference, read, removal_difference

__all__ = [
    "ExifChange",
    "ExifRewriteError",
    "add",
    "has_position",
    "insertion_difference",
    "read",
    "removal_difference",
    "remove",
]
