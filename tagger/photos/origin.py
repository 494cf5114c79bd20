"""The kinds of images that are not as a camera took them. The metadata, the database and the pipeline share these words."""

from enum import StrEnum


class PhotoOrigin(StrEnum):
    """Why an image is not as a camera took it. The time and position of such an image say little about what it shows."""

    SCREENSHOT = "screenshot"
    EDITED = "edited"
