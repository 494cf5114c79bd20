"""The plan of one file: its current bytes, its new bytes and the record that undoes the change."""

from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from tagger.database.enums import Target
from tagger.metadata.files.originals import Original
from tagger.metadata.tag_fields import Position


@dataclass(frozen=True)
class UndoRecord:
    """What restores a file after a write.

    `written_digest` and `base_digest` are digests of the whole file, after the write and of its base. `inverse` holds
    the inverse splices. `base_digest` and `inverse` are None if the write created the file.
    """

    written_digest: str
    base_digest: str | None
    inverse: bytes | None


FindUndoRecord = Callable[[str], UndoRecord | None]
"""Finds the undo record of the write that produced a file with this digest."""


@dataclass(frozen=True)
class FilePlan:
    """A file and its new content.

    `data` is None if the file should not exist. `undo_record` is None if the new content holds none of our values.
    `position` is ours in the new content. `notes` name the values that were left out of a block, with the reason. `template` is the XMP that a new sidecar
    copies from its photo. `restores_original` says that removing our values yields the original, byte for byte.
    """

    target: Target
    original: Original
    data: bytes | None
    undo_record: UndoRecord | None
    position: Position | None = None
    notes: tuple[str, ...] = ()
    template: bytes | None = None
    restores_original: bool = False

    @property
    def changes(self) -> bool:
        return self.data != self.original.data


def digest_file(data: bytes) -> str:
    """The BLAKE3 digest of a whole file, by which its undo record is found."""
    return blake3(data).hexdigest()
