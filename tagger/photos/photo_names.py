"""Which names of files are those of photos, and which of RAW files; the others, which a listing leaves out, are counted by extension.

Whether a photo can be read is known when it is read.
"""

import importlib.util
import os
from collections import Counter
from functools import cache

MOST_EXTENSIONS = 1000
"""What follows the last dot of a name may be a number, or anything else."""
LONGEST_EXTENSION = 10


class OtherFiles:
    """Counts such files while a listing runs. Sidecars are not among them."""

    def __init__(self) -> None:
        self.count = 0
        self.by_extension: Counter[str] = Counter()
        """Without those that are rare, or too long to be one: its sum may be less than `count`."""

    def add(self, extension: str) -> None:
        """Count one more file; the extension begins with a dot, or is empty."""
        self.count += 1
        known = self.by_extension
        if extension in known or (1 < len(extension) <= LONGEST_EXTENSION and len(known) < MOST_EXTENSIONS):
            known[extension] += 1


RAW_EXTENSIONS = frozenset(
    (
        *(
            ".dng",
            ".cr2",
            ".cr3",
            ".nef",
            ".nrw",
            ".arw",
            ".sr2",
            ".orf",
            ".ori",
            ".rw2",
            ".rwl",
            ".raf",
            ".pef",
            ".srw",
        ),
        *(".3fr", ".fff", ".iiq"),
    )
)
"""Extensions of cameras' RAW files in which previews are found, in any case."""
DEVELOPED_EXTENSIONS = frozenset((".crw", ".mrw", ".x3f"))
"""Extensions of RAW files that are photos if the extra that develops them is installed."""
PHOTO_EXTENSIONS = RAW_EXTENSIONS | {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif")
}
"""Extensions of photos, in any case. EPS and PDF are excluded because their readers start other programs."""
HEIC_EXTENSIONS = frozenset((".heic", ".heif", ".hif"))
"""Extensions of photos if the extra that reads them is installed."""
SIDECAR_EXTENSION = ".xmp"
"""In any case."""


def is_photo_name(name: str) -> bool:
    """Whether a file of this name is listed as a photo."""
    return is_photo_extension(extension_of(name))


def is_photo_extension(extension: str) -> bool:
    """Whether files with this extension, in lower case, are listed as photos."""
    return (
        extension in PHOTO_EXTENSIONS
        or (extension in HEIC_EXTENSIONS and _reads_heic())
        or (extension in DEVELOPED_EXTENSIONS and _develops_raw())
    )


def is_raw_name(name: str) -> bool:
    """Whether a file of this name is a camera's RAW file."""
    extension = extension_of(name)
    return extension in RAW_EXTENSIONS or extension in DEVELOPED_EXTENSIONS


def extension_of(name: str) -> str:
    """The extension in lower case, with its dot; empty if there is none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - creating a Path per name would dominate the time


def needed_extra(extension: str) -> str | None:
    """The extra that is not installed and would make files with this extension photos; None if there is none."""
    if extension in HEIC_EXTENSIONS and not _reads_heic():
        return "heic"
    return "raw" if extension in DEVELOPED_EXTENSIONS and not _develops_raw() else None


@cache
def _reads_heic() -> bool:
    return importlib.util.find_spec("pillow_heif") is not None


@cache
def _develops_raw() -> bool:
    return importlib.util.find_spec("rawpy") is not None
