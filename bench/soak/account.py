"""What a soak comes to: what is wrong with the ledger in the end, and the report."""

import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from sqlalchemy import func, select

from bench.report import print_table
from bench.soak.stage import BATCH_SIZE, Feeder, Stage
from bench.soak.watch import Recovery, Watch
from tagger.database.connection import Database
from tagger.database.tables import contents
from tagger.ledger.progress import JobProgress, list_jobs
from tests.support.ledger_invariants import job_violations, library_violations

MOST_IN_HAND = 2 * 32 + BATCH_SIZE
"""Of one worker, looked at and not stored: less than a transaction of each chunk in hand, and the pass it is in."""


@dataclass
class Account:
    """What happened: how often each kind of fault struck, and what was measured."""

    feeder: Feeder
    watch: Watch
    struck: Counter[str]
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    last_codes: Sequence[int] = ()
    troubles: list[str] = field(default_factory=list)
    """What ended a thread of the soak itself."""


def wrongs(stage: Stage, account: Account) -> list[str]:
    """Everything that must hold and does not."""
    jobs = list_jobs(stage.database)
    return [
        *account.troubles,
        *(wrong for job in jobs for wrong in job_violations(stage.database, job.job)),
        *library_violations(stage.database),
        *_lost(jobs, account.feeder),
        *_failed(jobs),
        *_seen_too_often(stage, account, jobs),
        *_not_known(stage.database, account.feeder),
        *(f"a worker ended with {code} when told to stop" for code in account.last_codes if code),
    ]


def _lost(jobs: Sequence[JobProgress], feeder: Feeder) -> Iterator[str]:
    total = {job.job: job.total for job in jobs}
    for recorded in feeder.recorded:
        if total.get(recorded.job) != recorded.photos:
            yield f"job {recorded.job} has {total.get(recorded.job)} photos, its folder {recorded.photos}"


def _failed(jobs: Sequence[JobProgress]) -> Iterator[str]:
    for job in jobs:
        if job.failed:
            yield f"job {job.job}: {job.failed} sound photos failed"


def _seen_too_often(stage: Stage, account: Account, jobs: Sequence[JobProgress]) -> Iterator[str]:
    twice, most = looked_at_twice(stage, jobs), most_in_hand(account.watch)
    if twice > most:
        yield f"{twice} photos were looked at twice; {most} may have been in hand at kills and freezes"


def looked_at_twice(stage: Stage, jobs: Sequence[JobProgress]) -> int:
    """Photos that went through a model and whose outcome was not stored from that."""
    return stage.passed() - sum(job.tagged + job.unknown for job in jobs)


def most_in_hand(watch: Watch) -> int:
    """What killed or frozen workers may have looked at and not stored."""
    return (watch.kills + watch.freezes) * MOST_IN_HAND


def _not_known(database: Database, feeder: Feeder) -> Iterator[str]:
    with database.read() as connection:
        known = connection.scalar(select(func.count()).select_from(contents)) or 0
    drawn = sum({recorded.folder: recorded.photos for recorded in feeder.recorded}.values())
    if known < drawn:
        yield f"{known} pictures are known of {drawn} that were enqueued"


def print_account(stage: Stage, account: Account, wrong: Sequence[str]) -> None:
    """Print the report in Markdown."""
    jobs = list_jobs(stage.database)
    where = "PostgreSQL" if stage.postgres else "SQLite"
    items = sum(job.total for job in jobs)
    print(
        f"{account.seconds / 60:.1f} minutes on {where}: {len(jobs)} jobs, {account.feeder.drawn} photos, {items} items.\n"
    )
    print_table(("fault", "times"), [*sorted(account.struck.items()), ("**total**", account.struck.total())])
    _print_recoveries(account.watch.recoveries)
    _print_workers(stage)
    _print_sums(stage, account, jobs)
    for each in wrong:
        print(f"- **wrong**: {each}")
    print(
        "**Verdict: something is wrong.**" if wrong else "**Verdict: nothing lost, nothing twice.**",
        flush=True,
    )


def _print_recoveries(recoveries: Sequence[Recovery]) -> None:
    rows: list[Sequence[object]] = []
    for kind in sorted({recovery.kind for recovery in recoveries}):
        of_kind = [recovery for recovery in recoveries if recovery.kind == kind]
        stored = [each.stored_again_s for each in of_kind if each.stored_again_s is not None]
        in_hand = [
            each.in_hand_done_s for each in of_kind if each.in_hand and each.in_hand_done_s is not None
        ]
        rows.append((kind, len(of_kind), *_middle_and_worst(stored), *_middle_and_worst(in_hand)))
    names = (
        "kill -9 of",
        "times",
        "s until photos are stored again, median",
        "worst",
        "s until what it held is done, median",
        "worst",
    )
    print_table(names, rows)


def _middle_and_worst(values: Sequence[float]) -> tuple[object, object]:
    return (median(values), max(values)) if values else ("-", "-")


def _print_workers(stage: Stage) -> None:
    lives = stage.workers.lives
    codes = Counter(_ended(life.process.returncode) for life in lives)
    settled = [life.settled_mib for life in lives if life.settled_mib]
    last = [life.last_mib for life in lives if life.settled_mib]
    longest = max(lives, key=lambda life: life.lived_s)
    print(
        f"- worker processes: {len(lives)}, ended: "
        + ", ".join(f"{count} x {code}" for code, count in sorted(codes.items()))
    )
    if settled:
        print(
            f"- resident memory, MiB: {median(settled):.0f} after a worker's start, {median(last):.0f} at its end (medians), {max(last):.0f} at most at the end"
        )
    print(
        f"- the longest life, {longest.lived_s:.0f} s: {longest.settled_mib:.0f} MiB at its start, {longest.last_mib:.0f} at its end"
    )


def _ended(code: int | None) -> str:
    if code is None:
        return "still there"
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"


def _print_sums(stage: Stage, account: Account, jobs: Sequence[JobProgress]) -> None:
    sums = Counter[str]()
    for job in jobs:
        sums.update(
            tagged=job.tagged,
            unknown=job.unknown,
            skipped=job.skipped,
            failed=job.failed,
            cancelled=job.cancelled,
        )
        sums.update(open=job.queued + job.running)
    refused = len(account.feeder.refused)
    print(
        f"- looked at twice: {looked_at_twice(stage, jobs)} photos; {most_in_hand(account.watch)} may have been in hand at {account.watch.kills} kills and {account.watch.freezes} freezes"
    )
    print(
        f"- `enqueue` that could not record anything, as the database was away or the model was wrong: {refused}\n"
    )
    print_table(("outcome", "items"), [*sums.items(), ("**total**", sums.total())])
