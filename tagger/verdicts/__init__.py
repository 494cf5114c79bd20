"""People's verdicts: what a person says of a landmark on a picture; final, whatever models say before or after.

A verdict belongs to the picture (contents), so copies and moved files share it, and forgetting photos keeps it.
"""

from tagger.verdicts.carried import ImportedVerdicts, import_verdicts
from tagger.verdicts.entries import read_entries
from tagger.verdicts.given import (
    Given,
    GivenToFound,
    GivenToPhotos,
    give_to_found,
    give_to_photos,
    give_verdict,
    take_back,
    take_back_found,
    take_back_from_photos,
)
from tagger.verdicts.kept import Word
from tagger.verdicts.listed import ListedVerdict, VerdictFilter, list_verdicts, verdict_page

__all__ = [
    "Given",
    "GivenToFound",
    "GivenToPhotos",
    "ImportedVerdicts",
    "ListedVerdict",
    "VerdictFilter",
    "Word",
    "give_to_found",
    "give_to_photos",
    "give_verdict",
    "import_verdicts",
    "list_verdicts",
    "read_entries",
    "take_back",
    "take_back_found",
    "take_back_from_photos",
    "verdict_page",
]
