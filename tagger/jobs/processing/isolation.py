"""Isolation: the photos of a chunk whose claims ended badly are processed one at a time, in child processes.

That a worker died proves nothing about the photos it had: deploys, operators and the OOM killer end workers too. Only the
death of a child that had one photo counts, because this process sees how it died and what other children do meanwhile. The
child (isolated_item) stores the outcome itself, under the claim's token; this process keeps the lease.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Self, TypeVar

from tagger.database.enums import Outcome
from tagger.errors import FailureKind, ItemProcessFailed, PhotoFailed
from tagger.jobs.processing.claimed_chunk import ClaimedChunk, Item
from tagger.ledger.chunks import Claim, ItemOutcome
from tagger.pipeline.child_process import ChildKilled, ChildProcess
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


START_S = 120.0
"""Added to the timeout of a child's first item: it may load the model."""
PAUSE_S = 0.5
STOP_TIMEOUT_S = 3.0
"""How long a process that has to stop waits for the item in progress."""


class ItemProcess:
    """A child process for the items of one chunk, started when the first item is processed."""

    def __init__(self, chunk: ClaimedChunk) -> None:
        self._chunk = chunk
        self._stop_deadline: float | None = None
        config = {"settings": chunk.settings.model_dump(mode="json"), "claim": asdict(chunk.claim)}
        self._child = ChildProcess(
            "tagger.jobs.processing.isolated_item",
            config,
            chunk.settings.read_timeout_s,
            start_s=START_S,
            must_stop=self._must_stop,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._child.close()

    def process(self, item: Item) -> None:
        """Have the child process an item and store its outcome.

        Raises:
            PhotoFailed: the item crashes the child, or takes too long; nothing is stored.
            PhotoLeftOpen: the item has no outcome yet.
            ItemProcessFailed: the child cannot process any photo.
        """
        reply = self._call(item)
        if reply["error"] is not None:
            raise ItemProcessFailed(reason=reply["error"])
        for outcome, reason in reply["stored"]:
            self._chunk.count(item, ItemOutcome(item.position, Outcome(outcome), reason))
        if not reply["stored"]:
            # The root or the database is away, or the lease was lost: this process notices soon.
            self._chunk.stop.wait(PAUSE_S)

    def _call(self, item: Item) -> dict[str, Any]:
        try:
            return self._try(item)
        except PhotoFailed as failed:
            if failed.failure.kind is not FailureKind.TIMED_OUT:
                raise
        # A database that hangs looks like a photo that hangs.
        self._chunk.roots()
        return self._try(item)

    def _try(self, item: Item) -> dict[str, Any]:
        request = {"position": item.position}
        return until_decided(lambda: self._child.run(lambda child: child.call(request)), self._child.survives)

    def _must_stop(self) -> bool:
        """Whether to give the item up. A process that has to stop waits for it for a moment."""
        self._chunk.on_progress()
        if self._chunk.stop.is_set() and self._stop_deadline is None:
            self._stop_deadline = time.monotonic() + STOP_TIMEOUT_S
        is_late = self._stop_deadline is not None and time.monotonic() > self._stop_deadline
        return is_late or self._chunk.lease_lost.is_set()
