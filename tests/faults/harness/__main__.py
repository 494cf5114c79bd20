"""Injects faults into running jobs, and checks that no photo is lost or stored twice.

    python -m tests.faults.harness [--databases sqlite postgresql] [--only WORD] [--workers 1] [--photos N]
    python -m tests.faults.harness --soak 20 [--databases sqlite postgresql] [--workers 2] [--seed N]

Starts a real Redis, a real database and real workers, which are restarted when they end. Each kind of fault gets a job of its own:
the report says how long nothing was stored after the fault had ended, when its job was over, and how many photos were classified
more than once. With --soak, faults follow each other for so many minutes in an order that the seed determines, while jobs are
enqueued all the time. The exit code is 1 if a photo was lost, failed or was stored twice, or if a standstill was longer than 60 s.
"""

import argparse
import random
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from bench.photos import draw_photos
from bench.report import note, print_heading, print_table
from tagger.ledger.job_control import JobProgress, find_job
from tests.faults.harness.kinds import faults_for
from tests.faults.harness.soak import soak
from tests.faults.harness.system import (
    PHOTO_SIZE,
    Fault,
    FaultContext,
    System,
    enqueue_again,
    job_id,
    running_system,
    wait_until_ready,
)
from tests.rig.ledger_invariants import job_violations, library_violations

MAX_STANDSTILL_S = 60.0
RECOVERY_TIMEOUT_S = 600.0
STARTED_SHARE = 0.1
"""The fault begins when this share of the photos is stored."""
POLL_S = 0.2
DATABASES = ("sqlite", "postgresql")
LOG = Path("build") / "faults-workers.log"


@dataclass
class Recovery:
    """How one job went on after its fault."""

    kind: str
    standstill_s: float = 0.0
    """From the end of the fault until a photo was stored; 0 if none was left."""
    over_s: float = 0.0
    """From the end of the fault until the job was over."""
    repeated: int = 0
    """Photos that were classified more than once."""
    problems: list[str] = field(default_factory=list)


def main() -> None:
    """Inject faults into running jobs, and check that no photo is lost or stored twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.harness", description=main.__doc__)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES, help="[both]")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults with this text in their name")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="faults that follow each other")
    parser.add_argument("--workers", type=int, default=1, help="[1]")
    parser.add_argument("--photos", type=int, default=800, help="of each job; of the first in a soak [800]")
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults [0]")
    args = parser.parse_args()
    print_heading("Faults")
    problems = [problem for database in args.databases for problem in _test(database, args)]
    for problem in problems:
        print(f"- **problem**: {problem}")
    print(f"**Result: {'there are problems' if problems else 'no photo was lost or stored twice'}.**")
    note(f"the workers' logs are {LOG.with_stem(LOG.stem + '-*')}")
    raise SystemExit(1 if problems else 0)


def _test(database: str, args: argparse.Namespace) -> list[str]:
    """Inject the faults of a database, print a report, and return the problems."""
    is_postgres = database == "postgresql"
    kinds = {name: fault for name, fault in faults_for(postgres=is_postgres).items() if args.only in name}
    if not kinds:
        note(f"no fault of {database} has {args.only!r} in its name")
        return []
    print(f"### {database}, {args.workers} workers, {args.photos} photos a job\n")
    with running_system(postgres=is_postgres, workers=args.workers) as system:
        context = FaultContext(system, random.Random(args.seed))
        system.supervisor.start()
        try:
            wait_until_ready(system)
            if args.soak is not None:
                problems = soak(context, kinds, args.soak, args.photos)
            else:
                problems = _inject_each(context, kinds, args.photos)
        finally:
            system.stopping.set()
            codes = system.supervisor.stop()
            LOG.parent.mkdir(exist_ok=True)
            shutil.copy(system.log, LOG.with_stem(f"{LOG.stem}-{database}"))
    return [*problems, *(f"a worker exited with code {code} after SIGTERM" for code in codes if code)]


def _inject_each(context: FaultContext, kinds: Mapping[str, Fault], photos: int) -> list[str]:
    """Inject each fault into a job of its own, and print how the jobs went on."""
    draw_photos(context.system.photos, 0, photos, PHOTO_SIZE)
    recoveries = []
    for kind in context.rng.sample(sorted(kinds), len(kinds)):
        recoveries.append(_inject(context, kind, kinds[kind], photos))
        note(f"{kind}: over after {recoveries[-1].over_s:.1f} s, problems: {recoveries[-1].problems}")
    names = ("s until a photo is stored", "s until the job is over", "classified again", "problems")
    rows = [
        (each.kind, each.standstill_s, each.over_s, each.repeated, len(each.problems)) for each in recoveries
    ]
    print_table(("fault", *names), rows)
    return [f"{recovery.kind}: {text}" for recovery in recoveries for text in recovery.problems]


def _inject(context: FaultContext, kind: str, fault: Fault, photos: int) -> Recovery:
    system, recovery = context.system, Recovery(kind)
    classified, contents_before = system.inference_count(), system.content_count()
    job = job_id(enqueue_again(system, system.photos))
    while find_job(system.database, job).done < STARTED_SHARE * photos:
        time.sleep(POLL_S)
    fault(context)
    ended = time.monotonic()
    progress = _wait_until_over(system, job, recovery, ended)
    recovery.repeated = system.inference_count() - classified - progress.tagged - progress.unknown
    recovery.problems += [*job_violations(system.database, job), *library_violations(system.database)]
    if progress.total != photos:
        recovery.problems.append(f"the job has {progress.total} photos, not {photos}")
    if progress.failed:
        recovery.problems.append(f"{progress.failed} valid photos failed")
    if (new := system.content_count() - max(contents_before, photos)) > 0:
        recovery.problems.append(f"{new} photos were stored with a content that they no longer have")
    if recovery.standstill_s > MAX_STANDSTILL_S:
        recovery.problems.append(f"nothing was stored for {recovery.standstill_s:.0f} s")
    return recovery


def _wait_until_over(system: System, job: int, recovery: Recovery, ended: float) -> JobProgress:
    """Wait until the job is over; measure how long nothing was stored at first."""
    first_done: int | None = None
    standstill_s: float | None = None
    while True:
        elapsed_s = time.monotonic() - ended
        with suppress(SQLAlchemyError):  # the database needs a moment, too
            progress = find_job(system.database, job)
            first_done = progress.done if first_done is None else first_done
            if standstill_s is None and (progress.done > first_done or progress.is_over):
                standstill_s = elapsed_s
            if progress.is_over or elapsed_s > RECOVERY_TIMEOUT_S:
                recovery.over_s = elapsed_s
                recovery.standstill_s = elapsed_s if standstill_s is None else standstill_s
                return progress
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
