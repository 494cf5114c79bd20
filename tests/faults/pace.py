"""How long faults last: short by default, as long as in earnest where TAGGER_FAULTS=whole says so (`make faults`)."""

import os
from dataclasses import dataclass

WHOLE = os.environ.get("TAGGER_FAULTS") == "whole"


@dataclass(frozen=True)
class Pace:
    """How long servers are away, stand still or are locked, and the workers' own clock (`values`, see injected/)."""

    away_s: float
    frozen_s: float
    locked_s: float
    values: str | None


IN_EARNEST = Pace(away_s=60, frozen_s=25, locked_s=20, values=None)
SHORT = Pace(
    away_s=6,
    frozen_s=4,
    locked_s=4,
    values=(
        "tagger.ledger.jobs.LEASE_S=5 tagger.ledger.jobs.RENEW_S=1.5 tagger.ledger.dispatch.SENT_LONG_AGO_S=2 "
        "tagger.database.BUSY_TIMEOUT_S=1 worker.sweeper.SWEEP_S=1"
    ),
)
