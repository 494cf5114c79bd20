"""XMP packets: our values are added and removed, with a check that nothing else changes."""

from tagger.metadata.xmp.differences import conflicts_with_extended, insertion_difference, removal_difference
from tagger.metadata.xmp.insertion import add
from tagger.metadata.xmp.packet import SIDECAR_ONLY_FIELDS, sidecar_template
from tagger.metadata.xmp.properties import (
    Value,
    WrittenLandmark,
    added_values,
    has_our_fields,
    is_our_sidecar,
    keywords,
    names_our_namespace,
    properties,
    written_landmarks,
)
from tagger.metadata.xmp.removal import remove
from tagger.metadata.xmp.schema import LIST_FIELDS

__all__ = [
    "LIST_FIELDS",
    "SIDECAR_ONLY_FIELDS",
    "Value",
    "WrittenLandmark",
    "add",
    "added_values",
    "conflicts_with_extended",
    "has_our_fields",
    "insertion_difference",
    "is_our_sidecar",
    "keywords",
    "names_our_namespace",
    "properties",
    "removal_difference",
    "remove",
    "sidecar_template",
    "written_landmarks",
]
