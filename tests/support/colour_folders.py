"""A folder of photos in single colours, a tiny model for these, and jobs in this process."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from PIL import Image
from sqlalchemy import Row, func, select
from support.artifacts import colour_of, tiny_artifact
from support.databases import read_row, read_rows, read_scalar
from support.ledgers import claim_one

from tagger.database import Runner
from tagger.database.connection import Database
from tagger.database.tables import contents, job_items, landmarks, photos, tags
from tagger.errors import FailureKind
from tagger.jobs.enqueue.scan import Scan
from tagger.jobs.enqueue.selection import ScanReport, select_paths
from tagger.jobs.processing.chunk_runner import ChunkEnd, StoredBatch
from tagger.jobs.processing.executor import ChunkExecutor, run_job
from tagger.ledger import NewJob, create_job, finish_scan
from tagger.ledger.items import FailingPhoto, FailureFilter, failing_photos
from tagger.ledger.job_control import JobProgress, find_job
from tagger.model.artifact import Manifest
from tagger.registry import RegisteredModel, add_model
from tagger.settings import Settings

EIFFEL, GATE = "eiffel-tower", "brandenburg-gate"
GREY = (128, 128, 128)  # No label's colour


class TaggedFolder:
    """Draws photos below `folder` and tags them. `stored` lists the batches of the last run."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        write_artifact: Callable[[Path], Manifest] = tiny_artifact,
    ) -> None:
        self.database = database
        self.folder = folder / "photos"
        self.folder.mkdir()
        write_artifact(folder / "tiny.pt")
        self.model = add_model(database, folder / "tiny.pt")
        self.settings = Settings(
            data_folder=folder,
            database_url=database._engine.url.render_as_string(hide_password=False),
            device="cpu",
            batch_size=8,
            threads=2,
        )
        self.report = ScanReport()
        self.stored: list[StoredBatch] = []

    @property
    def page_settings(self) -> Settings:
        """The settings of a page whose model in use is that of the folder."""
        return self.settings.model_copy(update={"model": str(self.settings.data_folder / "tiny.pt")})

    def draw(self, name: str, label: int | None = 0, *, shade: int = 0) -> Path:
        """Draw a photo in the label's colour; `shade` makes different images with the same prediction."""
        red, green, blue = GREY if label is None else colour_of(label)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (80 + shade % 7, 60 + shade // 7)
        Image.new("RGB", size, (red, green, blue)).save(path, quality=90)
        return path

    def draw_many(self, count: int, *, labels: int = 1) -> None:
        """Draw different photos: 00.jpg, 01.jpg and so on, of the first labels in turn."""
        for number in range(count):
            self.draw(f"{number:02}.jpg", number % labels, shade=number)

    def record(
        self,
        *paths: Path,
        model: RegisteredModel | None = None,
        others: Sequence[RegisteredModel] = (),
        reprocess: bool = False,
        top_k: int = 3,
        threshold: float = 0.5,
        runner: Runner = Runner.LOCAL,
        include: Sequence[str] = (),
        options: dict[str, object] | None = None,
    ) -> int:
        """Create and scan a job for the folder, or for `paths`. Returns its id."""
        model_id = (model or self.model).id
        other_models = tuple((other.id, threshold) for other in others)
        new = NewJob(
            model_id,
            top_k,
            threshold,
            runner,
            reprocess=reprocess,
            other_models=other_models,
            options=options,
        )
        job = create_job(self.database, new)
        scan = Scan(self.database, job, new, self.settings.roots)
        self.report = scan.run(select_paths(paths or [self.folder], include))
        finish_scan(self.database, job)
        return job

    def run(self, job: int, on_stored: Callable[[StoredBatch], None] = lambda _stored: None) -> JobProgress:
        lock = threading.Lock()

        def remember(stored: StoredBatch) -> None:
            with lock:
                self.stored.append(stored)
            on_stored(stored)

        self.stored = []
        run_job(self.database, self.settings, job, on_stored=remember)
        return self.progress(job)

    def tag(self, *paths: Path, **options: object) -> dict[str, str]:
        """Scan and tag. Returns the outcome of each photo by its path below the folder."""
        job = self.record(*paths, **options)
        self.run(job)
        return self.outcomes(job)

    def execute(self, job: int) -> ChunkEnd:
        """Claim the next chunk of a job, and execute it as a worker of its own."""
        with closing(self.executor()) as executor:
            return executor.execute(claim_one(self.database, job))

    def executor(self) -> ChunkExecutor:
        return ChunkExecutor(self.database, self.settings)

    def progress(self, job: int) -> JobProgress:
        progress = find_job(self.database, job)
        assert progress.total == progress.queued + progress.running + progress.done + progress.cancelled
        return progress

    def outcomes(self, job: int) -> dict[str, str]:
        return {path: outcome for path, (outcome, _reason, _text) in self.reasons(job).items()}

    def reasons(self, job: int) -> Mapping[str, tuple[str, str | None, str | None]]:
        """The outcome, reason and text of each photo of a job, by path."""
        query = (
            select(photos.c.path, job_items)
            .join(photos, photos.c.id == job_items.c.photo_id)
            .where(job_items.c.job_id == job)
        )
        with self.database.read() as connection:
            return {row.path: (row.outcome, row.reason, row.error_text) for row in connection.execute(query)}

    @property
    def results(self) -> list[str]:
        """The class names of the results that the last run stored."""
        return sorted(type(each.result).__name__ for stored in self.stored for each in stored)

    def tags_of(self, name: str) -> list[tuple[str, int, bool]]:
        query = (
            select(landmarks.c.slug, tags.c.rank, tags.c.enough)
            .join(landmarks, landmarks.c.id == tags.c.landmark_id)
            .join(photos, photos.c.content_id == tags.c.content_id)
            .where(photos.c.path == name)
            .order_by(tags.c.rank)
        )
        return [(row.slug, row.rank, bool(row.enough)) for row in read_rows(self.database, query)]

    def photo(self, name: str) -> Row:
        return read_row(self.database, select(photos).where(photos.c.path == name))

    def content(self, name: str) -> Row:
        rows = contents.join(photos, photos.c.content_id == contents.c.id)
        with self.database.read() as connection:
            query = select(contents).select_from(rows).where(photos.c.path == name)
            return connection.execute(query).one()

    def count(self, table: object) -> int:
        return read_scalar(self.database, select(func.count()).select_from(table)) or 0

    def failing(self) -> list[FailingPhoto]:
        return list(failing_photos(self.database, FailureFilter(kinds=tuple(FailureKind))))
