"""`tagger retry`: photos that fail now, again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tagger.cli import console
from tagger.cli.options import (
    DryRun,
    FailureKinds,
    JobNumber,
    Json,
    PriorityName,
    Wait,
    chosen_kinds,
    chosen_priority,
)
from tagger.cli.output import write_json
from tagger.cli.progress import ProgressLine
from tagger.cli.recording import end_of_recording, load, opened, send_messages

if TYPE_CHECKING:
    from tagger.database import Database
    from tagger.ledger.jobs import NewJob
    from tagger.settings import Settings
    from tagger.tables import Priority


def retry(
    job: JobNumber = None,
    kind: FailureKinds = None,
    priority: PriorityName = "bulk",
    wait: Wait = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Look again at photos that fail now, in a new job for the workers, and print its number.

    With JOB: those of that job, with its model. Without: all, with the model that new jobs get. A photo that was
    tagged since is not looked at again.

    Example: tagger retry --kind unreadable --kind timed-out --wait
    """
    from tagger.errors import JobNotRetriable
    from tagger.ledger.jobs import kind_of
    from tagger.ledger.progress import Failing, check_job
    from tagger.ledger.retrying import count_failing, record_retry
    from tagger.tables import WRITING_KINDS
    from worker.broker import find_broker

    wanted, failing = chosen_priority(priority), Failing(job, chosen_kinds(kind))
    settings = load()
    database = opened(settings)
    if job is not None:
        check_job(database, job)
        if kind_of(database, job) in WRITING_KINDS:
            raise JobNotRetriable(job=job)
    counts = count_failing(database, failing)
    if dry_run or not counts:
        _print_counts(counts, dry_run=dry_run, json=json)
        return
    new = _new_job(database, settings, job, wanted)
    broker = find_broker(settings, start=wait)
    with ProgressLine("photos that fail") as line:
        number = record_retry(
            database,
            new,
            failing,
            lambda count: line.show("photos that fail", count, sum(counts.values())),
        )
    send_messages(database, broker, number)
    end_of_recording(database, number, wait=wait, json=json)


def _new_job(database: Database, settings: Settings, job: int | None, priority: Priority) -> NewJob:
    """A retry that looks as the job named did, or as new jobs do."""
    from tagger.ledger.jobs import NewJob
    from tagger.ledger.retrying import like_job
    from tagger.looks import look_of
    from tagger.registry import model_by_id, verify
    from tagger.tables import JobKind, Runner

    if job is not None:
        new = like_job(database, job, priority)
        verify(model_by_id(database, new.model_id))
        return new
    look = look_of(database, settings)
    return NewJob(
        model_id=look.model_id,
        top_k=look.top_k,
        threshold=look.threshold,
        runner=Runner.WORKERS,
        priority=priority,
        kind=JobKind.RETRY,
    )


def _print_counts(counts: dict[str, int], *, dry_run: bool, json: bool) -> None:
    total = sum(counts.values())
    if json:
        write_json({"job": None, "total": total, "kinds": counts, "dry_run": dry_run})
    elif dry_run:
        for kind, count in counts.items():
            typer.echo(f"{kind}: {count}")
    if not counts:
        console.say("no photo of these fails now; there is nothing to retry")
    elif dry_run:
        console.say(
            f"{total} photo{'' if total == 1 else 's'} would be looked at again; nothing was recorded"
        )
