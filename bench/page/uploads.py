"""Photos uploaded for predictions: one after another, concurrently, and for comparison tagged by `tagger tag`."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.page.library import Library
from bench.page.server import Server, running_server
from bench.processes import TAGGER, run
from bench.report import note, value_range
from tagger.database.connection import open_database
from tagger.ledger.progress import list_jobs

FIRST_JOB = 1
SEQUENTIAL, CONCURRENT, TAG = "one after another", "concurrently", "`tagger tag`"
COLUMNS = ("", "photos/s", "range", "CPU ms/photo", "slowest response ms")

Prediction = tuple[float, object]
"""The seconds until the response, and the photo's outcome and tags."""


@dataclass(frozen=True)
class Round:
    """`cpu_ms` is the server's, `slowest_s` the longest response time; None for `tagger tag`."""

    rate: float
    cpu_ms: float | None = None
    slowest_s: float | None = None


@dataclass(frozen=True)
class Uploads:
    """`differences` counts concurrent predictions that differ from the sequential ones."""

    photos: int
    modes: dict[str, list[Round]]
    differences: int
    peak_mib: float

    def rows(self) -> list[list[object]]:
        return [[name, *_summary(rounds)] for name, rounds in self.modes.items()]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def measure_uploads(
    library: Library, files: Sequence[Path], rounds: int, settings: dict[str, str]
) -> Uploads:
    """Measure all modes in each round, with one server whose model is loaded and warm."""
    photos = [file.read_bytes() for file in files]
    modes: dict[str, list[Round]] = {name: [] for name in (SEQUENTIAL, CONCURRENT, TAG)}
    differences = 0
    with TemporaryDirectory(prefix="tagger-bench-") as name:
        data = Path(name)
        with running_server(library.environment(data, **settings), data) as server:
            note("loading the model")
            _upload_concurrently(server, photos)
            for number in range(rounds):
                note(f"{len(photos)} uploads: round {number + 1} of {rounds}")
                sequential = _measure(modes[SEQUENTIAL], server, photos, _upload_sequentially)
                concurrent = _measure(modes[CONCURRENT], server, photos, _upload_concurrently)
                differences += sum(one != other for one, other in zip(sequential, concurrent, strict=True))
                modes[TAG].append(_measure_tag(library, files, data, number, settings))
            return Uploads(len(photos), modes, differences, server.peak_mib())


def _measure(
    rounds: list[Round],
    server: Server,
    photos: Sequence[bytes],
    upload: Callable[[Server, Sequence[bytes]], list[Prediction]],
) -> list[object]:
    """Upload the photos, append the round, and return each photo's outcome and tags."""
    cpu_before_s, start = server.cpu_s_with_children(), time.perf_counter()
    predictions = upload(server, photos)
    wall_s = time.perf_counter() - start
    cpu_ms = (server.cpu_s_with_children() - cpu_before_s) * 1000 / len(photos)
    rounds.append(Round(len(photos) / wall_s, cpu_ms, max(response_s for response_s, _ in predictions)))
    return [result for _, result in predictions]


def _upload_sequentially(server: Server, photos: Sequence[bytes]) -> list[Prediction]:
    return [_predict(server, photo) for photo in photos]


def _upload_concurrently(server: Server, photos: Sequence[bytes]) -> list[Prediction]:
    with ThreadPoolExecutor(len(photos)) as pool:
        return list(pool.map(lambda photo: _predict(server, photo), photos))


def _predict(server: Server, photo: bytes) -> Prediction:
    response = server.post("/api/predict", photo)
    document = json.loads(response.body)
    return response.total_s, (document["outcome"], document["tags"])


def _measure_tag(
    library: Library, files: Sequence[Path], data: Path, number: int, settings: dict[str, str]
) -> Round:
    """Measure the job's own time, which excludes start-up. The CPU time of so few photos would be mostly start-up."""
    url = f"sqlite:///{data / f'tagged-{number}.sqlite'}"
    environment = library.environment(data, **settings) | {"TAGGER_DATABASE_URL": url}
    run([*TAGGER, "tag", files[0].parent], environment).checked(0, 3)
    with closing(open_database(url)) as database:
        job = list_jobs(database, FIRST_JOB)[0]
    if job.started_at is None or job.finished_at is None or job.total != len(files):
        raise SystemExit("`tagger tag` did not process the uploaded photos")
    return Round(len(files) / (job.finished_at - job.started_at).total_seconds())


def _summary(rounds: Sequence[Round]) -> list[object]:
    rates = [each.rate for each in rounds]
    cpu_ms = [each.cpu_ms for each in rounds if each.cpu_ms is not None]
    slowest_ms = [each.slowest_s * 1000 for each in rounds if each.slowest_s is not None]
    return [
        median(rates),
        value_range(rates),
        *(median(values) if values else "-" for values in (cpu_ms, slowest_ms)),
    ]
