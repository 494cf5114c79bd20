"""The answer in words after training and evaluation: is the model good enough, and what comes next."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainer.data.inspection import FEW
from trainer.evaluation import Evaluation

# How the recipe of a model begins that was taught, and not trained.
TAUGHT = "taught"
# The most landmarks named in one line.
LISTED = 10
FEW_TO_TEACH = 5
# With fewer photos of other landmarks, or of fewer of them, nothing is known of false names.
LEAST_OTHER_PHOTOS, LEAST_OTHER_PLACES = 20, 10
# A model is good enough from these shares on: of photos with the right tag, and of right tags.
LEAST_RIGHT_TAGS = 0.7
LEAST_PRECISION = 0.9


@dataclass(frozen=True)
class Assessment:
    """The figures that decide the answer. `photos_of`: the training photos of each landmark, if known."""

    kind: str  # "validation" or "test"
    photos: int
    top1: float
    right_tags: float  # share of the photos
    precision: float  # share of the tags of these photos that are right
    false_tags: Mapping[str, float]  # by kind of photos without a landmark
    is_tested: bool  # on enough photos of other landmarks
    photos_of: Mapping[str, int]
    few: int = FEW  # landmarks with fewer photos have too few
    trained: int = 0  # photos that were left out because they were in training
    library_precision: float | None = None  # that in a library that shows `mixture`
    mixture: str = ""

    @property
    def is_insufficient(self) -> bool:
        """Whether enough photos were tested, and figures are too low, or all landmarks lack photos."""
        precision = (
            self.precision if self.library_precision is None else self.library_precision
        )
        enough = self.right_tags >= LEAST_RIGHT_TAGS and precision >= LEAST_PRECISION
        return self.photos >= FEW and (not enough or self._lacks_photos)

    def lines(self, next_step: str) -> Iterator[str]:
        """The figures, the answer, and the next step: `next_step`, unless the model is not good enough."""
        if self.trained:
            left_out = "are left out, because they, or others of their landmark, were in training"
            yield f"{self.trained} photos {left_out}"
        yield (
            f"{self.photos} {self.kind} photos of landmarks: {_percent(self.top1)} have the right first "
            f"prediction, {_percent(self.right_tags)} get the right tag"
        )
        yield f"of their tags, {_percent(self.precision)} are right"
        if self.library_precision is not None:
            kinds = "the model's landmarks, of others and of anything else"
            library = f"of the tags in a library of {self.mixture} photos of {kinds}"
            yield f"{library}, {_percent(self.library_precision)} are right"
        for kind, share in self.false_tags.items():
            yield f"{kind}: {_percent(share)} get a false tag"
        if self._few:
            counts = [f"{name} ({count})" for name, count in self._few.items()]
            more = f" and {len(counts) - LISTED} more" if len(counts) > LISTED else ""
            few = f"too few photos of {', '.join(counts[:LISTED])}{more}"
            yield f"{few}; add some, to {self.few} or more each, then train again"
        yield self._answer()
        yield f"next: {'add photos, then train again' if self.is_insufficient else next_step}"

    def _answer(self) -> str:
        if self.photos < FEW:
            needed = f"{FEW} {self.kind} photos of landmarks are needed"
            return f"not known whether it is good enough to use: {needed}"
        if self._lacks_photos:
            return "not good enough to use yet: every landmark has too few photos"
        if self.is_insufficient:
            return (
                "not good enough to use: at least "
                f"{100 * LEAST_RIGHT_TAGS:.0f} % of the photos should get the right tag, "
                f"and {100 * LEAST_PRECISION:.0f} % of the tags should be right"
            )
        if not self.is_tested:
            return (
                "not known whether it is good enough to use: at least "
                f"{LEAST_OTHER_PHOTOS} photos of {LEAST_OTHER_PLACES} "
                "other landmarks that were not in training are needed, in --others"
            )
        return (
            f"good enough to use{', apart from these landmarks' if self._few else ''}"
        )

    @property
    def _few(self) -> dict[str, int]:
        return {
            name: count for name, count in self.photos_of.items() if count < self.few
        }

    @property
    def _lacks_photos(self) -> bool:
        return bool(self._few) and len(self._few) == len(self.photos_of)


def assess_evaluation(evaluation: Evaluation) -> Assessment:
    recognition, library = evaluation.recognition, evaluation.library
    return Assessment(
        kind="test",
        photos=evaluation.photos,
        top1=recognition.top1.value,
        right_tags=recognition.accepted_right.value,
        precision=recognition.precision_at_threshold.value,
        false_tags=evaluation.false_tags_by_kind,
        is_tested=are_tested(evaluation.other_photos, evaluation.other_landmarks),
        photos_of=photos_of_landmarks(evaluation.manifest.training),
        few=least_photos(evaluation.manifest.training),
        trained=evaluation.trained,
        library_precision=library.precision.value if library else None,
        mixture=library.mixture if library else "",
    )


def are_tested(photos: int, places: int) -> bool:
    """Whether so many photos of so many other landmarks say how many such photos get a tag."""
    return photos >= LEAST_OTHER_PHOTOS and places >= LEAST_OTHER_PLACES


def least_photos(training: Mapping[str, object]) -> int:
    return FEW_TO_TEACH if str(training.get("recipe", "")).startswith(TAUGHT) else FEW


def photos_of_landmarks(training: Mapping[str, object]) -> dict[str, int]:
    """The training photos of each landmark; empty for models of earlier versions, which do not state them."""
    counts = training.get("photos_of_landmarks")
    return (
        {str(name): int(count) for name, count in counts.items()}
        if isinstance(counts, dict)
        else {}
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
