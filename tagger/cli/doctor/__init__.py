"""The checks of `tagger doctor`, which are read-only and suggest a remedy: their findings, and groups that run in parallel with a time limit."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMIT_S = 20.0
"""Time limit of a group of checks. A dead network share would block for minutes."""


class State(StrEnum):
    """`note`: useful to know, but nothing is blocked. `wrong`: something does not work, or will not."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """The result of one check. `found` describes the state, and `remedy` is a command or advice to fix it."""

    name: str
    state: State
    found: str
    remedy: str | None = None


def ok(name: str, found: str) -> Finding:
    return Finding(name, State.OK, found)


def note(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, State.NOTE, found, remedy)


def wrong(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, State.WRONG, found, remedy)


class CheckGroup:
    """Checks that run in a thread of their own, from the moment the group is created."""

    def __init__(
        self, name: str, checks: Callable[[], Iterable[Finding]], limit_s: float | None = None
    ) -> None:
        self._name = name
        self._findings: list[Finding] = []
        self._limit_s = LIMIT_S if limit_s is None else limit_s
        self._deadline = time.monotonic() + self._limit_s
        self._thread = threading.Thread(target=self._run, args=(checks,), name=name, daemon=True)
        self._thread.start()

    def findings(self) -> list[Finding]:
        """Wait for the checks, at most until the time limit, and return the findings so far.

        A group that hangs or fails adds a finding about that.
        """
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        findings = list(self._findings)
        if self._thread.is_alive():
            found = f"no answer within {self._limit_s:.0f} s: a disk, share or server does not answer, or this machine is busy"
            findings.append(wrong(self._name, found, "run tagger doctor again when it is not, or check them"))
        return findings

    def _run(self, checks: Callable[[], Iterable[Finding]]) -> None:
        try:
            for finding in checks():
                self._findings.append(finding)
        except Exception as error:  # noqa: BLE001 - a check that fails must not hide the findings of others
            reason = str(error).strip().splitlines() or [type(error).__name__]
            remedy = "run tagger doctor again; if the error stays, report this line"
            self._findings.append(wrong(self._name, f"the check failed: {reason[0]}", remedy))
