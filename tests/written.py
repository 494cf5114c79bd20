"""A folder whose photos are tagged, written and taken back in this process, and what came of each."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from folders import TaggedFolder
from sqlalchemy import Row, select

from tagger.holding import ChunkEnd
from tagger.ledger.chunks import ChunkName, claim
from tagger.ledger.jobs import NewJob, create_job, finish_scan
from tagger.ledger.progress import JobProgress
from tagger.looks import Look
from tagger.query import PhotoQuery
from tagger.registry import RegisteredModel
from tagger.scan import Scan, select_paths
from tagger.tables import (
    JobKind,
    Runner,
    Target,
    job_items,
    metadata_writes,
    photos,
)
from tagger.verdicts import Word, give_verdict
from tagger.writing.asked import OF_JOB, WriteAsked
from tagger.writing.chosen import choose_of_parent, record_undo, record_write, written_photos

EMBED, SIDECAR = WriteAsked(Target.EMBED), WriteAsked(Target.SIDECAR)

MOST_CHUNKS = 8
"""More than a job of a test has."""


class WrittenFolder(TaggedFolder):
    """`written` holds the path below the folder, the outcome and the reason of each photo of the last run."""

    def tag_and_write(
        self,
        asked: WriteAsked | None,
        *,
        runner: Runner = Runner.LOCAL,
        model: RegisteredModel | None = None,
        again: bool = False,
    ) -> int:
        """A job over the folder whose tags are to be written; it is run, what is chained to it is not."""
        job = self.record_to_write(asked, runner=runner, model=model, again=again)
        if runner is Runner.LOCAL:
            self.run(job)
        else:
            self.work(job)
        return job

    def record_to_write(
        self,
        asked: WriteAsked | None,
        *,
        runner: Runner = Runner.LOCAL,
        model: RegisteredModel | None = None,
        again: bool = False,
    ) -> int:
        model_id = (model or self.model).id
        options = asked.as_options() if asked else {}
        new = NewJob(model_id=model_id, top_k=3, threshold=0.5, runner=runner, again=again, options=options)
        job = create_job(self.database, new)
        scan = Scan(self.database, job, Look(model_id, 3, 0.5, again), self.settings.roots)
        scan.run(select_paths([self.folder], ()))
        finish_scan(self.database, job)
        return job

    def chained(self, job: int) -> int:
        """The number of the job that writes the tags of this one; its photos are chosen here."""
        chained = self.progress(job).write_job
        assert chained is not None
        choose_of_parent(self.database, chained)
        return chained

    def work(self, job: int) -> list[ChunkEnd]:
        """Go through a workers' job as one worker does; how each of its chunks ended."""
        tagger = self.tagger()
        claims = (
            claim(self.database, ChunkName(job, number), Runner.WORKERS, "w") for number in range(MOST_CHUNKS)
        )
        try:
            return [tagger.tag_chunk(claimed) for claimed in claims if claimed is not None]
        finally:
            tagger.close()

    def write(self, asked: WriteAsked = EMBED, query: PhotoQuery | None = None) -> dict[str, str]:
        """The outcome of each photo, by its path below the folder."""
        job = record_write(
            self.database, self._new(JobKind.WRITE, asked), query or PhotoQuery(), self.settings.roots
        )
        self.run(job)
        return self.outcomes(job)

    def recorded(self, asked: WriteAsked = EMBED) -> int:
        """A job for workers that writes what is tagged, chosen but not begun."""
        new = self._new(JobKind.WRITE, asked, Runner.WORKERS)
        return record_write(self.database, new, PhotoQuery(), self.settings.roots)

    def recorded_undo(self) -> int:
        """A job for workers that takes everything back, chosen but not begun."""
        known = written_photos(self.database, None, (), self.settings.roots)
        return record_undo(self.database, self._new(JobKind.UNDO, None, Runner.WORKERS), known)

    def undo(self, *paths: Path, job: int | None = None) -> dict[str, str]:
        """The outcome of each photo, by its path below the folder."""
        known = written_photos(self.database, job, paths, self.settings.roots)
        new = self._new(JobKind.UNDO, None)
        undoing = record_undo(
            self.database, replace(new, options={OF_JOB: job}) if job is not None else new, known
        )
        self.run(undoing)
        return self.outcomes(undoing)

    def _new(self, kind: JobKind, asked: WriteAsked | None, runner: Runner = Runner.LOCAL) -> NewJob:
        return NewJob(
            model_id=self.model.id,
            top_k=3,
            threshold=0.5,
            runner=runner,
            kind=kind,
            options=asked.as_options() if asked else {},
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

    def judge(self, name: str, slug: str, word: Word) -> None:
        """A person's word on a photo."""
        give_verdict(self.database, self.folder / name, slug, word, None, self.settings.roots)

    @property
    def kept(self) -> list[Row]:
        """What is kept of writes, oldest first."""
        with self.database.read() as connection:
            return list(connection.execute(select(metadata_writes).order_by(metadata_writes.c.id)))
