"""EXIF blocks: our keywords, description and position are added and removed, and nothing else changes.

Knows nothing of the files that hold EXIF.
"""

from tagger.metadata.exif.block import ExifRewriteError
from tagger.metadata.exif.values import has_position, insertion_difference, read, removal_difference
from tagger.metadata.exif.writer import ExifChange, add, remove

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
