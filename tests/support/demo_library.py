"""A demonstration library: photos tagged by a worker, verdicts, and jobs in every state."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from sqlalchemy import delete, func, insert, select, update
from support.commands import Terminal

from tagger.database.connection import Database
from tagger.database.statements import db_now
from tagger.database.tables import Priority, Runner, chunks, contents, jobs, verdicts, workers
from tagger.enqueue.backfill import Backfill, BackfillScope
from tagger.enqueue.schedules import add_schedule, pause_schedule
from tagger.enqueue.selection import select_paths
from tagger.ledger import job_control
from tagger.ledger.chunks import ChunkName, Claim, claim_chunk, renew_leases
from tagger.ledger.jobs import suspend_for_root
from tagger.processing.executor import ChunkExecutor
from tagger.query import PhotoQuery, TaggedPhoto, find_tagged, landmark_counts
from tagger.settings import Settings
from tagger.verdicts import VerdictKind, give_verdict_to_photos
from tagger.web.api.job_starter import JobStarter, TaggingOptions

THEN = datetime(2026, 5, 3, 18, 30, tzinfo=UTC)
"""When all of it happened, so that the same library looks the same whenever it is made."""
WORKERS = {"tagger-4127@studio": "cuda", "tagger-4128@studio": "cuda", "tagger-901@attic": "cpu"}


@dataclass(frozen=True)
class DemoLibrary:
    """What there is to open: the landmark with the most photos, a photo of it, one of none, and jobs by their numbers."""

    settings: Settings
    database: Database
    landmark: str
    photo: int
    known: str
    unknown: str
    failing: int
    running: int
    held: list[Claim]

    def say_alive(self) -> None:
        """What workers say every few seconds: that they are there, and still have their chunks in hand."""
        renew_leases(self.database, self.held)
        columns = {"started_at": THEN, "heartbeat_at": 0.0}
        rows = [{"name": name, "device": device, **columns} for name, device in WORKERS.items()]
        with self.database.write() as connection:
            connection.execute(delete(workers))
            connection.execute(insert(workers), rows)
            connection.execute(update(workers).values(heartbeat_at=db_now()))


@contextmanager
def demo_library(home: Path, model: Path) -> Iterator[DemoLibrary]:
    """The photos in `home/Pictures`, as the model sees them. Its Redis runs meanwhile."""
    terminal = Terminal(home, {"TAGGER_MODEL": str(model)})
    pictures = home / "Pictures"
    settings = Settings(data_folder=terminal.data, model=str(model), device="cpu", backend="torchscript")
    _spoil(pictures)
    try:
        terminal.run_process("up", "--once", pictures, code=3, timeout_s=1200)
        with terminal.database() as database:
            landmark = landmark_counts(database)[0].landmark
            surest = sorted(find_tagged(database, PhotoQuery(landmark=landmark)), key=_score, reverse=True)
            looked = list(find_tagged(database, PhotoQuery(any_rank=True)))
            _judge(database, landmark, [photo.id for photo in surest])
            terminal.run("metadata", "write", "--to", "sidecar", "--landmark", landmark)
            held = _begin_jobs(database, settings, pictures)
            _add_schedules(database, pictures)
            _date(database)
            yield DemoLibrary(
                settings,
                database,
                landmark,
                photo=surest[0].id,
                known=surest[0].path,
                unknown=min(looked, key=_score).path,
                failing=1,
                running=held[0].name.job_id,
                held=held,
            )
    finally:
        terminal.end_embedded_redis()


def _spoil(pictures: Path) -> None:
    """Some files fail: one that is broken, one without anything, one that is something else."""
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff and then nothing of a photo")
    (pictures / "empty.jpg").touch()
    (pictures / "letter.jpg").write_text("Dear Ada, the photos are in the other folder.\n")


def _score(photo: TaggedPhoto) -> float:
    return max(tag.score or 0.0 for tag in photo.tags)


def _judge(database: Database, landmark: str, surest: list[int]) -> None:
    give_verdict_to_photos(database, surest[:3], landmark, VerdictKind.CONFIRMED, "ada")
    give_verdict_to_photos(database, surest[-1:], landmark, VerdictKind.REJECTED, "ada")


def _begin_jobs(database: Database, settings: Settings, pictures: Path) -> list[Claim]:
    """Jobs that wait, stand still, were ended, and are worked on; returns what is in hand of the last."""
    stopping = Event()
    starter, executor = JobStarter(settings, database, stopping), ChunkExecutor(database, settings)
    folders = sorted(folder for folder in pictures.iterdir() if folder.is_dir()) or [pictures]

    def begin(folder: Path, priority: Priority = Priority.BULK) -> int:
        return starter.tag(select_paths([folder]), TaggingOptions(priority, reprocess=True))

    job_control.cancel(database, begin(folders[-1]))
    suspend_for_root(database, begin(folders[-1]), "Old disk")
    begin(folders[-1], Priority.INTERACTIVE)
    largest = max(folders, key=lambda folder: sum(1 for _ in folder.rglob("*.jpg")))
    paused, running = begin(largest), begin(pictures)
    try:
        for job, left in ((paused, 1), (running, 3)):
            for chunk in range(_count_chunks(database, job) - left):
                executor.execute(_claimed(database, job, chunk, chunk))
        job_control.pause(database, paused)
        last = _count_chunks(database, running) - 1
        return [_claimed(database, running, chunk, chunk) for chunk in range(max(0, last - 2), last)]
    finally:
        executor.close()
        starter.close()


def _count_chunks(database: Database, job: int) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).where(chunks.c.job_id == job)) or 0


def _claimed(database: Database, job: int, chunk: int, worker: int) -> Claim:
    taken = claim_chunk(database, ChunkName(job, chunk), Runner.WORKERS, list(WORKERS)[worker % len(WORKERS)])
    assert taken is not None
    return taken


def _add_schedules(database: Database, pictures: Path) -> None:
    add_schedule(
        database,
        "nightly",
        "0 3 * * *",
        Backfill(BackfillScope.UNTAGGED, scan=(pictures,)),
        Priority.BULK,
        "Europe/Paris",
    )
    add_schedule(
        database,
        "after a new model",
        "0 1 * * 6",
        Backfill(BackfillScope.OUTDATED),
        Priority.BULK,
        "Europe/Paris",
    )
    pause_schedule(database, "after a new model", paused=True)


def _date(database: Database) -> None:
    with database.write() as connection:
        connection.execute(update(contents).values(classified_at=THEN))
        connection.execute(update(verdicts).values(given_at=THEN))
        for column in (jobs.c.created_at, jobs.c.started_at, jobs.c.finished_at):
            connection.execute(update(jobs).where(column.is_not(None)).values({column: THEN}))
