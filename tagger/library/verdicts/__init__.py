"""Verdicts: whether a landmark is in an image. They are final, whatever models predict before or after.

A verdict belongs to an image (a row of contents): copies and moved files share it, and it survives `tagger forget`.
"""

from tagger.library.verdicts.importing import ImportedVerdicts, import_verdicts, read_entries
from tagger.library.verdicts.listing import (
    ListedVerdict,
    VerdictFilter,
    list_dismissals,
    list_verdicts,
    verdict_page,
)
from tagger.library.verdicts.service import (
    PhotosVerdictResult,
    QueryVerdictResult,
    VerdictResult,
    give_verdict,
    give_verdict_by_query,
    give_verdict_to_photos,
    withdraw_verdict,
    withdraw_verdict_from_photos,
    withdraw_verdicts,
)
from tagger.library.verdicts.store import (
    NOT_A_LANDMARK,
    DismissedPhotos,
    VerdictKind,
    dismiss_photos,
    restore_photos,
)

__all__ = [
    "NOT_A_LANDMARK",
    "DismissedPhotos",
    "ImportedVerdicts",
    "ListedVerdict",
    "PhotosVerdictResult",
    "QueryVerdictResult",
    "VerdictFilter",
    "VerdictKind",
    "VerdictResult",
    "dismiss_photos",
    "give_verdict",
    "give_verdict_by_query",
    "give_verdict_to_photos",
    "import_verdicts",
    "list_dismissals",
    "list_verdicts",
    "read_entries",
    "restore_photos",
    "verdict_page",
    "withdraw_verdict",
    "withdraw_verdict_from_photos",
    "withdraw_verdicts",
]
