"""Thumbnails as a browser asks for them, a few at a time: made for the first time, and out of the cache."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median

from bench.report import note, value_range
from bench.serving.library import SMALL, Library
from bench.serving.server import Server
from bench.serving.views import started

CONNECTIONS = 6
"""So many a browser opens to one address."""
MOST = 200
TITLES = ("thumbnails", "photos", "a second", "range", "CPU ms each", "KiB each")


@dataclass(frozen=True)
class Made:
    """One round: thumbnails a second, CPU time of one with the processes that decode, and its size."""

    rate: float
    cpu_ms: float
    kib: float


@dataclass
class Thumbnails:
    name: str
    photos: int
    rounds: list[Made]

    def row(self) -> list[object]:
        rates = [each.rate for each in self.rounds]
        cpu_ms, kib = median(each.cpu_ms for each in self.rounds), median(each.kib for each in self.rounds)
        return [self.name, self.photos, median(rates), value_range(rates), cpu_ms, kib]

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "photos": self.photos, "rounds": [asdict(each) for each in self.rounds]}


def measure_thumbnails(library: Library, rounds: int, settings: dict[str, str]) -> list[Thumbnails]:
    """Each round with a cache of its own."""
    asked = {
        "of the uploads' photos": library.large[:MOST],
        f"of {SMALL[0]} by {SMALL[1]}": library.small[:-CONNECTIONS][:MOST],
    }
    found = [
        Thumbnails(f"{how}, {what}", len(numbers), [])
        for what, numbers in asked.items()
        for how in ("made", "served")
    ]
    for number in range(rounds):
        note(f"thumbnails: round {number + 1} of {rounds}")
        with started(library, settings) as server:
            _all(server, library.small[-CONNECTIONS:])  # the processes that decode are there then
            for made, served, numbers in zip(found[::2], found[1::2], asked.values(), strict=True):
                made.rounds.append(_all(server, numbers))
                served.rounds.append(_all(server, numbers))
    return found


def _all(server: Server, numbers: Sequence[int]) -> Made:
    cpu_s, began = server.cpu_of_all_s(), time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as browser:
        got = list(
            browser.map(lambda number: server.get(f"/api/photos/{number}/thumbnail?size=256"), numbers)
        )
    took_s = time.perf_counter() - began
    cpu_ms = (server.cpu_of_all_s() - cpu_s) * 1000 / len(numbers)
    return Made(len(numbers) / took_s, cpu_ms, sum(len(answer.body) for answer in got) / len(got) / 1024)
