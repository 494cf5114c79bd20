"""Jobs over photos without files, for tests of the ledger."""

from datetime import UTC, datetime

from sqlalchemy import func, insert, select, update

from tagger.database import Outcome, Priority, Runner
from tagger.database.connection import Database
from tagger.database.tables import chunks, job_items, jobs, models, photos, roots
from tagger.ledger import NewJob, create_job, finish_job, finish_scan
from tagger.ledger.chunks import Claim, ItemOutcome, claim_next_chunk, close_last_step, store_outcomes
from tagger.ledger.items import append_items
from tagger.ledger.job_control import JobProgress, find_job


class LedgerBuilder:
    def __init__(self, database: Database) -> None:
        self.database = database
        self._photos = 0
        row = {"digest": "d", "name": "tiny", "manifest": {}, "registered_at": datetime.now(UTC)}
        with database.write() as connection:
            model = insert(models).values(**row, in_use=True).returning(models.c.id)
            root = insert(roots).values(name="r", location="/r", location_bytes=b"").returning(roots.c.id)
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
            items = {photo: position in skipped for position, photo in enumerate(photo_ids)}
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

    def claim(self, job: int, chunk: int = 0) -> Claim:
        """Claim the first free chunk of a job for a worker. It has to be `chunk`."""
        claim = claim_one(self.database, job)
        assert claim.chunk == chunk
        return claim

    def store(self, claim: Claim, outcome: Outcome, first: int | None = None, count: int = 10**6) -> None:
        """Store the outcome of all items of the chunk, or of `count` items from `first` on."""
        start = claim.first if first is None else first
        positions = range(start, min(claim.last + 1, start + count))
        with self.database.write() as connection:
            store_outcomes(connection, claim, [ItemOutcome(position, outcome) for position in positions])
        finish_job(self.database, claim.job_id)
        self.settle(claim.job_id)

    def settle(self, job: int) -> None:
        """Do the last step of a job, if it has come to it."""
        progress = find_job(self.database, job)
        if progress.settling and not progress.is_over:
            last_step = claim_next_chunk(self.database, job, "w")
            if last_step is not None:  # not while the job is paused
                close_last_step(self.database, last_step)
                finish_job(self.database, job)

    def expire(self, job: int) -> None:
        with self.database.write() as connection:
            leased = (chunks.c.job_id == job, chunks.c.lease_until.is_not(None))
            connection.execute(update(chunks).where(*leased).values(lease_until=0.0))

    def owner_died(self, job: int) -> None:
        with self.database.write() as connection:
            row = {"owner": "another-machine/1", "owner_lease_until": 0.0}
            connection.execute(update(jobs).where(jobs.c.id == job).values(row))

    def progress(self, job: int) -> JobProgress:
        """The job's progress, after checking that its counts match its items."""
        progress = find_job(self.database, job)
        assert progress.total == progress.queued + progress.running + progress.done + progress.cancelled
        assert min(progress.queued, progress.running) >= 0
        with self.database.read() as connection:
            has_items = chunks.c.job_id == job, chunks.c.first <= chunks.c.last
            for chunk in connection.execute(select(chunks).where(*has_items)).all():
                in_chunk = job_items.c.position.between(chunk.first, chunk.last)
                counts = (
                    select(job_items.c.outcome, func.count())
                    .where(job_items.c.job_id == job, in_chunk)
                    .group_by(job_items.c.outcome)
                )
                by_outcome: dict[str | None, int] = {row[0]: row[1] for row in connection.execute(counts)}
                assert sum(by_outcome.values()) == chunk.last - chunk.first + 1
                assert chunk.done == (None not in by_outcome)
                for outcome in Outcome:
                    assert getattr(chunk, outcome.value) == by_outcome.get(outcome.value, 0)
        return progress


def claim_one(database: Database, job: int) -> Claim:
    claim = claim_next_chunk(database, job, "w")
    assert claim is not None
    return claim
