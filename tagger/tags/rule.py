"""The rule: which landmarks count as tags of an image, and why others do not.

Models and teaching give an image candidates; people give verdicts. A landmark is

- `confirmed` if a person confirmed it, and `rejected` if a person rejected it, whatever anything else says;
- `accepted` if a candidate of it counts: its score reaches the threshold, nothing is missing of the image,
  the position of the photo does not speak against it, no other landmark is confirmed, and no candidate for
  another landmark wins. Taught landmarks win over all others, then the higher score wins, and of equal ones
  that of the first model. Candidates of one model do not compete. Where a model is nearly certain of a
  landmark, another one that is taught is only suggested;
- `doubtful` if its score is enough, and one of these speaks against it;
- `suggested` if a candidate of it is probable by its score and what is known of where the photo was taken,
  and no more, or if the other photos of its day speak against a score that is enough. What a model finds
  probable is not suggested beside another landmark that counts.

Accepted and confirmed landmarks are tags. On an image that a person put away as not a landmark, none is
accepted, doubtful or suggested.

Everything here is pure: `settlement` reads the causes and stores the result.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from tagger.database import OddsReason, TagReason, TagState, VerdictKind

# From this score on, a tag of the model is right more often than one of a taught landmark (0.96).
#
# Of the shipped model's tags on test photos of landmarks, 96.7 % with a lower score are right, and
# 99.8 % from this one on.
NEARLY_CERTAIN = 0.97
# A higher score counts as this beside a position: no score is known to be right more often.
SURE_SCORE = 0.99
# A landmark that a model finds with a lower score is never accepted because of a position.
#
# In a library, one in four of the shipped model's names with 0.5 to 0.7 is right, below 1 in 14.
LEAST_SCORE = 0.5
# A landmark with a lower score is never suggested because of a position.
LEAST_SUGGESTED_SCORE = 0.1
# From this one on, it is suggested if its photo was taken where it is: nine of ten are right.
LEAST_PROBABILITY = 0.2


@dataclass(frozen=True)
class ImageFacts:
    """What the rule reads of an image: columns of `contents` by their names, and whether it is dismissed.

    `damaged`: a part of it is missing. `dismissed`: it was put away as not a landmark.
    """

    damaged: bool = False
    dismissed: bool = False


INTACT = ImageFacts()


@dataclass(frozen=True)
class PositionOdds:
    """The factor by which what is known of a photo changes the odds of a landmark, and their distance.

    `reason`: what is known: the position of the photo, of its camera before and after, or of other photos of
    its day. `distance_m` None: the other photos of its day show the landmark, or one that is too far away.
    """

    odds: float
    distance_m: float | None
    reason: OddsReason = OddsReason.POSITION

    @property
    def is_weak(self) -> bool:
        """Whether they decide about suggestions alone."""
        return self.reason is OddsReason.TRIP

    @property
    def are_of_the_place(self) -> bool:
        """Whether the photo, or others of its day, may have been taken where the landmark is seen."""
        return self.is_weak or self.odds > 1


class Candidate(NamedTuple):
    """A landmark that a model or teaching gives an image. `is_enough`: the score reaches the threshold.

    `suggested_from`: the lowest score of a suggestion; None: there are none.
    `rank`: the place among the best of a model, from 1 on; None: it comes from teaching.
    `model_order`: 0 for the first of the models that count for the image.
    """

    landmark_id: int
    score: float
    is_enough: bool
    threshold: float
    model_id: int
    rank: int | None = None
    odds: PositionOdds | None = None
    model_order: int = 0
    suggested_from: float | None = None

    @property
    def is_probable(self) -> bool:
        """Whether it is suggested on an intact image that shows nothing else, unless it is accepted."""
        if self.suggested_from is None or self.odds is None:
            return self.suggested_from is not None and self.score >= self.suggested_from
        least = min(
            self.suggested_from, LEAST_PROBABILITY if self.odds.are_of_the_place else 1
        )
        is_high = self.rank is None or self.score >= min(least, LEAST_SUGGESTED_SCORE)
        return is_high and weighed(self.score, self.odds.odds) >= least

    @property
    def is_alone_accepted(self) -> bool:
        """Whether it is accepted on an intact image of which nothing else is known."""
        if self.odds is None or self.odds.is_weak:
            return self.is_enough
        # Photos taken where a taught landmark is need less resemblance, which `LEAST_SCORE` does not limit.
        if self.rank is None and self.odds.odds > 1.0:
            return weighed(self.score, self.odds.odds) >= self.threshold
        return is_accepted(
            self.score,
            self.odds.odds,
            self.threshold,
            by_score=self.is_enough,
        )

    @property
    def origin(self) -> int | None:
        """None: teaching."""
        return None if self.rank is None else self.model_id

    @property
    def strength(self) -> tuple[bool, float, int]:
        return self.rank is None, self.score, -self.model_order

    def beats(self, other: "Candidate") -> bool:
        return self.origin != other.origin and self.strength > other.strength


@dataclass(frozen=True)
class EffectiveTag:
    """What the rule says of a landmark of an image. Without a score, only a verdict speaks for it."""

    landmark_id: int
    state: TagState
    reason: TagReason | None
    candidate: Candidate | None
    rank: int | None

    @property
    def score(self) -> float:
        return self.candidate.score if self.candidate else 0.0

    @property
    def source(self) -> str:
        if self.candidate is None:
            return "verdict"
        return "taught" if self.candidate.rank is None else "model"

    @property
    def is_accepted(self) -> bool:
        return self.state in (TagState.ACCEPTED, TagState.CONFIRMED)


def best_predictions(candidates: Iterable[Candidate]) -> Mapping[int, Candidate]:
    best: dict[int, Candidate] = {}
    for each in candidates:
        if each.rank is not None:
            other = best.setdefault(each.landmark_id, each)
            if each.strength > other.strength:
                best[each.landmark_id] = each
    return best


def decide(
    candidates: Collection[Candidate],
    verdicts: Mapping[int, VerdictKind],
    image: ImageFacts = INTACT,
) -> list[EffectiveTag]:
    """The landmarks of an image with a state, in order of their ids; those that are only predicted have none.

    `verdicts` are by landmark id. A landmark that a person rejected is there if something else speaks for it.
    """
    # Most candidates are only predicted, with a low score.
    landmark_ids = {
        each.landmark_id
        for each in candidates
        if each.is_enough or each.odds or each.is_probable
    }
    by_landmark: dict[int, list[Candidate]] = {
        key: [] for key in sorted(landmark_ids | verdicts.keys())
    }
    for candidate in candidates:
        if candidate.landmark_id in by_landmark:
            by_landmark[candidate.landmark_id].append(candidate)
    counting: dict[int, list[Candidate]] = {key: [] for key in by_landmark}
    for candidate in () if image.damaged else _counting(by_landmark, verdicts):
        counting[candidate.landmark_id].append(candidate)
    is_open = (
        of_landmark
        for key, of_landmark in counting.items()
        if verdicts.get(key) is not VerdictKind.REJECTED
    )
    rivals = _rivals(chain.from_iterable(is_open))
    is_named = any(
        of_landmark and key not in verdicts for key, of_landmark in counting.items()
    )
    is_named |= VerdictKind.CONFIRMED in verdicts.values()
    effective_tags = []
    for landmark_id, own in by_landmark.items():
        accepted = counting[landmark_id]
        state: TagState | None
        reason: TagReason | None = None
        if landmark_id in verdicts:
            # A rejection of what nothing speaks for is no tag.
            verdict = verdicts[landmark_id]
            state = (
                TagState(verdict) if own or verdict is VerdictKind.CONFIRMED else None
            )
        elif image.dismissed:
            state = None
        elif accepted:
            state, reason = _contested(accepted, rivals, verdicts)
        else:
            state, reason = _not_counting(
                own, is_damaged=image.damaged, is_named=is_named
            )
        if state is not None:
            rank = min(
                (each.rank for each in own if each.rank is not None),
                default=None,
            )

            # The candidate that shows a landmark: of those that count or are suggested, or of all,
            # models first.
            shown_by = (
                [each for each in own if each.is_probable]
                if state is TagState.SUGGESTED
                else accepted or own
            )
            shown = max(
                shown_by,
                key=lambda each: (each.rank is not None, each.score, -each.model_order),
                default=None,
            )

            effective_tags.append(EffectiveTag(landmark_id, state, reason, shown, rank))
    return effective_tags


def _counting(
    by_landmark: Mapping[int, Sequence[Candidate]], verdicts: Mapping[int, VerdictKind]
) -> Iterator[Candidate]:
    # The candidates that count: all but taught ones where a model is nearly certain of another landmark.
    # The landmarks of which a model is nearly certain, and that no verdict speaks against.
    confirmed = {
        key for key, verdict in verdicts.items() if verdict is VerdictKind.CONFIRMED
    }
    certain = {
        landmark_id
        for landmark_id, own in by_landmark.items()
        if verdicts.get(landmark_id) is not VerdictKind.REJECTED
        and confirmed <= {landmark_id}
        and any(
            each.rank is not None
            and each.score >= NEARLY_CERTAIN
            and each.is_alone_accepted
            for each in own
        )
    }

    for landmark_id, own in by_landmark.items():
        is_held_back = bool(certain - {landmark_id})
        for each in own:
            if each.is_alone_accepted and not (each.rank is None and is_held_back):
                yield each


def _rivals(candidates: Iterable[Candidate]) -> Sequence[Candidate]:
    rivals: dict[int | None, dict[int, Candidate]] = defaultdict(dict)
    for each in sorted(candidates, key=attrgetter("strength"), reverse=True):
        if len(rivals[each.origin]) < 2:
            rivals[each.origin].setdefault(each.landmark_id, each)
    return [each for strongest in rivals.values() for each in strongest.values()]


def _contested(
    accepted: Sequence[Candidate],
    rivals: Sequence[Candidate],
    verdicts: Mapping[int, VerdictKind],
) -> tuple[TagState, TagReason | None]:
    # The state of a landmark without a verdict: `accepted` are its candidates that count by themselves.
    if VerdictKind.CONFIRMED in verdicts.values():
        return TagState.DOUBTFUL, TagReason.CONFIRMED_OTHER
    others = [each for each in rivals if each.landmark_id != accepted[0].landmark_id]
    if all(any(other.beats(each) for other in others) for each in accepted):
        is_taught = any(other.rank is None for other in others)
        return (
            TagState.DOUBTFUL,
            TagReason.TAUGHT_OTHER if is_taught else TagReason.SCORED_OTHER,
        )
    is_raised = not any(each.is_enough for each in accepted)
    return TagState.ACCEPTED, TagReason.POSITION if is_raised else None


def _not_counting(
    own: Sequence[Candidate], *, is_damaged: bool, is_named: bool
) -> tuple[TagState | None, TagReason | None]:
    # The state of a landmark without a verdict, of whose candidates none counts; None: it is only predicted.
    #
    # `is_named`: another landmark of the image counts by itself or is confirmed.
    refused = [
        each
        for each in own
        if each.is_enough and (is_damaged or not each.is_alone_accepted)
    ]
    odds = refused[0].odds if refused else None
    probable = [
        each
        for each in own
        if each.is_probable and not (is_named and each.rank is not None)
    ]
    if refused and (
        is_damaged or odds is None or odds.distance_m is not None or not probable
    ):
        return TagState.DOUBTFUL, _reason(
            None if is_damaged else odds
        ) or TagReason.DAMAGED
    if not probable:
        return None, None
    if any(each.is_alone_accepted for each in probable):
        return TagState.SUGGESTED, TagReason.CERTAIN_OTHER
    return TagState.SUGGESTED, next(
        (_reason(each.odds) for each in probable if each.odds),
        None,
    )


def _reason(odds: PositionOdds | None) -> TagReason | None:
    return None if odds is None or odds.is_weak else TagReason(odds.reason)


def is_accepted(score: float, odds: float, threshold: float, *, by_score: bool) -> bool:
    """Whether a candidate is accepted, given the odds of a position. `by_score`: by its score alone.

    Odds above 1 never reject a landmark, and odds below 1 never accept one.
    """
    if by_score:
        return odds >= 1.0 or weighed(score, odds) >= threshold
    return odds > 1.0 and score >= LEAST_SCORE and weighed(score, odds) >= threshold


def weighed(score: float, odds: float) -> float:
    """The probability of a landmark, by Bayes' rule from its calibrated score and the odds of a position."""
    capped = min(score, SURE_SCORE)
    return capped * odds / (capped * odds + 1.0 - capped)
