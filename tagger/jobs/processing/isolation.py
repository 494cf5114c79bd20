"""Isolation: the photos of a chunk whose claims ended badly are processed one at a time, in child processes.

That a worker died proves nothing about the photos it had: deploys, operators and the OOM killer end workers too. Only the
death of a child that had one photo counts, because this process sees how it died and what other children do meanwhile.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from tagger.ledger.chunks import Claim
from tagger.pipeline.child_process import ChildKilled
from tagger.pipeline.running_child import ParentStopping

SHARED_ATTEMPTS = 2
"""After this many claims that ended badly, a chunk is processed in isolation."""
MAX_KILLS = 3
"""A photo whose child is killed this many times fails, if a child without a photo lives on each time."""
MAX_TRIES = 6
"""Then something outside kills the children, and the photo stays open."""
CONTROL_S = 1.0, 30.0
"""The least and the most time for which a child without a photo has to live on."""

T = TypeVar("T")


class PhotoLeftOpen(Exception):
    """The photo has no result yet: this process has to stop, or something outside kills the children."""


def needs_isolation(claim: Claim) -> bool:
    """Whether the chunk's photos are processed one by one, with no other chunk in the process."""
    return claim.attempts > SHARED_ATTEMPTS


def until_decided(work: Callable[[], T], survives: Callable[[float], bool]) -> T:
    """Call `work`, which has a child process do something with one photo, until the photo has a result.

    A child that is killed (SIGKILL) may be a victim: of an operator, or of the OOM killer, which prefers children. It counts
    only if a child without a photo then `survives` for as long.

    Raises:
        PhotoFailed: the photo failed, crashed children, or had them killed too often.
        PhotoLeftOpen: nothing is known yet about the photo.
    """
    least_s, most_s = CONTROL_S
    kills = 0
    try:
        for _ in range(MAX_TRIES):
            started_at = time.monotonic()
            try:
                return work()
            except ChildKilled:
                kills += survives(min(most_s, max(least_s, time.monotonic() - started_at)))
                if kills == MAX_KILLS:
                    raise
    except ParentStopping:
        raise PhotoLeftOpen from None
    raise PhotoLeftOpen
