"""The results for one set of photos: all rounds of every program, medians, and ratios within a round."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.compare.measurement import Measurement
from bench.compare.photo_sets import PhotoSet
from bench.compare.stored_tags import top1_agreement
from bench.limits import Steps


@dataclass(frozen=True)
class Results:
    """`rounds` has the measurements by program name; `reference` has the expected best tag of each photo.

    The steps were measured in one process and with one process per core (`parallel`): busy cores share caches and memory,
    which slows them down.
    """

    photo_set: PhotoSet
    photos: int
    rounds: Mapping[str, Sequence[Measurement]]
    single: Sequence[Steps]
    parallel: Sequence[Steps]
    reference: Mapping[str, str]

    def cpu_ms(self, name: str) -> float:
        return median(each.cpu_ms for each in self.rounds[name])

    def rate(self, name: str) -> float | None:
        rates = [each.rate for each in self.rounds[name] if each.rate is not None]
        return median(rates) if rates else None

    def min_agreement(self, name: str) -> float:
        """Return the lowest share of photos, of all rounds, whose best tag is the reference's."""
        return min(top1_agreement(each.top_tags, self.reference) for each in self.rounds[name])

    @property
    def limit_ms(self) -> float:
        return median(steps.limit for steps in self.parallel)

    def limit_share(self, name: str, steps: Sequence[Steps]) -> float:
        """Return the limit divided by the program's cost: 1 means that it costs no more than the steps."""
        pairs = zip(steps, self.rounds[name], strict=True)
        return median(limit.limit / program.cpu_ms for limit, program in pairs)

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

    def as_json(self) -> dict[str, object]:
        """Return everything except the photos' names."""
        return {
            "set": self.photo_set.name,
            "photos": self.photos,
            "mean_mb": self.photo_set.mean_mb,
            "limit_ms": self.limit_ms,
            "steps_parallel": [asdict(each) for each in self.parallel],
            "steps_single": [asdict(each) for each in self.single],
            "programs": {name: self._program_json(name) for name in self.rounds},
        }

    def _program_json(self, name: str) -> dict[str, object]:
        rounds = [asdict(each) for each in self.rounds[name]]
        for each in rounds:
            del each["top_tags"]
        return {
            "cpu_ms": self.cpu_ms(name),
            "rate": self.rate(name),
            "limit_share": self.limit_share(name, self.parallel),
            "limit_share_single": self.limit_share(name, self.single),
            "same_top1": self.min_agreement(name),
            "rounds": rounds,
        }
