"""Plans of one sidecar, with the values that its photo leaves free."""

from pathlib import Path

from tagger.metadata.plans import FilePlan, FindUndoRecord, owner_values, plan_sidecar, read_sidecar
from tagger.metadata.tag_fields import TagFields
from tagger.photos.formats.reader import Blocks


def sidecar_plan(
    path: Path, tag_fields: TagFields, find_undo_record: FindUndoRecord, *, photo_data: bytes = b""
) -> FilePlan:
    """Plan the sidecar at `path` of a photo with this content; without content, a removal."""
    blocks, new_fields = Blocks(), TagFields()
    if photo_data:
        blocks, new_fields = owner_values(photo_data, tag_fields, find_undo_record)
    return plan_sidecar(read_sidecar(path, find_undo_record), new_fields, blocks)
