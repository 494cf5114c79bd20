"""The result of a soak: violations of what must hold, and the report."""

import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from sqlalchemy import func, select

from bench.faults.context import FaultContext
from bench.faults.system import BATCH_SIZE, System
from bench.report import print_table
from bench.soak.jobs import JobProducer
from bench.soak.recovery import Recovery, RecoveryMonitor
from tagger.database.connection import Database
from tagger.database.tables import contents
from tagger.ledger.progress import JobProgress, list_jobs
from tests.rig.ledger_invariants import job_violations, library_violations

MAX_UNSTORED = 2 * 32 + BATCH_SIZE
"""Photos that one worker may have classified but not stored: almost a transaction of each of its two chunks, and one batch."""


@dataclass
class SoakRun:
    """What happened during a soak."""

    producer: JobProducer
    monitor: RecoveryMonitor
    context: FaultContext
    fault_counts: Counter[str]
    started: float = field(default_factory=time.monotonic)
    duration_s: float = 0.0
    exit_codes: Sequence[int] = ()
    """Of the workers that were running at the end."""
    errors: list[str] = field(default_factory=list)
    """Exceptions of the soak's own threads."""

    @property
    def max_unstored(self) -> int:
        """Photos that killed or frozen workers may have classified but not stored."""
        return (self.context.kills + self.context.freezes) * MAX_UNSTORED


def find_violations(system: System, soak: SoakRun) -> list[str]:
    """Check the ledger and the exit codes; return everything that is wrong."""
    jobs = list_jobs(system.database)
    return [
        *soak.errors,
        *(text for job in jobs for text in job_violations(system.database, job.job)),
        *library_violations(system.database),
        *_incomplete_jobs(jobs, soak.producer),
        *(f"job {job.job}: {job.failed} valid photos failed" for job in jobs if job.failed),
        *_excess_inferences(system, soak, jobs),
        *_missing_contents(system.database, soak.producer),
        *(f"a worker exited with code {code} after SIGTERM" for code in soak.exit_codes if code),
    ]


def print_report(system: System, soak: SoakRun, violations: Sequence[str]) -> None:
    """Print the report in Markdown."""
    jobs = list_jobs(system.database)
    backend = "PostgreSQL" if system.postgres else "SQLite"
    items = sum(job.total for job in jobs)
    print(
        f"{soak.duration_s / 60:.1f} minutes on {backend}: {len(jobs)} jobs, {soak.producer.photo_count} photos, {items} items.\n"
    )
    counts = soak.fault_counts
    print_table(("fault", "count"), [*sorted(counts.items()), ("**total**", counts.total())])
    _print_recoveries(soak.monitor.recoveries)
    _print_workers(system)
    _print_outcomes(system, soak, jobs)
    for text in violations:
        print(f"- **problem**: {text}")
    result = "there are problems" if violations else "no photo was lost or stored twice"
    print(f"**Result: {result}.**", flush=True)


def _incomplete_jobs(jobs: Sequence[JobProgress], producer: JobProducer) -> Iterator[str]:
    totals = {job.job: job.total for job in jobs}
    for enqueued in producer.jobs:
        if totals.get(enqueued.job) != enqueued.photos:
            yield f"job {enqueued.job} has {totals.get(enqueued.job)} photos, its folder {enqueued.photos}"


def _excess_inferences(system: System, soak: SoakRun, jobs: Sequence[JobProgress]) -> Iterator[str]:
    repeated = _repeated_inferences(system, jobs)
    if repeated > soak.max_unstored:
        yield f"{repeated} photos were classified more than once; kills and freezes explain at most {soak.max_unstored}"


def _repeated_inferences(system: System, jobs: Sequence[JobProgress]) -> int:
    """Return how many photos were classified without storing the result."""
    return system.inference_count() - sum(job.tagged + job.unknown for job in jobs)


def _missing_contents(database: Database, producer: JobProducer) -> Iterator[str]:
    with database.read() as connection:
        stored = connection.scalar(select(func.count()).select_from(contents)) or 0
    expected = sum({enqueued.folder: enqueued.photos for enqueued in producer.jobs}.values())
    if stored < expected:
        yield f"the database has {stored} contents, and {expected} were enqueued"


def _print_recoveries(recoveries: Sequence[Recovery]) -> None:
    rows: list[Sequence[object]] = []
    for kind in sorted({recovery.kind for recovery in recoveries}):
        of_kind = [recovery for recovery in recoveries if recovery.kind == kind]
        stored_s = [each.next_stored_s for each in of_kind if each.next_stored_s is not None]
        chunks_s = [
            each.chunks_done_s for each in of_kind if each.claimed_chunks and each.chunks_done_s is not None
        ]
        rows.append((kind, len(of_kind), *_median_and_maximum(stored_s), *_median_and_maximum(chunks_s)))
    names = (
        "killed with -9",
        "count",
        "s until a photo is stored, median",
        "maximum",
        "s until its chunks are done, median",
        "maximum",
    )
    print_table(names, rows)


def _median_and_maximum(values: Sequence[float]) -> tuple[object, object]:
    return (median(values), max(values)) if values else ("-", "-")


def _print_workers(system: System) -> None:
    workers = system.supervisor.workers
    ends = Counter(_end_of(worker.process.returncode) for worker in workers)
    warm = [worker for worker in workers if worker.warm_mib]
    print(
        f"- worker processes: {len(workers)}; "
        + ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    )
    if warm:
        last_mib = [worker.last_mib for worker in warm]
        print(
            f"- resident MiB: {median(worker.warm_mib for worker in warm):.0f} after the start, {median(last_mib):.0f} at the end (medians), at most {max(last_mib):.0f} at the end"
        )
    oldest = max(workers, key=lambda worker: worker.lifetime_s)
    print(
        f"- the worker that ran longest, {oldest.lifetime_s:.0f} s: {oldest.warm_mib:.0f} MiB after the start, {oldest.last_mib:.0f} at the end"
    )


def _end_of(code: int | None) -> str:
    if code is None:
        return "running"
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def _print_outcomes(system: System, soak: SoakRun, jobs: Sequence[JobProgress]) -> None:
    sums = Counter[str]()
    for job in jobs:
        for name in ("tagged", "unknown", "skipped", "failed", "cancelled"):
            sums[name] += getattr(job, name)
        sums["open"] += job.queued + job.running
    context = soak.context
    print(
        f"- classified more than once: {_repeated_inferences(system, jobs)} photos; {context.kills} kills and {context.freezes} freezes explain at most {soak.max_unstored}"
    )
    print(
        f"- failed `enqueue` commands, while the database was unavailable or the model invalid: {len(soak.producer.errors)}\n"
    )
    print_table(("outcome", "items"), [*sums.items(), ("**total**", sums.total())])
