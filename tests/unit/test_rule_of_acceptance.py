"""The rule: which landmarks that models, teaching and people name are tags, and why others are not."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tagger.database import OddsReason, TagReason, TagState, VerdictKind
from tagger.tags.rule import (
    INTACT,
    LEAST_SCORE,
    NEARLY_CERTAIN,
    Candidate,
    EffectiveTag,
    ImageFacts,
    PositionOdds,
    decide,
    is_accepted,
)

TOWER, GATE, PALACE = 1, 2, 3
CONFIRMED, REJECTED = VerdictKind.CONFIRMED, VerdictKind.REJECTED
FAR, NEAR = PositionOdds(0.002, 9_718_000.0), PositionOdds(5.0, 160.0)
RARE = PositionOdds(0.25, None)  # What the other photos of the day say
FROM_OTHERS = PositionOdds(0.05, 9_718_000.0, OddsReason.TRIP)
SILENT = PositionOdds(1.0, 150_000.0)
TOO_FAST = PositionOdds(0.002, 9_718_000.0, OddsReason.SPEED)
THRESHOLD = 0.5


def predicted(
    landmark: int,
    score: float,
    odds: PositionOdds | None = None,
    *,
    rank: int = 1,
    model: int = 1,
    suggested_from: float | None = None,
) -> Candidate:
    """By a model whose threshold is 0.5: the first in use, or the one with this place in the order of use."""
    of_model = {"model_id": model, "model_order": model - 1, "rank": rank}
    is_enough = score >= THRESHOLD
    return Candidate(
        landmark, score, is_enough, THRESHOLD, odds=odds, suggested_from=suggested_from, **of_model
    )


def taught(landmark: int, score: float, odds: PositionOdds | None = None) -> Candidate:
    return Candidate(landmark, score, score >= 0.9, 0.9, model_id=1, odds=odds, suggested_from=0.2)


def states(
    *candidates: Candidate, verdicts: Mapping[int, VerdictKind] | None = None, **image: bool
) -> dict[int, tuple[str, str | None]]:
    return {
        tag.landmark_id: (tag.state, tag.reason)
        for tag in decide(candidates, verdicts or {}, ImageFacts(**image))
    }


ACCEPTED, IS_CONFIRMED, IS_REJECTED = ("accepted", None), ("confirmed", None), ("rejected", None)


@pytest.mark.parametrize(
    ("candidate", "state"),
    [
        (predicted(TOWER, 0.5), ACCEPTED),
        (predicted(TOWER, 0.49), None),
        (predicted(TOWER, 0.97, FAR), ("doubtful", "position")),
        (predicted(TOWER, 0.97, TOO_FAST), ("doubtful", "speed")),
        (predicted(TOWER, 0.49, NEAR), None),
        (predicted(TOWER, 0.6, NEAR)._replace(is_enough=False, threshold=0.8), ("accepted", "position")),
        (taught(TOWER, 0.9), ACCEPTED),
        (taught(TOWER, 0.89), ("suggested", None)),
        (taught(TOWER, 0.7, NEAR), ("accepted", "position")),
        (taught(TOWER, 0.95, FAR), ("doubtful", "position")),
    ],
)
def test_a_landmark_alone_is_decided_by_its_score_and_the_position(candidate, state):
    assert states(candidate) == ({} if state is None else {TOWER: state})


@pytest.mark.parametrize(
    ("winner", "loser", "reason"),
    [
        (taught(TOWER, 0.91), predicted(GATE, 0.96), "taught-other"),
        (predicted(TOWER, 0.96, model=2), predicted(GATE, 0.95), "scored-other"),
        (predicted(TOWER, 0.95), predicted(GATE, 0.95, model=2), "scored-other"),
    ],
)
def test_of_two_landmarks_of_different_origins_one_is_accepted(winner, loser, reason):
    assert states(winner, loser) == {TOWER: ACCEPTED, GATE: ("doubtful", reason)}


def test_one_landmark_of_several_models_has_its_best_score_and_may_be_taught():
    candidates = [predicted(TOWER, 0.6), predicted(TOWER, 0.9, rank=2, model=2), predicted(GATE, 0.7)]
    tower, gate = decide(candidates, {})
    assert (tower.state, tower.score, tower.candidate, tower.rank) == (
        TagState.ACCEPTED,
        0.9,
        candidates[1],
        1,
    )
    assert (gate.state, gate.reason) == (TagState.DOUBTFUL, TagReason.SCORED_OTHER)
    found = states(predicted(TOWER, 0.98), taught(TOWER, 0.99), predicted(GATE, 0.6, rank=2))
    assert found == {TOWER: ACCEPTED, GATE: ("doubtful", "taught-other")}


def test_verdicts_and_damage_decide_before_candidates():
    (tag,) = decide([], {GATE: CONFIRMED})
    assert (tag.state, tag.score, tag.source, tag.rank) == (TagState.CONFIRMED, 0.0, "verdict", None)
    candidates = predicted(TOWER, 0.99), taught(GATE, 0.7), predicted(PALACE, 0.6)
    assert states(*candidates, verdicts={PALACE: REJECTED}, dismissed=True) == {PALACE: IS_REJECTED}
    found = states(predicted(TOWER, 0.98), taught(PALACE, 0.7), predicted(4, 0.1), verdicts={GATE: CONFIRMED})
    assert found == {
        TOWER: ("doubtful", "confirmed-other"),
        PALACE: ("suggested", None),
        GATE: IS_CONFIRMED,
    }
    candidates = predicted(TOWER, 0.99, FAR), predicted(4, 0.1), taught(GATE, 0.7), taught(PALACE, 0.7, NEAR)
    suggested = ("suggested", None)
    expected = {TOWER: ("doubtful", "damaged"), GATE: suggested, PALACE: ("suggested", "certain-other")}
    assert states(*candidates, damaged=True) == expected


@pytest.mark.parametrize(
    ("certain", "verdicts", "expected"),
    [
        (predicted(TOWER, NEARLY_CERTAIN), {}, {TOWER: ACCEPTED, GATE: ("suggested", "certain-other")}),
        (predicted(TOWER, 0.969), {}, {TOWER: ("doubtful", "taught-other"), GATE: ACCEPTED}),
        (predicted(TOWER, 0.99, FAR), {}, {TOWER: ("doubtful", "position"), GATE: ACCEPTED}),
        (predicted(TOWER, 0.99), {TOWER: REJECTED}, {TOWER: IS_REJECTED, GATE: ACCEPTED}),
        (
            predicted(TOWER, 0.99),
            {TOWER: CONFIRMED},
            {TOWER: IS_CONFIRMED, GATE: ("suggested", "certain-other")},
        ),
        (
            predicted(TOWER, 0.99),
            {PALACE: CONFIRMED},
            {
                TOWER: ("doubtful", "confirmed-other"),
                GATE: ("doubtful", "confirmed-other"),
                PALACE: IS_CONFIRMED,
            },
        ),
    ],
)
def test_what_is_taught_is_only_suggested_where_a_model_is_nearly_certain_of_another_landmark(
    certain, verdicts, expected
):
    assert states(certain, taught(GATE, 0.99), verdicts=verdicts) == expected


@pytest.mark.parametrize(
    ("candidates", "score", "source"),
    [
        ((predicted(TOWER, 0.3, rank=2), taught(TOWER, 0.95)), 0.95, "taught"),
        ((predicted(TOWER, 0.6, rank=2), taught(TOWER, 0.95)), 0.6, "model"),
        ((predicted(TOWER, 0.6, FAR, rank=2), taught(TOWER, 0.7)), 0.6, "model"),
    ],
)
def test_a_landmark_is_shown_with_the_score_that_decides_and_always_with_its_rank(candidates, score, source):
    (tag,) = decide(candidates, {})
    assert (tag.score, tag.source, tag.rank) == (score, source, 2)


@pytest.mark.parametrize(
    ("score", "odds", "threshold", "by_score", "accepted"),
    [
        (0.6, 0.9, 0.5, True, True),
        (0.6, 0.1, 0.5, True, False),
        (0.4, 5.0, 0.5, True, True),
        (0.999, 1.0, 0.995, True, True),
        (1.0, 0.002, 0.5, True, False),
        (LEAST_SCORE, 5.0, 0.5, False, True),
        (0.9, 1.0, 0.5, False, False),
    ],
)
def test_a_position_decides_with_the_score(score, odds, threshold, by_score, accepted):
    assert is_accepted(score, odds, threshold, by_score=by_score) is accepted


LANDMARKS = (1, 2, 3, 8)


@dataclass
class Image:
    """What is known of an image. A landmark has at most one candidate of the model and one of teaching."""

    candidates: list[Candidate]
    verdicts: dict[int, VerdictKind] = field(default_factory=dict)
    facts: ImageFacts = INTACT

    def tags(self) -> list[EffectiveTag]:
        return decide(self.candidates, self.verdicts, self.facts)

    def accepted(self) -> set[int]:
        return {tag.landmark_id for tag in self.tags() if tag.is_accepted}


@st.composite
def images(draw: st.DrawFn, *, intact: bool = False) -> Image:
    """Any image; with `intact`, one that is neither dismissed nor damaged and has no verdict."""
    scores = st.sampled_from((0.05, 0.5, 0.89, 0.9, 0.95, NEARLY_CERTAIN, 0.99))
    candidates = []
    for landmark in LANDMARKS:
        # Both candidates of a landmark have the same position; it is stored with those that it turns.
        odds = draw(st.sampled_from((None, FAR, NEAR, TOO_FAST)))
        if draw(st.booleans()):
            candidates.append(predicted(landmark, draw(scores), draw(st.sampled_from((None, odds)))))
        if draw(st.booleans()):
            candidates.append(taught(landmark, draw(scores), draw(st.sampled_from((None, odds)))))
    if intact:
        return Image(candidates)
    verdicts = draw(st.dictionaries(st.sampled_from(LANDMARKS), st.sampled_from(VerdictKind)))
    return Image(candidates, verdicts, ImageFacts(draw(st.booleans()), draw(st.booleans())))


@given(images())
def test_a_verdict_is_final_and_where_one_confirms_and_on_odd_images_models_say_nothing(image):
    states_by_landmark = {tag.landmark_id: tag.state for tag in image.tags()}
    for landmark, verdict in image.verdicts.items():
        is_named = any(each.landmark_id == landmark for each in image.candidates)
        expected = TagState(verdict) if is_named or verdict is CONFIRMED else None
        assert states_by_landmark.get(landmark) is expected
    confirmed = {landmark for landmark, verdict in image.verdicts.items() if verdict is CONFIRMED}
    if confirmed or image.facts.dismissed or image.facts.damaged:
        assert image.accepted() == confirmed


@given(images(), st.randoms())
def test_each_landmark_is_named_once_with_its_reason_whatever_the_order_of_candidates(image, rng):
    tags = image.tags()
    shuffled = rng.sample(image.candidates, len(image.candidates))
    assert replace(image, candidates=shuffled).tags() == tags
    named = [tag.landmark_id for tag in tags]
    assert named == sorted(set(named))
    assert {*named} <= {each.landmark_id for each in image.candidates} | image.verdicts.keys()
    for tag in tags:
        if tag.state is TagState.DOUBTFUL:
            assert tag.reason is not None
        if tag.is_accepted:
            assert tag.reason in (None, TagReason.POSITION)


@given(images(intact=True))
def test_an_intact_image_has_a_tag_if_anything_is_accepted_alone(image):
    assert bool(image.accepted()) == any(each.is_alone_accepted for each in image.candidates)


@given(images(intact=True), st.booleans())
def test_candidates_of_one_origin_never_compete(image, is_taught):
    own = [each for each in image.candidates if (each.rank is None) == is_taught]
    assert Image(own).accepted() == {each.landmark_id for each in own if each.is_alone_accepted}


@given(images(), st.sampled_from(LANDMARKS))
def test_what_is_taught_never_makes_another_landmark_accepted(image, landmark):
    candidates = [each for each in image.candidates if each.rank is not None or each.landmark_id != landmark]
    before = replace(image, candidates=candidates)
    after = replace(image, candidates=[*candidates, taught(landmark, 1.0)])
    assert after.accepted() - {landmark} <= before.accepted()


@given(images(intact=True), st.sampled_from(LANDMARKS))
def test_rejecting_a_landmark_takes_no_other_one_away(image, landmark):
    after = replace(image, verdicts={landmark: REJECTED})
    assert image.accepted() - {landmark} <= after.accepted()


def probable(score: float, **options: Any) -> Candidate:
    """By a model that suggests landmarks from 0.3 on."""
    return predicted(TOWER, score, suggested_from=0.3, **options)


@pytest.mark.parametrize(
    ("candidates", "image", "state"),
    [
        ([probable(0.49)], {}, ("suggested", None)),
        ([probable(0.3)], {}, ("suggested", None)),
        ([probable(0.29)], {}, None),
        ([predicted(TOWER, 0.49)], {}, None),  # by a model that suggests nothing
        ([probable(0.25)._replace(is_enough=True, threshold=0.25)], {}, ACCEPTED),
        ([probable(0.24)._replace(threshold=0.25)], {}, None),  # it suggests from more than its threshold
        ([probable(0.49, rank=2), predicted(GATE, 0.2)], {}, ("suggested", None)),
        ([probable(0.4), predicted(GATE, 0.5, model=2)], {}, None),  # something else counts
        ([probable(0.4), taught(GATE, 0.95)], {}, None),
        ([probable(0.4), taught(GATE, 0.95)], {"verdicts": {GATE: REJECTED}}, ("suggested", None)),
        ([probable(0.4), taught(TOWER, 0.3)], {}, ("suggested", None)),
        ([probable(0.4)], {"verdicts": {GATE: CONFIRMED}}, None),
        ([probable(0.4)], {"verdicts": {GATE: REJECTED}}, ("suggested", None)),
        ([probable(0.4)], {"dismissed": True}, None),
        ([probable(0.7, odds=RARE)], {}, ("suggested", "position")),
        ([probable(0.6, odds=RARE)], {}, ("doubtful", "position")),
        ([probable(0.6, odds=FAR)], {}, ("doubtful", "position")),
        ([probable(0.6, odds=RARE)], {"damaged": True}, ("doubtful", "damaged")),
        ([probable(0.2, odds=NEAR)], {}, ("suggested", "position")),
        ([probable(0.25, odds=SILENT)], {}, None),  # far from where it is seen, but not too far
        ([probable(0.09, odds=NEAR)], {}, None),  # below the least score
        ([probable(0.4, odds=FROM_OTHERS)], {}, None),
        ([probable(0.6, odds=FROM_OTHERS)], {}, ("accepted", None)),  # weak evidence turns no tag
    ],
)
def test_what_a_model_finds_probable_is_suggested(candidates, image, state):
    assert states(*candidates, **image).get(TOWER) == state


@given(
    st.lists(
        st.one_of(
            st.builds(taught, st.integers(1, 6), st.sampled_from([0.91, 0.93, 0.95])),
            st.builds(
                predicted,
                st.integers(1, 6),
                st.sampled_from([0.6, 0.7, 0.9]),
                rank=st.integers(1, 5),
                model=st.integers(1, 3),
            ),
        ),
        max_size=12,
    )
)
def test_a_landmark_is_accepted_unless_each_of_its_candidates_is_beaten(candidates):
    for tag in decide(candidates, {}):
        own = [each for each in candidates if each.landmark_id == tag.landmark_id]
        others = [each for each in candidates if each.landmark_id != tag.landmark_id]
        is_beaten = all(any(other.beats(each) for other in others) for each in own)
        assert tag.state == (TagState.DOUBTFUL if is_beaten else TagState.ACCEPTED)


def test_each_landmark_is_compared_with_few_others(monkeypatch):
    compared = []
    beats = Candidate.beats
    monkeypatch.setattr(Candidate, "beats", lambda *pair: compared.append(pair) or beats(*pair))
    many = 300
    found = decide([taught(number, 0.95) for number in range(many)] + [predicted(many, 0.9)], {})
    assert [tag.state for tag in found] == [TagState.ACCEPTED] * many + [TagState.DOUBTFUL]
    assert len(compared) <= 4 * len(found)
