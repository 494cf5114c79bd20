"""What came out for one set of photos: every round of every program, medians, and ratios within a round."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.comparison.measurement import Measured
from bench.comparison.photo_sets import PhotoSet
from bench.comparison.stored import share_alike
from bench.limits import Steps
from bench.report import median


@dataclass(frozen=True)
class Results:
    """`rounds` of each program by its name; `reference` names the best tag of each photo.

    The steps of a photo `alone`, with nothing else on the machine, and `together`, a process on each core: cores that
    work at the same time share caches and memory, and are slower for it.
    """

    photo_set: PhotoSet
    photos: int
    rounds: Mapping[str, Sequence[Measured]]
    alone: Sequence[Steps]
    together: Sequence[Steps]
    reference: Mapping[str, str]

    def cpu_ms(self, name: str) -> float:
        return median(each.cpu_ms for each in self.rounds[name])

    def rate(self, name: str) -> float | None:
        rates = [each.rate for each in self.rounds[name] if each.rate is not None]
        return median(rates) if rates else None

    def same_first(self, name: str) -> float:
        """The least share of any round."""
        return min(share_alike(each.firsts, self.reference) for each in self.rounds[name])

    @property
    def limit_ms(self) -> float:
        return median(each.limit for each in self.together)

    def limit_share(self, name: str) -> float:
        """The limit over what the program costs: 1 is as cheap as the steps that keep all cores busy."""
        return self._share(self.together, name)

    def limit_share_alone(self, name: str) -> float:
        """The same with the steps as cheap as on a machine that does nothing else."""
        return self._share(self.alone, name)

    def _share(self, steps: Sequence[Steps], name: str) -> float:
        pairs = zip(steps, self.rounds[name], strict=True)
        return median(each.limit / program.cpu_ms for each, program in pairs)

    def times(self, name: str, other: str) -> float:
        """How many times the other's CPU time this program uses, the median of what it was in each round."""
        pairs = zip(self.rounds[name], self.rounds[other], strict=True)
        return median(mine.cpu_ms / its.cpu_ms for mine, its in pairs)

    def times_as_fast(self, name: str, other: str) -> float:
        """How many times the other's photos/s this program's are; of workers, whose rates are always known."""
        pairs = zip(self.rounds[name], self.rounds[other], strict=True)
        return median((mine.rate or 0.0) / (its.rate or 1.0) for mine, its in pairs)

    def has(self, *names: str) -> bool:
        return all(name in self.rounds for name in names)

    def as_json(self) -> dict[str, object]:
        """All of it but the photos' names."""
        return {
            "set": self.photo_set.name,
            "photos": self.photos,
            "mean_mb": self.photo_set.mean_mb,
            "limit_ms": self.limit_ms,
            "steps_together": [asdict(each) for each in self.together],
            "steps_alone": [asdict(each) for each in self.alone],
            "programs": {
                name: {
                    "cpu_ms": self.cpu_ms(name),
                    "photos_per_s": self.rate(name),
                    "limit_share": self.limit_share(name),
                    "limit_share_alone": self.limit_share_alone(name),
                    "same_first_tag": self.same_first(name),
                    "rounds": [_figures(each) for each in rounds],
                }
                for name, rounds in self.rounds.items()
            },
        }


def _figures(measured: Measured) -> dict[str, float | None]:
    return {
        "cpu_ms": measured.cpu_ms,
        "photos_per_s": measured.rate,
        "peak_mib": measured.peak_mib,
        "start_s": measured.start_s,
        "sending_cpu_s": measured.sending_cpu_s,
    }
