"""Runs workers while faults are injected, then checks that no photo was lost or stored twice.

    python -m bench.soak [--minutes 20] [--seed N] [--postgres] [--workers 2] [--photos N]

Starts a real Redis, a real database and real workers, restarts workers that end, and enqueues jobs all the time. The seed
determines the order of the faults. At the end every photo must have exactly one outcome, and none may have failed; otherwise the
exit code is 1. Ctrl-C stops the faults early; the checks still run.
"""

import argparse
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from bench.faults.context import Fault, FaultContext
from bench.faults.kinds import faults_for
from bench.faults.system import System, running_system, wait_until_ready
from bench.report import note, print_heading
from bench.soak.jobs import JobProducer
from bench.soak.recovery import RecoveryMonitor
from bench.soak.report import SoakRun, find_violations, print_report
from tagger.ledger.progress import list_jobs

JOBS_TIMEOUT_S = 600.0
"""All jobs must be over this long after the last fault."""
INTERVAL_S = (5.0, 18.0)
"""The minimum and maximum time between two faults."""
LOG = Path("build") / "soak-workers.log"


def main() -> None:
    """Inject faults into a running system, and check that no photo is lost or stored twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="[20]")
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults and jobs [0]")
    parser.add_argument(
        "--postgres", action="store_true", help="use a temporary PostgreSQL server, not SQLite"
    )
    parser.add_argument("--workers", type=int, default=2, help="[2]")
    parser.add_argument("--photos", type=int, default=600, help="in the first folder [600]")
    args = parser.parse_args()
    print_heading("Soak")
    with running_system(postgres=args.postgres, workers=args.workers) as system:
        soak = run_soak(system, args.minutes * 60, args.photos, args.seed)
        LOG.parent.mkdir(exist_ok=True)
        shutil.copy(system.log, LOG)
        violations = find_violations(system, soak)
        print_report(system, soak, violations)
    note(f"the workers' log is {LOG}")
    raise SystemExit(1 if violations else 0)


def run_soak(system: System, seconds: float, photos: int, seed: int) -> SoakRun:
    """Inject faults for so long, then wait until all jobs are over."""
    producer = JobProducer(system, photos, random.Random(seed))
    monitor = RecoveryMonitor(system.database)
    context = FaultContext(system, random.Random(seed), monitor.begin)
    soak = SoakRun(
        producer,
        monitor,
        context,
        Counter(dict.fromkeys(faults_for(postgres=system.postgres is not None), 0)),
    )
    system.supervisor.start()
    monitor.start()
    try:
        wait_until_ready(system)
        with suppress(KeyboardInterrupt):
            _inject_faults(soak, seconds)
        with suppress(KeyboardInterrupt):
            _wait_for_jobs(system)
    finally:
        system.stopping.set()
        soak.exit_codes = system.supervisor.stop()
        monitor.stop()
    soak.duration_s = time.monotonic() - soak.started
    return soak


def _inject_faults(soak: SoakRun, seconds: float) -> None:
    """Inject faults in rounds of random order, so that each kind occurs, while jobs are enqueued."""
    system, until = soak.context.system, time.monotonic() + seconds

    def inject() -> None:
        for name, fault in _random_rounds(soak.context):
            soak.context.pause(soak.context.rng.uniform(*INTERVAL_S))
            if system.stopping.is_set() or time.monotonic() > until:
                return
            fault(soak.context)
            soak.fault_counts[name] += 1
            note(f"{time.monotonic() - soak.started:6.0f} s  {name}")

    threads = [
        threading.Thread(target=_record_errors, args=(soak, target)) for target in (soak.producer.run, inject)
    ]
    for thread in threads:
        thread.start()
    try:
        # Not join: Ctrl-C interrupts an event's wait at once.
        system.stopping.wait(seconds)
    finally:
        system.stopping.set()
        for thread in threads:
            thread.join()  # a fault in progress is repaired first


def _random_rounds(context: FaultContext) -> Iterator[tuple[str, Fault]]:
    faults = faults_for(postgres=context.system.postgres is not None)
    while True:
        for name in context.rng.sample(sorted(faults), len(faults)):
            yield name, faults[name]


def _record_errors(soak: SoakRun, target: Callable[[], None]) -> None:
    try:
        target()
    except Exception as error:  # noqa: BLE001 - a soak whose own thread fails must not pass
        soak.errors.append(f"the soak itself failed: {type(error).__name__}: {error}")


def _wait_for_jobs(system: System) -> None:
    note("no more faults; waiting until all jobs are over")
    deadline = time.monotonic() + JOBS_TIMEOUT_S
    while any(not job.is_over for job in list_jobs(system.database)) and time.monotonic() < deadline:
        time.sleep(1.0)


if __name__ == "__main__":
    main()
