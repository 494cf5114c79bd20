"""Jobs over photos that are rows only, for tests of the ledger: who holds which chunk, and whether the numbers are right."""

from datetime import UTC, datetime

from sqlalchemy import func, insert, select, update

from tagger.database import Database
from tagger.ledger.chunks import Claim, ItemOutcome, store_outcomes
from tagger.ledger.jobs import NewItem, NewJob, append_items, create_job, finish_scan
from tagger.ledger.progress import JobProgress, list_jobs
from tagger.tables import Outcome, Priority, Runner, chunks, job_items, jobs, models, photos, roots


class LedgerOf:
    """Makes jobs in one database, of one model."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._photos = 0
        row = {"digest": "d", "name": "tiny", "manifest": {}, "registered_at": datetime.now(UTC)}
        with database.write() as connection:
            model = insert(models).values(**row, in_use=True).returning(models.c.id)
            root = insert(roots).values(name="r", place="/r", place_bytes=b"").returning(roots.c.id)
            self.model_id = connection.execute(model).scalar_one()
            self.root_id = connection.execute(root).scalar_one()

    def photos(self, count: int, root_id: int | None = None) -> list[int]:
        first, self._photos = self._photos, self._photos + count
        rows = [
            {
                "root_id": root_id or self.root_id,
                "path": f"{number:08}.jpg",
                "path_bytes": b"",
                "size_bytes": 1,
                "mtime_ns": 1,
            }
            for number in range(first, first + count)
        ]
        with self.database.write() as connection:
            return list(connection.scalars(insert(photos).returning(photos.c.id), rows)) if rows else []

    def scanning(self, runner: Runner = Runner.WORKERS, priority: Priority = Priority.BULK) -> int:
        new = NewJob(model_id=self.model_id, top_k=5, threshold=0.5, runner=runner, priority=priority)
        return create_job(self.database, new)

    def append(self, job: int, photo_ids: list[int], skipped: frozenset[int] = frozenset()) -> None:
        with self.database.write() as connection:
            items = [NewItem(photo, position in skipped) for position, photo in enumerate(photo_ids)]
            append_items(connection, job, items)

    def job(
        self,
        count: int,
        *,
        runner: Runner = Runner.WORKERS,
        priority: Priority = Priority.BULK,
        photo_ids: list[int] | None = None,
    ) -> int:
        job = self.scanning(runner, priority)
        self.append(job, photo_ids or self.photos(count))
        finish_scan(self.database, job)
        return job

    def store(self, claimed: Claim, outcome: Outcome, first: int | None = None, count: int = 10**6) -> None:
        """All items of the chunk end so, or `count` of them from `first` on."""
        start = claimed.first if first is None else first
        positions = range(start, min(claimed.last + 1, start + count))
        with self.database.write() as connection:
            store_outcomes(connection, claimed, [ItemOutcome(position, outcome) for position in positions])

    def expire(self, job: int) -> None:
        """The leases of the job's chunks end now."""
        with self.database.write() as connection:
            held = (chunks.c.job_id == job, chunks.c.lease_until.is_not(None))
            connection.execute(update(chunks).where(*held).values(lease_until=0.0))

    def owner_died(self, job: int) -> None:
        """The process that scans or runs the job is one that does not answer any more."""
        with self.database.write() as connection:
            row = {"owner": "another-machine/1", "owner_until": 0.0}
            connection.execute(update(jobs).where(jobs.c.id == job).values(row))

    def progress(self, job: int) -> JobProgress:
        """The job's numbers, after checking that they agree with its items."""
        (progress,) = list_jobs(self.database, job)
        assert progress.total == progress.queued + progress.running + progress.done + progress.cancelled
        assert min(progress.queued, progress.running) >= 0
        with self.database.read() as connection:
            for chunk in connection.execute(select(chunks).where(chunks.c.job_id == job)).all():
                inside = job_items.c.position.between(chunk.first, chunk.last)
                counted = (
                    select(job_items.c.outcome, func.count())
                    .where(job_items.c.job_id == job, inside)
                    .group_by(job_items.c.outcome)
                )
                numbers: dict[str | None, int] = {row[0]: row[1] for row in connection.execute(counted)}
                assert sum(numbers.values()) == chunk.last - chunk.first + 1
                assert chunk.done == (None not in numbers)
                for outcome in Outcome:
                    assert getattr(chunk, outcome.value) == numbers.get(outcome.value, 0)
        return progress
