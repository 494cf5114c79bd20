"""Isolation: the photos of a chunk whose claims ended badly are processed one at a time, and read in child processes.

That a worker died proves little about the photos it had: deploys, operators and the OOM killer end workers too. The death of a child that
had one photo counts, because this process sees how it died and what other children do meanwhile. A photo with which workers die although
it can be read fails after MAX_DEATHS of them, each of which had this photo alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tagger.errors import FailureKind, PhotoFailed
from tagger.jobs.processing.claimed_chunk import ClaimedChunk, Item
from tagger.ledger.chunks import Claim, count_crashes
from tagger.pipeline.child_process import ChildKilled
from tagger.pipeline.running_child import ParentStopping

SHARED_ATTEMPTS = 2
"""After this many claims that ended badly, a chunk is processed in isolation."""
MAX_KILLS = 3
"""A photo whose child is killed this many times fails, if a child without a photo lives on each time."""
MAX_TRIES = 6
"""Then something outside kills the children, and the photo stays open."""
MAX_DEATHS = 3
"""A photo fails after this many workers died while they processed it alone."""
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


@contextmanager
def alone(chunk: ClaimedChunk, item: Item) -> Iterator[None]:
    """Process an item alone. A death is counted before and subtracted after: the count stays only if this process dies.

    Raises:
        PhotoFailed: too many processes died while they did this.
    """
    if item.deaths >= MAX_DEATHS:
        text = f"{item.deaths} processes ended while they processed it alone. Check their logs and the memory of their machines, then retry it."
        raise PhotoFailed(FailureKind.CRASHED, text)
    chunk.with_retry(lambda: count_crashes(chunk.database, chunk.claim, item.position, +1))
    try:
        yield
    finally:
        chunk.with_retry(lambda: count_crashes(chunk.database, chunk.claim, item.position, -1))
