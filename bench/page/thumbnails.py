"""Thumbnails, requested a few at a time as browsers do: created for the first time, and served from the cache."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median

from bench.page.library import SMALL, Library
from bench.page.server import Server
from bench.report import note, value_range

CONNECTIONS = 6
"""The number of connections that browsers open to one server."""
MAX_THUMBNAILS = 200
COLUMNS = ("thumbnails", "photos", "thumbnails/s", "range", "CPU ms each", "KiB each")


@dataclass(frozen=True)
class Round:
    """Thumbnails per second, and CPU time and size of each. CPU time includes the decoder processes."""

    rate: float
    cpu_ms: float
    kib: float


@dataclass
class Thumbnails:
    name: str
    photos: int
    rounds: list[Round]

    def row(self) -> list[object]:
        rates = [each.rate for each in self.rounds]
        cpu_ms, kib = median(each.cpu_ms for each in self.rounds), median(each.kib for each in self.rounds)
        return [self.name, self.photos, median(rates), value_range(rates), cpu_ms, kib]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def measure_thumbnails(library: Library, rounds: int, settings: dict[str, str]) -> list[Thumbnails]:
    """Measure all rounds, each with an empty cache."""
    photo_ids = {
        "of large photos": library.large[:MAX_THUMBNAILS],
        f"of photos of {SMALL[0]} x {SMALL[1]}": library.small[:-CONNECTIONS][:MAX_THUMBNAILS],
    }
    results = [
        Thumbnails(f"{action}, {name}", len(ids), [])
        for name, ids in photo_ids.items()
        for action in ("created", "served")
    ]
    for number in range(rounds):
        note(f"thumbnails: round {number + 1} of {rounds}")
        with library.new_server(settings) as server:
            _request_all(server, library.small[-CONNECTIONS:])  # starts the decoder processes
            for created, served, ids in zip(results[::2], results[1::2], photo_ids.values(), strict=True):
                created.rounds.append(_request_all(server, ids))
                served.rounds.append(_request_all(server, ids))
    return results


def _request_all(server: Server, ids: Sequence[int]) -> Round:
    cpu_before_s, start = server.cpu_s_with_children(), time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        responses = list(
            pool.map(lambda photo_id: server.get(f"/api/photos/{photo_id}/thumbnail?size=256"), ids)
        )
    wall_s = time.perf_counter() - start
    cpu_ms = (server.cpu_s_with_children() - cpu_before_s) * 1000 / len(ids)
    kib = sum(len(response.body) for response in responses) / len(responses) / 1024
    return Round(len(ids) / wall_s, cpu_ms, kib)
