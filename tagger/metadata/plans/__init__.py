"""Plans of file changes: the new bytes of a photo or sidecar, computed and verified before anything is written.

The base of a file is the file without any of our values. If nobody changed the file since we wrote it, the base is the
original, restored exactly from the undo record. Otherwise it is the file with our values removed. New values are always
added to the base: repeating a write changes nothing, and undo is a write with nothing to add.
"""

from tagger.metadata.plans.base import FilePlan, FindUndoRecord, UndoRecord, digest_file
from tagger.metadata.plans.embed import check_image, plan_embed
from tagger.metadata.plans.sidecar import plan_sidecar, sidecar_has_position

__all__ = [
    "FilePlan",
    "FindUndoRecord",
    "UndoRecord",
    "check_image",
    "digest_file",
    "plan_embed",
    "plan_sidecar",
    "sidecar_has_position",
]
