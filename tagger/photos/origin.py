"""What a photo is, if no camera took it as it is. The metadata, the database and the pipeline share these words."""

from enum import StrEnum


class PhotoOrigin(StrEnum):
    """What a photo is that no camera took as it is: its time and position say little about what it shows."""

    SCREENSHOT = "screenshot"
    EDITED = "edited"
