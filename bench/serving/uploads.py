"""Photos sent to be looked at: one after the other, all at once, and the same by `tagger tag`, which is the limit."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.processes import TAGGER, run
from bench.report import note, value_range
from bench.serving.library import Library
from bench.serving.server import Server, serving
from tagger.database.connection import open_database
from tagger.ledger.progress import list_jobs

FIRST_JOB = 1
ONE_BY_ONE, AT_ONCE, TAG = "one after the other", "all at once", "`tagger tag`"
TITLES = ("", "photos/s", "range", "CPU ms/photo", "slowest answer ms")


@dataclass(frozen=True)
class Sent:
    """One round of one way. `slowest_s` is the longest anybody waited, `cpu_ms` the server's; None: there is no server."""

    rate: float
    cpu_ms: float | None = None
    slowest_s: float | None = None


@dataclass(frozen=True)
class Uploads:
    """`different`: answers to photos sent at once that are not those to the same photos sent alone."""

    photos: int
    ways: dict[str, list[Sent]]
    different: int
    peak_mib: float

    def rows(self) -> list[list[object]]:
        return [[name, *_summary(rounds)] for name, rounds in self.ways.items()]

    def as_json(self) -> dict[str, object]:
        ways = {name: [asdict(each) for each in rounds] for name, rounds in self.ways.items()}
        return {
            "photos": self.photos,
            "different": self.different,
            "peak_mib": self.peak_mib,
            "ways": ways,
        }


def measure_uploads(
    library: Library, files: Sequence[Path], rounds: int, settings: dict[str, str]
) -> Uploads:
    """All ways in turn, by one server; its model is loaded and warm before."""
    photos = [file.read_bytes() for file in files]
    ways: dict[str, list[Sent]] = {name: [] for name in (ONE_BY_ONE, AT_ONCE, TAG)}
    different = 0
    with TemporaryDirectory(prefix="tagger-bench-") as name:
        data = Path(name)
        with serving(library.environment(data, **settings), data) as server:
            note("loading the model")
            _at_once(server, photos)
            for number in range(rounds):
                note(f"{len(photos)} uploads: round {number + 1} of {rounds}")
                alone = _sent(ways[ONE_BY_ONE], server, photos, _one_by_one)
                together = _sent(ways[AT_ONCE], server, photos, _at_once)
                different += sum(one != other for one, other in zip(alone, together, strict=True))
                ways[TAG].append(_tagged(library, files, data, number, settings))
            return Uploads(len(photos), ways, different, server.peak_mib())


Classified = tuple[float, object]
"""How long an answer took, and what it says of the photo."""


def _sent(
    rounds: list[Sent],
    server: Server,
    photos: Sequence[bytes],
    way: Callable[[Server, Sequence[bytes]], list[Classified]],
) -> list[object]:
    """What the answers say; how long it took is noted."""
    cpu_s, began = server.cpu_of_all_s(), time.perf_counter()
    looked = way(server, photos)
    took_s = time.perf_counter() - began
    cpu_ms = (server.cpu_of_all_s() - cpu_s) * 1000 / len(photos)
    rounds.append(Sent(len(photos) / took_s, cpu_ms, max(waited_s for waited_s, _ in looked)))
    return [document for _, document in looked]


def _one_by_one(server: Server, photos: Sequence[bytes]) -> list[Classified]:
    return [_look(server, photo) for photo in photos]


def _at_once(server: Server, photos: Sequence[bytes]) -> list[Classified]:
    with ThreadPoolExecutor(len(photos)) as people:
        return list(people.map(lambda photo: _look(server, photo), photos))


def _look(server: Server, photo: bytes) -> Classified:
    answer = server.post("/api/predict", photo)
    document = json.loads(answer.body)
    return answer.whole_s, (document["outcome"], document["tags"])


def _tagged(
    library: Library, files: Sequence[Path], data: Path, number: int, settings: dict[str, str]
) -> Sent:
    """By the job's own time, which begins when the model is loaded. What the start costs hides the CPU time of so few photos."""
    url = f"sqlite:///{data / f'tagged-{number}.sqlite'}"
    environment = library.environment(data, **settings) | {"TAGGER_DATABASE_URL": url}
    run([*TAGGER, "tag", files[0].parent], environment).checked(0, 3)
    database = open_database(url)
    try:
        job = list_jobs(database, FIRST_JOB)[0]
    finally:
        database.close()
    if job.started_at is None or job.finished_at is None or job.total != len(files):
        raise SystemExit("`tagger tag` did not look at the photos that were sent")
    return Sent(len(files) / (job.finished_at - job.started_at).total_seconds())


def _summary(rounds: Sequence[Sent]) -> list[object]:
    rates = [each.rate for each in rounds]
    cpu_ms = [each.cpu_ms for each in rounds if each.cpu_ms is not None]
    waited_ms = [each.slowest_s * 1000 for each in rounds if each.slowest_s is not None]
    return [
        median(rates),
        value_range(rates),
        *(median(each) if each else "-" for each in (cpu_ms, waited_ms)),
    ]
