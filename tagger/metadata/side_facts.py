"""Reads the side files of a photo: what each states."""

from collections.abc import Sequence

from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.files.sidecar_names import SIDECAR_MAX_BYTES
from tagger.metadata.stated_facts import StatedFacts
from tagger.metadata.takeout import TAKEOUT_MAX_BYTES, stated_in_takeout
from tagger.metadata.xmp.stated import stated_in_xmp
from tagger.photos.side_files import SideFile
from tagger.photos.source import PhotoSource

SideFacts = Sequence[tuple[SideFile, StatedFacts]]
"""Side files, the one that counts first, with what they state."""


def read_side_facts(source: PhotoSource, photo: str, files: Sequence[SideFile]) -> SideFacts:
    """What the side files of a photo state. One that is gone states nothing; one that cannot be read is broken."""
    folder = photo[: photo.rfind("/") + 1]
    return [(file, _read(source, folder + file.name, is_sidecar=file.is_sidecar)) for file in files]


def _read(source: PhotoSource, path: str, *, is_sidecar: bool) -> StatedFacts:
    try:
        data = source.read(path, max_bytes=SIDECAR_MAX_BYTES if is_sidecar else TAKEOUT_MAX_BYTES).data
    except PhotoFailed as failed:
        return StatedFacts(is_broken=failed.failure.kind is not FailureKind.GONE)
    return stated_in_xmp(data) if is_sidecar else stated_in_takeout(data)
