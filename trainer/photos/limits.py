"""The most bytes and pixels of a photo: what the tagger has where nobody sets anything else."""

from tagger.settings import Settings

MAX_BYTES: int = Settings.model_fields["max_bytes"].default
MAX_PIXELS: int = Settings.model_fields["max_pixels"].default
