"""Photos on disk: finding them, reading them within limits, knowing them again.

Knows nothing of pixels (see images) or of what was recognised (see results).
"""

from tagger.photos.digest import digest_photo
from tagger.photos.finding import (
    HEIC_EXTENSIONS,
    PHOTO_EXTENSIONS,
    FolderProblem,
    FoundPhoto,
    find_photos,
    found_photo,
    is_photo_name,
)
from tagger.photos.paths import path_from_text, path_text
from tagger.photos.reading import PhotoBytes, read_photo

__all__ = [
    "HEIC_EXTENSIONS",
    "PHOTO_EXTENSIONS",
    "FolderProblem",
    "FoundPhoto",
    "PhotoBytes",
    "digest_photo",
    "find_photos",
    "found_photo",
    "is_photo_name",
    "path_from_text",
    "path_text",
    "read_photo",
]
