"""What a person asked to have written: where, and which of the fields that need asking."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from tagger.ledger.jobs import WRITE
from tagger.tables import Target

OF_JOB = "of_job"
"""Among the options of a job that takes back: whose writes, where only those of one job are meant."""


@dataclass(frozen=True)
class WriteAsked:
    """`gps`: also the landmark's place, as where the camera stood. `description`: also in words. Both where nothing is yet."""

    to: Target
    gps: bool = False
    description: bool = False

    def as_options(self) -> dict[str, object]:
        """As a job's options keep it."""
        return {WRITE: asdict(self)}

    @classmethod
    def of_options(cls, options: Mapping[str, Any]) -> Self | None:
        """What the options of a job say; None: nothing is to be written."""
        given = options.get(WRITE)
        return None if given is None else cls(Target(given["to"]), given["gps"], given["description"])
