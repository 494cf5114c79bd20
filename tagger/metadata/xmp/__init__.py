"""XMP packets: our values are added and removed, with a check that nothing else changes."""

from tagger.metadata.xmp.changes import add, remove
from tagger.metadata.xmp.packet import (
    LIST_FIELDS,
    SIDECAR_ONLY_FIELDS,
    sidecar_template,
)
from tagger.metadata.xmp.property_values import (
    Value,
    WrittenLandmark,
    added_values,
    conflicts_with_extended,
    has_our_fields,
    insertion_difference,
    is_our_sidecar,
    keywords,
    names_our_namespace,
    properties,
    removal_difference,
    written_landmarks,
)

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
