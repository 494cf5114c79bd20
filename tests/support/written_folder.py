"""A folder whose photos are tagged, written and restored in this process, with the outcome of each."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Row, select
from support.colour_folders import TaggedFolder

from tagger.catalog.registered_models import RegisteredModel
from tagger.database.tables import JobKind, Runner, Target, job_items, metadata_writes, photos
from tagger.enqueue.inference_options import InferenceOptions
from tagger.enqueue.metadata_options import UNDO_JOB, MetadataOptions
from tagger.enqueue.metadata_selection import (
    create_undo_job,
    create_write_job,
    select_parent_photos,
    written_photo_conditions,
)
from tagger.enqueue.scan import Scan
from tagger.enqueue.selection import select_paths
from tagger.ledger.chunks import ChunkName, claim_chunk
from tagger.ledger.jobs import NewJob, create_job, finish_scan
from tagger.ledger.progress import JobProgress
from tagger.processing.claimed_chunk import ChunkEnd
from tagger.query import PhotoQuery
from tagger.verdicts import VerdictKind, give_verdict

EMBED, SIDECAR = MetadataOptions(Target.EMBED), MetadataOptions(Target.SIDECAR)

MOST_CHUNKS = 8
"""More than a job of a test has."""


class WrittenFolder(TaggedFolder):
    """`written` holds the path below the folder, the outcome and the reason of each photo of the last run."""

    def tag_and_write(
        self,
        options: MetadataOptions | None,
        *,
        runner: Runner = Runner.LOCAL,
        model: RegisteredModel | None = None,
        again: bool = False,
    ) -> int:
        """A job over the folder whose tags are to be written; it is run, what is chained to it is not."""
        job = self.record_to_write(options, runner=runner, model=model, again=again)
        if runner is Runner.LOCAL:
            self.run(job)
        else:
            self.work(job)
        return job

    def record_to_write(
        self,
        options: MetadataOptions | None,
        *,
        runner: Runner = Runner.LOCAL,
        model: RegisteredModel | None = None,
        again: bool = False,
    ) -> int:
        model_id = (model or self.model).id
        options = options.to_job_options() if options else {}
        new = NewJob(
            model_id=model_id, top_k=3, threshold=0.5, runner=runner, reprocess=again, options=options
        )
        job = create_job(self.database, new)
        scan = Scan(self.database, job, InferenceOptions(model_id, 3, 0.5, again), self.settings.roots)
        scan.run(select_paths([self.folder], ()))
        finish_scan(self.database, job)
        return job

    def chained(self, job: int) -> int:
        """The number of the job that writes the tags of this one; its photos are chosen here."""
        chained = self.progress(job).write_job
        assert chained is not None
        select_parent_photos(self.database, chained)
        return chained

    def work(self, job: int) -> list[ChunkEnd]:
        """Go through a workers' job as one worker does; how each of its chunks ended."""
        executor = self.executor()
        claims = (
            claim_chunk(self.database, ChunkName(job, number), Runner.WORKERS, "w")
            for number in range(MOST_CHUNKS)
        )
        try:
            return [executor.execute(claimed) for claimed in claims if claimed is not None]
        finally:
            executor.close()

    def write(self, options: MetadataOptions = EMBED, query: PhotoQuery | None = None) -> dict[str, str]:
        """The outcome of each photo, by its path below the folder."""
        job = create_write_job(
            self.database, self._new(JobKind.WRITE, options), query or PhotoQuery(), self.settings.roots
        )
        self.run(job)
        return self.outcomes(job)

    def create_write_job_for_workers(self, options: MetadataOptions = EMBED) -> int:
        """A job for workers that writes what is tagged, chosen but not begun."""
        new = self._new(JobKind.WRITE, options, Runner.WORKERS)
        return create_write_job(self.database, new, PhotoQuery(), self.settings.roots)

    def create_undo_job_for_workers(self) -> int:
        """A job for workers that takes everything back, chosen but not begun."""
        conditions = written_photo_conditions(self.database, None, (), self.settings.roots)
        return create_undo_job(self.database, self._new(JobKind.UNDO, None, Runner.WORKERS), conditions)

    def undo(self, *paths: Path, job: int | None = None) -> dict[str, str]:
        """The outcome of each photo, by its path below the folder."""
        conditions = written_photo_conditions(self.database, job, paths, self.settings.roots)
        new = self._new(JobKind.UNDO, None)
        undo_job = create_undo_job(
            self.database, replace(new, options={UNDO_JOB: job}) if job is not None else new, conditions
        )
        self.run(undo_job)
        return self.outcomes(undo_job)

    def _new(self, kind: JobKind, options: MetadataOptions | None, runner: Runner = Runner.LOCAL) -> NewJob:
        return NewJob(
            model_id=self.model.id,
            top_k=3,
            threshold=0.5,
            runner=runner,
            kind=kind,
            options=options.to_job_options() if options else {},
        )

    def reasons(self, job: int) -> Mapping[str, tuple[str, str | None, str | None]]:
        """Of each photo of a job: outcome, reason, text."""
        query = (
            select(photos.c.path, job_items)
            .join(photos, photos.c.id == job_items.c.photo_id)
            .where(job_items.c.job_id == job)
        )
        with self.database.read() as connection:
            return {row.path: (row.outcome, row.reason, row.error_text) for row in connection.execute(query)}

    def latest(self) -> JobProgress:
        """The newest job."""
        with self.database.read() as connection:
            number = connection.scalar(
                select(job_items.c.job_id).order_by(job_items.c.job_id.desc()).limit(1)
            )
        assert number is not None
        return self.progress(number)

    def judge(self, name: str, slug: str, word: VerdictKind) -> None:
        """A person's word on a photo."""
        give_verdict(self.database, self.folder / name, slug, word, None, self.settings.roots)

    @property
    def undo_rows(self) -> list[Row]:
        """The rows of the undo log, oldest first."""
        with self.database.read() as connection:
            return list(connection.execute(select(metadata_writes).order_by(metadata_writes.c.id)))
