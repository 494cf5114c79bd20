"""What a check found, and running checks so that none of them can hang or end the others."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMIT_S = 20.0
"""What a group of checks may take; a dead network share would take minutes."""


class State(StrEnum):
    """`note`: worth knowing, nothing stands still for it; `wrong`: something does, or will."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One line: which check, how it stands, what was found, and what to type or do about it."""

    name: str
    state: State
    found: str
    remedy: str | None = None


def ok(name: str, found: str) -> Finding:
    return Finding(name, State.OK, found)


def note(name: str, found: str, remedy: str | None = None) -> Finding:
    return Finding(name, State.NOTE, found, remedy)


def wrong(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, State.WRONG, found, remedy)


class Running:
    """A group of checks at work in a thread of its own."""

    def __init__(self, name: str, checks: Callable[[], Iterable[Finding]]) -> None:
        self._name = name
        self._found: list[Finding] = []
        self._until = time.monotonic() + LIMIT_S
        self._thread = threading.Thread(target=self._run, args=(checks,), name=name, daemon=True)
        self._thread.start()

    def findings(self) -> list[Finding]:
        """What was found, at the latest LIMIT_S after the start; a group that hangs or fails says so itself."""
        self._thread.join(max(0.0, self._until - time.monotonic()))
        found = list(self._found)
        if self._thread.is_alive():
            remedy = "look for a disk, share or server that does not answer"
            found.append(wrong(self._name, f"no answer within {LIMIT_S:.0f} s", remedy))
        return found

    def _run(self, checks: Callable[[], Iterable[Finding]]) -> None:
        try:
            for finding in checks():
                self._found.append(finding)
        except Exception as error:  # noqa: BLE001 - a check that fails must not hide what the others find
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self._found.append(
                wrong(
                    self._name,
                    f"it could not be checked: {reason[0]}",
                    "ask again; if it stays, report this line",
                )
            )


def without(secrets: Iterable[str], finding: Finding) -> Finding:
    """The finding with passwords struck out, wherever a server or a driver put them."""
    for secret in secrets:
        finding = replace(
            finding,
            found=finding.found.replace(secret, "***"),
            remedy=finding.remedy and finding.remedy.replace(secret, "***"),
        )
    return finding
