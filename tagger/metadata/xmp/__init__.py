"""XMP: our fields merged into a packet of whoever's, taken out again, and proof that nothing else has changed."""

from tagger.metadata.xmp.copying import copied
from tagger.metadata.xmp.ours import add
from tagger.metadata.xmp.proof import in_extended, only_ours_differs
from tagger.metadata.xmp.properties import Value, properties
from tagger.metadata.xmp.records import WrittenLandmark, added, is_ours, landmarks
from tagger.metadata.xmp.removing import remove
from tagger.metadata.xmp.rest import only_ours_went

__all__ = [
    "Value",
    "WrittenLandmark",
    "add",
    "added",
    "copied",
    "in_extended",
    "is_ours",
    "landmarks",
    "only_ours_differs",
    "only_ours_went",
    "properties",
    "remove",
]
