"""Which deaths of children prove that a photo causes them."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.errors import FailureKind, PhotoFailed
from tagger.jobs.processing.classification import MAX_KILLS, MAX_TRIES, until_decided
from tagger.pipeline.child_process import ChildKilled
from tagger.pipeline.running_child import ParentStopping


class Children:
    """Children of which some are killed. `tries` counts those that had the photo."""

    def __init__(self, is_killed: Sequence[bool], is_control_killed: Sequence[bool]) -> None:
        self._is_killed = is_killed
        self._is_control_killed = is_control_killed
        self.tries = 0

    def read(self) -> str:
        self.tries += 1
        if self._is_killed[self.tries - 1]:
            raise ChildKilled(FailureKind.CRASHED, "SIGKILL")
        return "read"

    def survives(self, _for_s: float) -> bool:
        return not self._is_control_killed[self.tries - 1]


def outcome_of(work: Callable[[], str], survives: Callable[[float], bool]) -> str:
    try:
        return until_decided(work, survives) or "open"
    except PhotoFailed:
        return "failed"


kills = st.lists(st.booleans(), min_size=MAX_TRIES, max_size=MAX_TRIES)


@given(kills)
def test_a_photo_does_not_fail_if_other_children_are_killed_too(killed: list[bool]) -> None:
    children = Children(killed, killed)
    assert outcome_of(children.read, children.survives) == ("open" if all(killed) else "read")


@given(kills, kills)
def test_a_photo_fails_only_if_it_alone_has_children_killed(
    killed: list[bool], is_control_killed: list[bool]
) -> None:
    children = Children(killed, is_control_killed)
    outcome = outcome_of(children.read, children.survives)
    counted = [k and not c for k, c in zip(killed, is_control_killed, strict=True)][: children.tries]
    assert (outcome == "failed") == (sum(counted) == MAX_KILLS)
    assert (outcome == "read") == (not killed[children.tries - 1])


def test_a_photo_that_has_every_child_killed_fails_soon() -> None:
    children = Children([True] * MAX_TRIES, [False] * MAX_TRIES)
    assert outcome_of(children.read, children.survives) == "failed"
    assert children.tries == MAX_KILLS


def test_a_crash_and_a_stop_need_no_other_child() -> None:
    def crash() -> str:
        raise PhotoFailed(FailureKind.CRASHED, "SIGSEGV")

    def stop() -> str:
        raise ParentStopping

    def survives(_for_s: float) -> bool:
        pytest.fail("there is nothing to compare")

    assert outcome_of(crash, survives) == "failed"
    assert outcome_of(stop, survives) == "open"
