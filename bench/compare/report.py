"""The results for one set of photos: medians of all rounds, ratios within a round, and their tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from bench.compare.programs import PROGRAMS, TAG, WORKER, WORKERS, Measurement, find_program
from bench.report import table, value_range

TARGET = 0.93
WARM_UP_PHOTOS = 64
"""TorchScript optimises a network in its first two runs, also with batches."""
INTRODUCTION = f"""\
Every program gets the same photos and the same artifact, runs on the CPU, and stores the five best tags of each photo in
SQLite. In each round all programs run in turn. Values are medians of the rounds; ratios are
medians of each round's ratio.

- **CPU ms/photo**: user and system time of all processes, without start-up. Compare programs by this value: other load on
  the machine hardly changes it. A command runs twice, over {WARM_UP_PHOTOS} small photos and over these and the others; the
  difference counts. Workers have processed those photos before; their CPU time until the last photo is stored counts.
- **photos/s**: wall time, also without start-up; other load changes it. Of workers, it is measured from the first claim to the
  last stored photo.
- **start**: seconds of a command over the {WARM_UP_PHOTOS} small photos, including Python's start.
- **peak MiB**: the peak memory of all processes; shared memory counts once. It is sampled and may miss short peaks.
- **enqueue**: CPU seconds of the command that enqueued the photos, and of Redis. Not included in CPU ms/photo.
- **same top-1**: photos whose best tag equals that of DataLoader, which decodes at full size and computes in float32.
"""
_COLUMNS = (
    *("", "CPU ms/photo", "range", "÷ `tagger tag`", "photos/s", "range", "start s"),
    *("peak MiB", "enqueue s", "same top-1"),
)


@dataclass(frozen=True)
class Results:
    """`rounds` has the measurements by program name; `reference` has the expected best tag of each photo."""

    name: str
    photos: Sequence[Path]
    rounds: Mapping[str, Sequence[Measurement]]
    reference: Mapping[str, str]

    def cpu_ms(self, name: str) -> float:
        return median(each.cpu_ms for each in self.rounds[name])

    def min_agreement(self, name: str) -> float:
        """Return the lowest share of photos, of all rounds, whose best tag is the reference's."""
        same = (
            sum(each.top_tags[path] == slug for path, slug in self.reference.items())
            for each in self.rounds[name]
        )
        return min(same) / len(self.reference)

    def cpu_ratio(self, name: str, other: str) -> float:
        """Return this program's CPU time divided by the other's; the median of the rounds' ratios."""
        pairs = zip(self.rounds[name], self.rounds[other], strict=True)
        return median(program.cpu_ms / baseline.cpu_ms for program, baseline in pairs)

    def speedup(self, name: str, other: str) -> float:
        """Return this program's photos/s divided by the other's; for workers, whose rates are never None."""
        pairs = zip(self.rounds[name], self.rounds[other], strict=True)
        return median((program.rate or 0.0) / (baseline.rate or 1.0) for program, baseline in pairs)

    def has(self, *names: str) -> bool:
        return all(name in self.rounds for name in names)


def progress_line(name: str, measurement: Measurement) -> str:
    """Return one run in one line."""
    title = find_program(name).title
    return f"{title}: {measurement.cpu_ms:.1f} CPU ms/photo, {measurement.rate or 0:.1f} photos/s"


def report_sections(results: Results) -> Iterator[str]:
    """Yield the tables of one set of photos, and what they say."""
    mean_mb = mean(photo.stat().st_size for photo in results.photos) / 1e6
    rounds = len(next(iter(results.rounds.values())))
    yield f"### {results.name}: {len(results.photos)} photos, {mean_mb:.2f} MB on average, rounds: {rounds}\n"
    yield table(_COLUMNS, [_row(results, each.name) for each in PROGRAMS if results.has(each.name)])
    if results.has(WORKER, WORKERS):
        yield (
            f"Two workers tag {results.speedup(WORKERS, WORKER):.2f} times the photos/s of one on the same cores "
            f"(target: at least {TARGET}), with {results.cpu_ratio(WORKERS, WORKER):.2f} times the CPU time.\n"
        )


def _row(results: Results, name: str) -> list[object]:
    rounds = results.rounds[name]
    rates = [each.rate for each in rounds if each.rate is not None]
    return [
        find_program(name).title,
        results.cpu_ms(name),
        value_range([each.cpu_ms for each in rounds]),
        f"{results.cpu_ratio(name, TAG):.2f} x" if results.has(TAG) else "-",
        _median_or_dash(rates),
        value_range(rates) if rates else "-",
        _median_or_dash([each.start_s for each in rounds]),
        round(median(each.peak_mib for each in rounds)),
        _median_or_dash([each.enqueue_cpu_s for each in rounds]),
        f"{100 * results.min_agreement(name):.1f} %",
    ]


def _median_or_dash(values: Sequence[float | None]) -> object:
    numbers = [value for value in values if value is not None]
    return median(numbers) if numbers else "-"
