"""Photos in folders: listing them, reading them within limits, detecting their format, identifying their image.

Knows nothing of pixels (see images).
"""

from tagger.photos.digest import digest_photo
from tagger.photos.files import PhotoBytes, read_photo
from tagger.photos.folder_walk import (
    HEIC_EXTENSIONS,
    PHOTO_EXTENSIONS,
    FolderProblem,
    FoundPhoto,
    find_photo,
    find_photos,
    is_photo_name,
)
from tagger.photos.paths import (
    path_from_json,
    path_from_text,
    path_text,
    path_to_json,
    printable_path,
)

__all__ = [
    "HEIC_EXTENSIONS",
    "PHOTO_EXTENSIONS",
    "FolderProblem",
    "FoundPhoto",
    "PhotoBytes",
    "digest_photo",
    "find_photo",
    "find_photos",
    "is_photo_name",
    "path_from_json",
    "path_from_text",
    "path_text",
    "path_to_json",
    "printable_path",
    "read_photo",
]
