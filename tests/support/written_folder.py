"""A folder whose photos are tagged, written and restored in this process."""

from pathlib import Path
from typing import Any

from rig.xmp_packets import packet_of
from sqlalchemy import Row, func, select, update
from support.buckets import Bucket
from support.colour_folders import TaggedFolder
from support.databases import execute, read_rows
from support.scenes import tree

from tagger.database import Runner, Target, VerdictKind
from tagger.database.connection import Database
from tagger.database.tables import chunks, job_items, metadata_writes
from tagger.jobs.enqueue.metadata_jobs import Undo, Write, select_parent_photos
from tagger.jobs.enqueue.submission import JobRequest, MetadataOptions, submit
from tagger.jobs.processing.chunk_runner import ChunkEnd
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.job_control import JobProgress
from tagger.ledger.workers import release_expired
from tagger.photos.paths import parse_path
from tagger.query.options import PhotoQuery
from tagger.verdicts import give_verdicts

# By another program.
SIDECAR_OF_USER = packet_of("", 'xmp:Rating="5"').decode()
EMBED, SIDECAR = MetadataOptions(Target.EMBED), MetadataOptions(Target.SIDECAR)


class WrittenFolder(TaggedFolder):
    """A tagged folder with jobs that write metadata and undo the writes."""

    def tag_and_write(
        self, options: MetadataOptions | None, *, runner: Runner = Runner.LOCAL, **others: Any
    ) -> int:
        """Run a job that tags the folder and requests a write job, which is not run. Returns its id."""
        job = self.record_to_write(options, runner=runner, **others)
        if runner is Runner.LOCAL:
            self.run(job)
        else:
            self.work(job)
        return job

    def record_to_write(self, options: MetadataOptions | None, **others: Any) -> int:
        """Record a job that tags the folder and requests a write job; `others` are options of `record`."""
        return self.record(options=options.to_job_options() if options else None, **others)

    def chained(self, job: int) -> int:
        """Select the photos of the job that writes the tags of this one; return its id."""
        chained = self.progress(job).write_job
        assert chained is not None
        select_parent_photos(self.database, chained)
        return chained

    def work(self, job: int) -> list[ChunkEnd]:
        """Process all chunks of a job for workers; return how each ended."""
        executor = self.executor()
        is_open = (chunks.c.job_id == job, chunks.c.done.is_(False))
        with self.database.read() as connection:
            count = connection.scalar(select(func.count()).select_from(chunks).where(*is_open)) or 0
        claims = (claim_next_chunk(self.database, job, "w") for _ in range(count))
        try:
            ends = [executor.execute(claim) for claim in claims if claim is not None]
            if self.progress(job).settling:
                last_step = claim_next_chunk(self.database, job, "w")
                ends += [executor.execute(last_step)] if last_step is not None else []
            return ends
        finally:
            executor.close()

    def lose_leases(self, job: int, attempts: int = 1) -> None:
        """Let the leases of the job's chunks expire, and another worker that claims them die.

        After more than one of the `attempts`, the next claim uses child processes, which start slowly.
        """
        leased = (chunks.c.job_id == job, chunks.c.lease_until.is_not(None))
        with self.database.write() as connection:
            expired = connection.execute(update(chunks).where(*leased).values(lease_until=0.0)).rowcount
        release_expired(self.database)
        for _ in range(expired):
            assert claim_next_chunk(self.database, job, "another worker")
        execute(self.database, update(chunks).where(*leased).values(lease_until=0.0, attempts=attempts))
        release_expired(self.database)

    def write(self, options: MetadataOptions = EMBED, query: PhotoQuery | None = None) -> dict[str, str]:
        job = self.submit(Write(options, query or PhotoQuery()))
        self.run(job)
        return self.outcomes(job)

    def create_write_job_for_workers(self, options: MetadataOptions = EMBED) -> int:
        """Create a job for workers that writes all tags, with its photos selected. Returns its id."""
        return self.submit(Write(options), local=False)

    def undo(self, *paths: Path, job: int | None = None) -> dict[str, str]:
        """Run a job; return the outcome of each photo by its path below the folder."""
        undo_job = self.submit(Undo(job, paths))
        self.run(undo_job)
        return self.outcomes(undo_job)

    def submit(self, request: JobRequest, *, local: bool = True) -> int:
        """Record a job of the folder's model with its photos. Returns its id."""
        return submit(self.database, self.page_settings, request, local=local)[0]

    def files(self) -> dict[str, bytes]:
        """The content of every file below the folder, also hidden ones."""
        return tree(self.folder)

    def latest(self) -> JobProgress:
        with self.database.read() as connection:
            number = connection.scalar(
                select(job_items.c.job_id).order_by(job_items.c.job_id.desc()).limit(1)
            )
        assert number is not None
        return self.progress(number)

    def judge(self, name: str, slug: str, kind: VerdictKind) -> None:
        give_verdicts(self.database, [self.folder / name], slug, kind, None, self.settings.roots)

    @property
    def undo_rows(self) -> list[Row]:
        return read_rows(self.database, select(metadata_writes).order_by(metadata_writes.c.id))


class WrittenBucket(WrittenFolder):
    """A bucket whose photos are tagged, written and restored."""

    def __init__(self, database: Database, folder: Path, bucket: Bucket) -> None:
        super().__init__(database, folder)
        self.bucket = bucket

    def draw(self, name: str, label: int | None = 0, *, shade: int = 0) -> Path:
        path = super().draw(name, label, shade=shade)
        self.bucket.put(name, path)
        return path

    def tag_bucket(self) -> dict[str, str]:
        return self.tag(parse_path(self.bucket.address))

    def draw_and_tag(self, *names: str) -> dict[str, str]:
        """Draw a photo of a landmark of its own for each name, and tag the bucket."""
        for label, name in enumerate(names):
            self.draw(name, label)
        return self.tag_bucket()

    def objects(self) -> dict[str, bytes]:
        client, name = self.bucket.client, self.bucket.name
        keys = [row["Key"] for row in client.list_objects_v2(Bucket=name).get("Contents", ())]
        return {key: client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}

    def refusal(self, name: str) -> tuple[str, str]:
        """The reason and the text why the latest job did not write a photo."""
        _outcome, reason, text = self.reasons(self.latest().job)[name]
        assert reason is not None
        assert text is not None
        return reason, text
