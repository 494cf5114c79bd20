"""What a page shows of one photo that was looked at, and of what a model knows. Made of plain values; asks nobody."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tagger.artifact import Label, Manifest
from tagger.registry import RegisteredModel
from tagger.results import Prediction
from tagger.web.looking import Seen
from tagger.web.pages.figures import percent
from tagger.web.world import project

NOWHERE = "Elsewhere"
"""Where landmarks without a country stand in a list by country."""


@dataclass(frozen=True)
class Spot:
    """A place on the outline map; `words` give it in degrees."""

    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Bar:
    """One of the top-k. `place` is its city and country, as far as they are known."""

    name: str
    place: str
    score: float
    accepted: bool
    spot: Spot | None


@dataclass(frozen=True)
class Findings:
    """What the model saw in a photo: the top-k, what the landmarks below share (`rest`), and the chance of none of them."""

    bars: tuple[Bar, ...]
    rest: float
    none_of_them: float
    threshold: float
    model: str
    took_ms: int

    @property
    def named(self) -> Bar | None:
        """The landmark that the photo is said to show."""
        return next((bar for bar in self.bars if bar.accepted), None)

    @property
    def guess(self) -> Bar | None:
        """Where nothing is named, the landmark that is likelier all the same than none of them."""
        best = self.bars[0] if self.bars and self.named is None else None
        return best if best is not None and best.score > self.none_of_them else None


@dataclass(frozen=True)
class Sight:
    """What came of one photo: what was found, or why it could not be looked at. `file` is what its sender calls it."""

    file: str
    found: Findings | None
    failure: str = ""

    @property
    def said(self) -> str:
        """For whoever hears the page."""
        if self.found is None:
            return f"{self.file}: {self.failure}"
        named, guess = self.found.named, self.found.guess
        if named is not None:
            return f"{self.file}: {named.name}, {percent(named.score)}"
        if guess is not None:
            return f"{self.file}: perhaps {guess.name}, {percent(guess.score)}"
        return f"{self.file}: none of the landmarks, {percent(self.found.none_of_them)}"


@dataclass(frozen=True)
class Country:
    """A country and its landmarks' names."""

    name: str
    landmarks: tuple[str, ...]


@dataclass(frozen=True)
class Knowledge:
    """What a model can tell apart. A model of many labels may give several of them one landmark's name."""

    model: str
    threshold: float
    landmarks: int
    countries: tuple[Country, ...]
    dots: tuple[Spot, ...]


def findings(seen: Seen, top_k: int) -> Findings:
    """The first `top_k` of a look that has every label's score, and what is left for the others and for none."""
    shown, others = seen.predictions[:top_k], seen.predictions[top_k:]
    return Findings(
        bars=tuple(_bar(prediction, seen.model.manifest) for prediction in shown),
        rest=_sum(others),
        none_of_them=max(0.0, 1.0 - _sum(seen.predictions)),
        threshold=seen.threshold,
        model=seen.model.name,
        took_ms=round(seen.milliseconds),
    )


def knowledge_of(registered: RegisteredModel, threshold: float) -> Knowledge:
    """What a model's manifest says that it knows."""
    labels = registered.manifest.labels
    return Knowledge(
        model=registered.name,
        threshold=threshold,
        landmarks=len(labels),
        countries=_countries(labels),
        dots=tuple(spot for label in labels if (spot := _spot(label)) is not None),
    )


def _bar(prediction: Prediction, manifest: Manifest) -> Bar:
    label = manifest.labels[prediction.position]
    place = ", ".join(part for part in (label.city, label.country) if part)
    return Bar(label.name, place, prediction.score, prediction.accepted, _spot(label))


def _spot(label: Label) -> Spot | None:
    if label.latitude is None or label.longitude is None:
        return None
    return Spot(*project(label.latitude, label.longitude), _degrees(label.latitude, label.longitude))


def _degrees(latitude: float, longitude: float) -> str:
    """`48.858° N, 2.295° E`: to about a hundred metres, which is what a landmark's place is good for."""
    north, east = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"{abs(latitude):.3f}° {north}, {abs(longitude):.3f}° {east}"


def _countries(labels: Iterable[Label]) -> tuple[Country, ...]:
    names: dict[str, list[str]] = {}
    for label in labels:
        names.setdefault(label.country or NOWHERE, []).append(label.name)
    by_name = sorted(names.items(), key=lambda each: (each[0] == NOWHERE, each[0]))
    return tuple(Country(name, tuple(sorted(landmarks))) for name, landmarks in by_name)


def _sum(predictions: Sequence[Prediction]) -> float:
    return sum(prediction.score for prediction in predictions)
