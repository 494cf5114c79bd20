"""The results for one set of photos: medians of all rounds, ratios within a round, and their tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from bench.compare.programs import PROGRAMS, TAG, Measurement, Program
from bench.report import table, value_range

# TorchScript optimises a network in its first two runs, also with batches.
WARM_UP_PHOTOS = 64
INTRODUCTION = f"""\
Values are medians of the rounds; ratios are medians of each round's ratio. See `docs/how-to/benchmark.md`.

- **backend**: what ran the tagger's model.
- **CPU ms/photo**: user and system time of all processes, without start-up. Compare programs by this value:
  other load on the machine hardly changes it. A command runs twice, over
  {WARM_UP_PHOTOS} small photos, and over these and the others; the difference counts.
- **photos/s**: wall time, also without start-up; other load changes it.
- **same top-1**: photos whose best tag equals that of DataLoader, which decodes at full size, in float32.
"""
_COLUMNS = ("", "backend", "CPU ms/photo", "range", "÷ `tagger tag`", "photos/s", "range", "same top-1")


@dataclass(frozen=True)
class Results:
    """`rounds` has the measurements by program name; `reference` has the expected best tag of each photo."""

    name: str
    photos: Sequence[Path]
    rounds: Mapping[str, Sequence[Measurement]]
    reference: Mapping[str, str]

    def report(self) -> str:
        """Return the table of this set of photos, with its heading."""
        mean_mb = mean(photo.stat().st_size for photo in self.photos) / 1e6
        count = len(next(iter(self.rounds.values())))
        rows = [self._row(each) for each in PROGRAMS if each.name in self.rounds]
        heading = f"### {self.name}: {len(self.photos)} photos, {mean_mb:.2f} MB on average, rounds: {count}"
        return f"{heading}\n\n{table(_COLUMNS, rows)}"

    def _row(self, program: Program) -> list[object]:
        rounds = self.rounds[program.name]
        costs, rates = [each.cpu_ms for each in rounds], [each.rate for each in rounds]
        baseline = [each.cpu_ms for each in self.rounds.get(TAG, ())]
        ratios = [cost / other for cost, other in zip(costs, baseline, strict=False)]
        same = min(
            sum(each.top_tags[path] == slug for path, slug in self.reference.items()) for each in rounds
        )
        return [
            program.title,
            ", ".join(sorted({each.backend for each in rounds})),
            median(costs),
            value_range(costs),
            f"{median(ratios):.2f} x" if ratios else "-",
            median(rates),
            value_range(rates),
            f"{100 * same / len(self.reference):.1f} %",
        ]
