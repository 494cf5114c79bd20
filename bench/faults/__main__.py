"""Injects each kind of fault into a job of its own, and checks that no photo is lost or stored twice.

    python -m bench.faults [--rounds 1] [--databases sqlite postgresql] [--only WORD] [--workers 1] [--photos N]

Starts a real Redis, a real database and real workers, which are restarted when they end. For each fault it prints how long
nothing was stored after the fault had ended, when its job was over, and how many photos were classified more than once. The
exit code is 1 if a photo was lost, failed or was stored twice, or if a standstill was longer than 60 s.
"""

import argparse
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from bench.faults.context import Fault, FaultContext
from bench.faults.kinds import faults_for
from bench.faults.system import System, draw_photos, enqueue_again, job_id, running_system, wait_until_ready
from bench.report import note, print_heading, print_table
from tagger.database.tables import contents
from tagger.ledger.progress import JobProgress, list_jobs
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
    """Inject each kind of fault into a job of its own, and check that no photo is lost or stored twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="how often each fault is injected [1]")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES, help="[both]")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults with this text in their name")
    parser.add_argument("--workers", type=int, default=1, help="[1]")
    parser.add_argument("--photos", type=int, default=800, help="of each job [800]")
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults [0]")
    args = parser.parse_args()
    print_heading("Faults")
    has_problems = False
    for database in args.databases:
        kinds = {
            name: fault
            for name, fault in faults_for(postgres=database == "postgresql").items()
            if args.only in name
        }
        if not kinds:
            note(f"no fault of {database} has {args.only!r} in its name")
            continue
        with running_system(postgres=database == "postgresql", workers=args.workers) as system:
            recoveries = _inject_all(system, kinds, args.rounds, args.photos, random.Random(args.seed))
            LOG.parent.mkdir(exist_ok=True)
            shutil.copy(system.log, LOG.with_stem(f"{LOG.stem}-{database}"))
        print(f"### {database}, {args.workers} workers, {args.photos} photos a job\n")
        _print_report(kinds, recoveries)
        has_problems = has_problems or any(recovery.problems for recovery in recoveries)
    print(f"**Result: {'there are problems' if has_problems else 'no photo was lost or stored twice'}.**")
    note(f"the workers' logs are {LOG.with_stem(LOG.stem + '-*')}")
    raise SystemExit(1 if has_problems else 0)


def _inject_all(
    system: System, kinds: Mapping[str, Fault], rounds: int, photos: int, rng: random.Random
) -> list[Recovery]:
    draw_photos(system.photos, 0, photos)
    context = FaultContext(system, rng)
    recoveries = []
    system.supervisor.start()
    try:
        wait_until_ready(system)
        for _ in range(rounds):
            for kind in rng.sample(sorted(kinds), len(kinds)):
                recovery = _inject(context, kind, kinds[kind], photos)
                note(
                    f"{kind}: nothing stored for {recovery.standstill_s:.1f} s, over after {recovery.over_s:.1f} s, "
                    f"{recovery.repeated} classified again{''.join(f'; PROBLEM: {text}' for text in recovery.problems)}"
                )
                recoveries.append(recovery)
    finally:
        system.stopping.set()
        codes = [code for code in system.supervisor.stop() if code]
    if codes:
        recoveries[-1].problems.append(f"workers exited with {codes} after SIGTERM")
    return recoveries


def _inject(context: FaultContext, kind: str, fault: Fault, photos: int) -> Recovery:
    system, recovery = context.system, Recovery(kind)
    classified, contents_before = system.inference_count(), _content_count(system)
    job = job_id(enqueue_again(system, system.photos))
    while _progress(system, job).done < STARTED_SHARE * photos:
        time.sleep(POLL_S)
    fault(context)
    ended = time.monotonic()
    progress = _wait_until_over(system, job, recovery, ended)
    recovery.repeated = system.inference_count() - classified - progress.tagged - progress.unknown
    recovery.problems += _violations(system, progress, photos)
    if (new := _content_count(system) - max(contents_before, photos)) > 0:
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
            progress = _progress(system, job)
            first_done = progress.done if first_done is None else first_done
            if standstill_s is None and (progress.done > first_done or progress.is_over):
                standstill_s = elapsed_s
            if progress.is_over or elapsed_s > RECOVERY_TIMEOUT_S:
                recovery.over_s = elapsed_s
                recovery.standstill_s = elapsed_s if standstill_s is None else standstill_s
                return progress
        time.sleep(POLL_S)


def _violations(system: System, progress: JobProgress, photos: int) -> list[str]:
    found = [*job_violations(system.database, progress.job), *library_violations(system.database)]
    if progress.total != photos:
        found.append(f"the job has {progress.total} photos, not {photos}")
    if progress.failed:
        found.append(f"{progress.failed} valid photos failed")
    return found


def _content_count(system: System) -> int:
    with system.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(contents)) or 0


def _progress(system: System, job: int) -> JobProgress:
    return list_jobs(system.database, job)[0]


def _print_report(kinds: Mapping[str, Fault], recoveries: Sequence[Recovery]) -> None:
    names = (
        "fault",
        "count",
        "s until a photo is stored, median",
        "maximum",
        "s until the job is over, median",
        "maximum",
        "classified again, maximum",
        "problems",
    )
    rows = []
    for kind in kinds:
        of_kind = [recovery for recovery in recoveries if recovery.kind == kind]
        standstills = [recovery.standstill_s for recovery in of_kind]
        ends = [recovery.over_s for recovery in of_kind]
        rows.append(
            (
                kind,
                len(of_kind),
                *(median(standstills), max(standstills)),
                *(median(ends), max(ends)),
                max(recovery.repeated for recovery in of_kind),
                sum(len(recovery.problems) for recovery in of_kind),
            )
        )
    print_table(names, rows)
    for recovery in recoveries:
        for text in recovery.problems:
            print(f"- **problem**, {recovery.kind}: {text}")


if __name__ == "__main__":
    main()
