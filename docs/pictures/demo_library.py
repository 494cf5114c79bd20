"""A demonstration library: tagged photos, verdicts, and jobs in every state."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, func, insert, select, update
from support.commands import Terminal

from tagger.database import Priority, VerdictKind
from tagger.database.connection import Database
from tagger.database.statements import db_now
from tagger.database.tables import chunks, contents, jobs, verdicts, workers
from tagger.jobs.enqueue.schedules import add_schedule, pause_schedule
from tagger.jobs.enqueue.selection import select_paths
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, Tagging, submit
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.kept.update import update_kept
from tagger.ledger import job_control, suspend_for_root
from tagger.ledger.chunks import Claim, claim_next_chunk, renew_leases
from tagger.ledger.workers import record_tick
from tagger.query.counts import landmark_counts
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import TaggedPhoto
from tagger.settings import Settings
from tagger.verdicts import give_verdicts

THEN = datetime(2026, 5, 3, 18, 30, tzinfo=UTC)
"""The time of everything in the library, so that screenshots do not depend on the current time."""
WORKERS = {
    "tagger-4127@studio": "cuda",
    "tagger-4128@studio": "cuda",
    "tagger-901@attic": "cpu",
}


@dataclass(frozen=True)
class DemoLibrary:
    """The landmark with the most photos, its best photo, and the ids of two jobs."""

    settings: Settings
    database: Database
    landmark: str
    photo: int
    failing: int
    running: int
    claims: list[Claim]

    def send_heartbeats(self) -> None:
        """Renew heartbeats, leases and the tick of beat, as running workers do every few seconds."""
        renew_leases(self.database, self.claims)
        record_tick(self.database)
        columns = {"started_at": THEN, "heartbeat_at": 0.0}
        rows = [
            {"name": name, "device": device, **columns}
            for name, device in WORKERS.items()
        ]
        with self.database.write() as connection:
            connection.execute(delete(workers))
            connection.execute(insert(workers), rows)
            connection.execute(update(workers).values(heartbeat_at=db_now()))


@contextmanager
def demo_library(home: Path, model: Path) -> Iterator[DemoLibrary]:
    """Tag the photos in `home/Pictures`, and yield the library. Its Redis runs until the context ends."""
    terminal = Terminal(home, {"TAGGER_MODEL": str(model)})
    pictures = home / "Pictures"
    settings = Settings(
        data_folder=terminal.data, model=str(model), device="cpu", backend="torchscript"
    )
    _add_failing_files(pictures)
    try:
        with terminal.database() as database:
            _start_redis(
                terminal.data, database.ledger_id
            )  # the page sends jobs, but starts no Redis
            failing = _tag(database, settings, pictures)
            landmark = landmark_counts(database)[0].landmark
            best = sorted(
                find_tagged(database, PhotoQuery(landmark=landmark)),
                key=_score,
                reverse=True,
            )
            _give_verdicts(database, landmark, [photo.id for photo in best])
            terminal.run("metadata", "write", "--to", "sidecar", "--landmark", landmark)
            claims = _start_jobs(database, settings, pictures)
            update_kept(database)  # as an idle worker does
            _add_schedules(database, pictures)
            _set_times(database)
            yield DemoLibrary(
                settings,
                database,
                landmark,
                photo=best[0].id,
                failing=failing,
                running=claims[0].name.job_id,
                claims=claims,
            )
    finally:
        terminal.end_embedded_redis()


def _start_redis(data_folder: Path, ledger_id: str) -> None:
    """Start the embedded Redis from a process that ends at once: the server is nobody's child."""
    imports = "import sys; from pathlib import Path; from worker.embedded_redis import start_embedded"
    program = f"{imports}; start_embedded(Path(sys.argv[1]), sys.argv[2])"
    subprocess.run(
        [sys.executable, "-c", program, str(data_folder), ledger_id], check=True
    )


def _tag(database: Database, settings: Settings, pictures: Path) -> int:
    """Tag all photos as workers do, to the job's last step, in this process; return the job."""
    job, _ = submit(database, settings, Tagging(select_paths([pictures])))
    executor = ChunkExecutor(database, settings)
    worker = next(iter(WORKERS))
    try:
        while claim := claim_next_chunk(database, job, worker):
            executor.execute(claim)
    finally:
        executor.close()
    return job


def _add_failing_files(pictures: Path) -> None:
    """Add files that fail: a broken one, an empty one and one that is no photo."""
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff and no photo")
    (pictures / "empty.jpg").touch()
    (pictures / "letter.jpg").write_text(
        "Dear Ada, the photos are in the other folder.\n"
    )


def _score(photo: TaggedPhoto) -> float:
    return max(tag.score or 0.0 for tag in photo.tags)


def _give_verdicts(database: Database, landmark: str, best: list[int]) -> None:
    give_verdicts(database, best[:3], landmark, VerdictKind.CONFIRMED, "ada", {})
    give_verdicts(database, best[-1:], landmark, VerdictKind.REJECTED, "ada", {})


def _start_jobs(database: Database, settings: Settings, pictures: Path) -> list[Claim]:
    """Create a cancelled, a waiting, a queued, a paused and a running job; return the claims of the last."""
    executor = ChunkExecutor(database, settings)
    folders = sorted(folder for folder in pictures.iterdir() if folder.is_dir()) or [
        pictures
    ]

    def start(folder: Path, priority: Priority = Priority.BULK) -> int:
        job, _ = submit(
            database,
            settings,
            Tagging(select_paths([folder]), reprocess=True),
            priority,
        )
        return job

    job_control.cancel(database, start(folders[-1]))
    suspend_for_root(database, start(folders[-1]), "Old disk")
    start(folders[-1], Priority.INTERACTIVE)
    largest = max(folders, key=lambda folder: sum(1 for _ in folder.rglob("*.jpg")))
    paused, running = start(largest), start(pictures)
    try:
        for job, open_chunks in ((paused, 1), (running, 3)):
            for chunk in range(_count_chunks(database, job) - open_chunks):
                executor.execute(_claim(database, job, chunk))
        job_control.pause(database, paused)
        last = _count_chunks(database, running) - 1
        return [
            _claim(database, running, chunk) for chunk in range(max(0, last - 2), last)
        ]
    finally:
        executor.close()


def _count_chunks(database: Database, job: int) -> int:
    with database.read() as connection:
        return (
            connection.scalar(select(func.count()).where(chunks.c.job_id == job)) or 0
        )


def _claim(database: Database, job: int, worker: int) -> Claim:
    claim = claim_next_chunk(database, job, list(WORKERS)[worker % len(WORKERS)])
    assert claim is not None
    return claim


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


def _set_times(database: Database) -> None:
    with database.write() as connection:
        connection.execute(update(contents).values(classified_at=THEN))
        connection.execute(update(verdicts).values(given_at=THEN))
        for column in (jobs.c.created_at, jobs.c.started_at, jobs.c.finished_at):
            connection.execute(
                update(jobs).where(column.is_not(None)).values({column: THEN})
            )
