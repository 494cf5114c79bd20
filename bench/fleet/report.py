"""The tables of the report: each cost at each number of photos, and its growth."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench.fleet.jobs import JobCosts
from bench.fleet.measurement import FleetCosts, percentile
from bench.report import print_table

Cost = Callable[[FleetCosts], float]
STEPS = {"a claim": "claim_ms", "a stored batch of 128": "store_ms", "a sweep": "sweep_ms"}


def print_costs(fleets: Sequence[FleetCosts]) -> None:
    """Print the tables."""
    last = fleets[-1]
    print(
        "*exponent*: from the last library but one to the last; 1 means that a cost grows as the number does, 0 that it "
        "does not grow.\n"
    )
    photos = f"{last.photos:,}" if last.stored else "all"
    _print_growth(fleets, f"seconds for {photos} photos", _seconds(last))
    _print_growth(
        fleets,
        "photos classified per second",
        {name: partial(_of_job, name, lambda job: job.photos / job.processing_s) for name in last.jobs},
    )
    _print_growth(
        fleets,
        "one step, median and 95th percentile in ms",
        {
            f"{step} ({job}), {part:.0%}": partial(_of_job, job, partial(_step_ms, name, part))
            for job in last.jobs
            for step, name in STEPS.items()
            for part in (0.5, 0.95)
        },
    )
    _print_growth(
        fleets,
        "in Redis at most",
        {
            "messages": lambda fleet: max(job.messages for job in fleet.jobs.values()),
            "KiB": lambda fleet: max(job.redis_bytes for job in fleet.jobs.values()) / 1024,
        },
    )
    _print_growth(fleets, "bytes per photo", _bytes(last))
    _print_growth(
        fleets, "queries, 95th percentile in ms", {name: partial(_query_ms, name) for name in last.query_ms}
    )
    _print_growth(fleets, "views, median in ms", {name: partial(_view_ms, name) for name in last.view_ms})


def _print_growth(fleets: Sequence[FleetCosts], title: str, costs: Mapping[str, Cost]) -> None:
    rows = []
    for name, cost in costs.items():
        values = [cost(fleet) for fleet in fleets]
        rows.append([name, *values, _exponent(fleets, values)])
    print_table((title, *(f"{fleet.library:,}" for fleet in fleets), "exponent"), rows)


def _exponent(fleets: Sequence[FleetCosts], values: Sequence[float]) -> str:
    if len(values) < 2 or min(values[-2:]) <= 0:
        return ""
    growth = math.log(values[-1] / values[-2]) / math.log(fleets[-1].library / fleets[-2].library)
    return f"{growth:.2f}"


def _seconds(last: FleetCosts) -> dict[str, Cost]:
    costs: dict[str, Cost] = {f"recording {name}": partial(_recording_s, name) for name in last.recording_s}
    for name in last.jobs:
        costs[f"classifying {name}"] = partial(_of_job, name, lambda job: job.processing_s)
        costs[f"classifying {name}, CPU of workers"] = partial(_of_job, name, lambda job: job.workers_cpu_s)
        costs[f"classifying {name}, CPU of PostgreSQL"] = partial(
            _of_job, name, lambda job: job.database_cpu_s
        )
    costs["locating"] = lambda fleet: fleet.locating_s
    costs["the vacuum at the end"] = lambda fleet: fleet.vacuum_s
    return costs


def _bytes(last: FleetCosts) -> dict[str, Cost]:
    costs: dict[str, Cost] = {}
    for name in sorted(name for name, size in last.sizes.items() if size.rows > last.library):
        costs[f"`{name}`"] = partial(_rows_bytes, name)
        costs[f"indexes of `{name}`"] = partial(_index_bytes, name)
    costs["all tables after the first job"] = lambda fleet: fleet.classified_bytes / fleet.library
    costs["added by classifying again"] = lambda fleet: fleet.again_bytes / fleet.photos
    costs["all tables after the vacuum"] = lambda fleet: fleet.vacuumed_bytes / fleet.library
    costs["dead rows before the vacuum"] = lambda fleet: fleet.dead_rows / fleet.photos
    return costs


def _recording_s(name: str, fleet: FleetCosts) -> float:
    return fleet.recording_s[name]


def _of_job(name: str, cost: Callable[[JobCosts], float], fleet: FleetCosts) -> float:
    return cost(fleet.jobs[name])


def _step_ms(name: str, part: float, job: JobCosts) -> float:
    return percentile(getattr(job, name), part)


def _rows_bytes(name: str, fleet: FleetCosts) -> float:
    return fleet.sizes[name].rows / fleet.library


def _index_bytes(name: str, fleet: FleetCosts) -> float:
    return fleet.sizes[name].indexes / fleet.library


def _query_ms(name: str, fleet: FleetCosts) -> float:
    return fleet.query_ms[name]


def _view_ms(name: str, fleet: FleetCosts) -> float:
    return fleet.view_ms[name]
