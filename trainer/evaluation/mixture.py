"""What a library shows: the shares of its kinds of photos, for which thresholds are chosen."""

import re
from dataclasses import dataclass
from typing import Self

from tagger.model.predictions import KNOWN_SHARE

# The kinds of photos without a label.
ORDINARY, OTHERS = "ordinary photos", "photos of other landmarks"
PATTERN = re.compile(":".join([r"(\d+(?:\.\d+)?)"] * 3))


@dataclass(frozen=True)
class Mixture:
    """The shares of photos of the model's landmarks, of others, and of anything else; their sum is 1."""

    known: float
    other: float
    ordinary: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `KNOWN:OTHER:ORDINARY`, numbers in any unit, such as 5:15:80.

        Raises:
            ValueError: it is something else.
        """
        match = PATTERN.fullmatch(text)
        known, other, ordinary = (float(part) for part in match.groups()) if match else (0, 0, 0)
        if not known:
            raise ValueError(f"{text}: write KNOWN:OTHER:ORDINARY, such as {FAMILY}")
        total = known + other + ordinary
        return cls(known / total, other / total, ordinary / total)

    def __str__(self) -> str:
        return ":".join(f"{100 * share:g}" for share in (self.known, self.other, self.ordinary))


# A family's library.
FAMILY = Mixture(KNOWN_SHARE, 0.15, 0.8)
