"""The worker as a program: what `tagger worker` runs, the same as `celery -A worker.app worker`."""

import os
from collections.abc import Sequence

from celery.bin.celery import celery


def run_worker(queues: Sequence[str], log_level: str) -> None:
    """Run until stopped; ends the process with the worker's exit code."""
    celery.main(
        [
            *("-A", "worker.app", "worker", "--queues", ",".join(queues)),
            *("--loglevel", log_level, "--hostname", f"tagger-{os.getpid()}@%h"),
            # Talk between workers; ours know each other through SQL.
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        prog_name="celery",
    )
