"""What scripts name and get: photos by path and by conditions, and a job with its end and failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from html import escape
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict, cast

from tagger.database import METADATA_KINDS
from tagger.database.connection import Database
from tagger.errors import (
    ArgumentInvalid,
    DataFramesMissing,
    JobFinished,
    JobUnfinished,
    QueryOptionInvalid,
)
from tagger.jobs.enqueue.job_json import failure_documents
from tagger.ledger.items import FailureFilter, failing_photos, unwritten_photos
from tagger.ledger.job_control import JobProgress, cancel, find_job
from tagger.photos.paths import absolute_path, named_path, printable_path
from tagger.query import BoundingBox
from tagger.query.counts import LandmarkCount, landmark_counts
from tagger.query.find import find_tagged
from tagger.query.options import (
    Alternatives,
    PhotoQuery,
    PositionOption,
    SortOption,
    VerdictOption,
)
from tagger.query.photo_json import (
    PHOTO_COLUMNS,
    POSITION_COLUMNS,
    TAG_COLUMNS,
    photo_rows,
)
from tagger.query.tagged_photos import TaggedPhoto
from tagger.roots import RootPaths
from tagger.search.text_query import text_query
from tagger.settings import Settings

# A photo, by its path or address, or as `Library.photos` returns it.
Named = str | Path | TaggedPhoto


class BackfillConditions(TypedDict, total=False):
    """The conditions of `Library.backfill`."""

    landmark: str | Iterable[str] | None
    country: str | Iterable[str] | None
    thing: str | Iterable[str] | None
    sight: str | Iterable[str] | None
    near: str | tuple[float, float] | None
    radius_km: float | None
    box: str | tuple[float, float, float, float] | BoundingBox | None
    position: PositionOption | None
    trip: str | None
    job: int | None
    min_score: float | None
    verdict: VerdictOption | None
    camera: str | Iterable[str] | None
    under: Named | Iterable[Named] | None
    year: int | Iterable[int] | None
    calendar_month: int | Iterable[int] | None
    calendar_day: str | Iterable[str] | None
    undated: bool
    taken_after: str | date | None
    taken_before: str | date | None
    any_of: str | Alternatives | Iterable[str | Alternatives] | None
    without: str | Alternatives | Iterable[str | Alternatives] | None


class Conditions(BackfillConditions, total=False):
    """The conditions of `Library.photos`."""

    model: str | None
    unknown: bool
    untagged: bool
    failed: bool
    dismissed: bool
    favourite: bool
    any_rank: bool
    sort: SortOption | None
    distinct: bool
    limit: int | None
    text: str | None


# Photos in the table that a notebook shows.
SHOWN_ROWS = 20
# Characters of the conditions in the text of a query.
MOST_SHOWN = 80
Photo = TaggedPhoto


@dataclass(frozen=True)
class Photos:
    """The photos of a query. Each loop reads them anew, in pages: memory does not grow with their number."""

    _database: Database
    _roots: RootPaths
    _query: PhotoQuery
    _conditions: Mapping[str, Any]

    def __repr__(self) -> str:
        shown = "".join(
            f" {name}={value}"
            for name, value in self._conditions.items()
            if value is not None
        )
        return f"<Photos{printable_path(shown if len(shown) < MOST_SHOWN else shown[:MOST_SHOWN] + '…')}>"

    def _repr_html_(self) -> str:
        photos = list(islice(self, SHOWN_ROWS + 1))
        rows = "".join(map(_html_row, photos[:SHOWN_ROWS]))
        heading = "".join(
            f"<th>{name}</th>" for name in ("Photo", "Landmarks", "Taken", "Place")
        )
        more = "<p>…</p>" if len(photos) > SHOWN_ROWS else ""
        return f"<table><thead><tr>{heading}</tr></thead><tbody>{rows}</tbody></table>{more}"

    def __iter__(self) -> Iterator[Photo]:
        """Yield each photo once.

        Raises:
            LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
            ModelNotFound: so is that of a model.
            SearchTextInvalid: the text is not understood.
            QueryOptionInvalid: the text contradicts a condition.
        """
        query = self._query
        if text := str(self._conditions.get("text") or ""):
            query = text_query(self._database, text, self._roots).within(query)
        return find_tagged(self._database, query, self._roots)

    def to_dataframe(self) -> Any:
        """Return a data frame of pandas, or else of polars: a row for each tag, and for a photo without.

        Its columns are those of `tagger query --format csv`; `taken_at` is a datetime.

        Raises:
            DataFramesMissing: neither is installed; it is a ModuleNotFoundError.
        """
        names = [
            *PHOTO_COLUMNS,
            *TAG_COLUMNS,
            *(f"position_{name}" for name in POSITION_COLUMNS),
        ]
        rows = (row for photo in self for row in photo_rows(photo, PHOTO_COLUMNS))
        columns = {
            name: list(values)
            for name, values in zip(names, zip(*rows, strict=True), strict=False)
        }
        data = {name: columns.get(name, []) for name in names}
        if find_spec("pandas"):
            return (
                import_module("pandas")
                .DataFrame(data)
                .astype({"taken_at": "datetime64[us]"})
            )
        if not find_spec("polars"):
            raise DataFramesMissing
        polars = import_module("polars")
        return polars.DataFrame(data, schema_overrides={"taken_at": polars.Datetime})


def _html_row(photo: Photo) -> str:
    path = printable_path(photo.path)
    landmarks = ", ".join(tag.name for tag in photo.tags)
    taken = "" if photo.taken_at is None else f"{photo.taken_at:%Y-%m-%d %H:%M}"
    place = "" if photo.position is None else photo.position.place
    cells = "".join(f"<td>{escape(text)}</td>" for text in (landmarks, taken, place))
    return f'<tr><td title="{escape(path)}">{escape(path.rpartition("/")[2])}</td>{cells}</tr>'


def paths_of(photos: Named | Iterable[Named]) -> list[Path]:
    """Return the paths of one photo, or of several."""
    if isinstance(photos, str | bytes | Path | Photo) or not isinstance(
        photos, Iterable
    ):
        return [path_of(photos)]
    return [path_of(photo) for photo in photos]


def path_of(photo: object) -> Path:
    """Return the path, with ~ for the home folder, as in a shell.

    Raises:
        ArgumentInvalid: it is something else than a path or a photo.
    """
    if not isinstance(photo, str | Path | Photo):
        reason = f"{photo!r} is not a path, an address, or a photo of library.photos"
        raise ArgumentInvalid(argument="path", reason=reason)
    return named_path(photo.path if isinstance(photo, Photo) else photo)


def query_of(
    conditions: Mapping[str, Any], possible: type[BackfillConditions]
) -> PhotoQuery:
    """Return the query of conditions, which are among the `possible` ones.

    Raises:
        QueryOptionInvalid: a condition is none of these, has an invalid value, or contradicts another one.
    """
    for name in conditions:
        if name not in possible.__annotations__:
            names = ", ".join(possible.__annotations__)
            reason = f"there is no such condition here. Choose one of {names}"
            raise QueryOptionInvalid(option=name, reason=reason)
    options = {
        name: value
        for name, value in conditions.items()
        if name != "text" and value is not None
    }
    if "under" in options:
        options["under"] = tuple(map(absolute_path, paths_of(options["under"])))
    return PhotoQuery(**options)


# How often a job that workers run is read again.
POLL_S = 0.5
# Called with the job while it runs, at most twice a second, from any thread.
Progress = Callable[["Job"], None]


def _count(name: str, doc: str) -> int:
    # A number of a job's photos that can only be read.
    count = property(lambda job: getattr(job._progress, name), doc=doc)  # noqa: SLF001
    return cast("int", count)


class Job:
    """A job, with the numbers of its photos when it was last looked at: see `refresh`."""

    def __init__(
        self, database: Database, settings: Settings, progress: JobProgress
    ) -> None:
        self._database = database
        self._settings = settings
        self._progress = progress

    def __repr__(self) -> str:
        return f"<Job {self.number} {self.state}: {self._progress.done} of {self.total} photos>"

    @property
    def number(self) -> int:
        """Its number, as `tagger status` shows it."""
        return self._progress.job

    @property
    def state(self) -> str:
        """`scanning`, `queued`, `running`, `waiting`, `paused`, `cancelled` or `finished`."""
        return self._progress.state.value

    @property
    def note(self) -> str | None:
        """Why it waits or was cancelled."""
        return self._progress.note

    @property
    def is_over(self) -> bool:
        """Whether it is finished or cancelled."""
        return self._progress.is_over

    total = _count(
        "total",
        "How many photos it has. All numbers below, with those in work, add up to it.",
    )
    tagged = _count("tagged", "Photos with an accepted landmark.")
    unknown = _count("unknown", "Photos that were classified, and have none.")
    skipped = _count(
        "skipped", "Photos that had been classified in the same way before."
    )
    written = _count(
        "written", "Photos whose metadata was written, or by an undo, changed back."
    )
    unchanged = _count("unchanged", "Photos whose metadata said the same already.")
    refused = _count(
        "refused",
        "Photos whose metadata was not written, for a reason that `failures` gives.",
    )
    gone = _count("gone", "Photos whose file was deleted or moved.")
    failed = _count("failed", "Photos that could not be read; `failures` says why.")

    @property
    def waiting(self) -> int:
        """Photos that have no outcome yet."""
        return self._progress.queued + self._progress.running

    @property
    def landmarks(self) -> list[LandmarkCount]:
        """The landmarks on its photos now, each with the number of these photos, most frequent first."""
        return list(landmark_counts(self._database, job=self.number))

    @property
    def write_job(self) -> int | None:
        """The number of the job that writes its tags to metadata, once there is one."""
        return self._progress.write_job

    def refresh(self) -> None:
        """Look at the job again."""
        self._progress = find_job(self._database, self.number)

    def wait(
        self, timeout_s: float | None = None, on_progress: Progress | None = None
    ) -> None:
        """Wait until it is over, and the metadata is written if that was asked for.

        Raises:
            JobUnfinished: it was not over after `timeout_s` seconds; it goes on.
        """
        started_at = time.monotonic()
        job: Job | None = self
        while job is not None:
            job.refresh()
            if on_progress is not None:
                on_progress(job)
            if job.is_over:
                chained = job.write_job
                job = (
                    None
                    if chained is None
                    else job_of(self._database, self._settings, chained)
                )
                continue
            if timeout_s is not None and time.monotonic() - started_at > timeout_s:
                raise JobUnfinished(job=job.number, timeout_s=timeout_s)
            time.sleep(POLL_S)

    def failures(self) -> Iterator[Failure]:
        """Yield the photos of the job that fail now; of a metadata job, those that it refused or failed."""
        database, roots = self._database, self._settings.roots
        is_writing = self._progress.kind in METADATA_KINDS
        failing = (
            unwritten_photos(database, self.number)
            if is_writing
            else failing_photos(database, FailureFilter(self.number))
        )
        for each in failure_documents(database, failing, roots):
            yield Failure(each.path, each.kind, each.text or "")

    def cancel(self) -> None:
        """Stop it. What is stored stays."""
        with suppress(JobFinished):
            cancel(self._database, self.number)
        self.refresh()


@dataclass(frozen=True)
class Failure:
    """A photo that could not be read or written: the kind of failure, and what to do about it."""

    path: str
    kind: str
    text: str


def job_of(database: Database, settings: Settings, number: int) -> Job:
    """Return one job.

    Raises:
        JobNotFound: there is none with this number.
    """
    return Job(database, settings, find_job(database, number))
