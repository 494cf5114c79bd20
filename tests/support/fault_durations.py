"""How long faults last: seconds, or as long as in production with FAULT_DURATIONS=real."""

import os
from dataclasses import dataclass

REAL_FAULTS = os.environ.get("FAULT_DURATIONS") == "real"


@dataclass(frozen=True)
class FaultDurations:
    """How long servers are down or paused. `values` sets the workers' intervals."""

    away_s: float
    frozen_s: float
    values: str | None


REAL_DURATIONS = FaultDurations(away_s=60, frozen_s=25, values=None)
SHORT_DURATIONS = FaultDurations(
    away_s=6,
    frozen_s=4,
    values=(
        "tagger.ledger.jobs.LEASE_S=5 tagger.ledger.jobs.RENEW_S=1.5 "
        "tagger.database.engine.BUSY_TIMEOUT_S=1 worker.sweeper.SWEEP_S=1 tagger.ledger.workers.RETRY_S=1"
    ),
)
