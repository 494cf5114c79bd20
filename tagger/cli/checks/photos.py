"""Checks of the photos: their roots are there, and what fails now."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from typing import TYPE_CHECKING

from tagger.cli.checks.findings import note, ok, wrong
from tagger.errors import FailureKind
from tagger.ledger.progress import Failing
from tagger.ledger.retrying import count_failing
from tagger.mounts import Mount, look_into
from tagger.roots import count_known, list_roots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tagger.cli.checks.findings import Finding
    from tagger.database import Database
    from tagger.mounts import Mount, look_into
from tagger.roots import Places, Root

ASKED_AT_ONCE = 16
ROOTS_SHOWN = 10
MAY_PASS = (
    *(FailureKind.GONE, FailureKind.UNREADABLE),
    *(FailureKind.TIMED_OUT, FailureKind.CRASHED, FailureKind.INTERNAL),
)
"""Kinds whose cause lies around the photo, and may be gone the next time."""


def check_roots(database: Database, places: Places) -> Iterator[Finding]:
    with database.read() as connection:
        roots = list_roots(connection, places)
    yield from _check_places(places, [root.name for root in roots])
    troubles = _troubles(database, roots)
    yield from troubles[:ROOTS_SHOWN]
    if len(troubles) > ROOTS_SHOWN:
        yield wrong(
            "roots", f"{len(troubles) - ROOTS_SHOWN} more are not as they should be", "tagger doctor --json"
        )
    if not troubles:
        yield ok(
            "roots", f"{', '.join(root.name for root in roots[:ROOTS_SHOWN])}: there" if roots else "none yet"
        )


def check_failing(database: Database) -> Iterator[Finding]:
    counts = count_failing(database, Failing())
    if not counts:
        yield ok("failing photos", "none")
        return
    passing = {kind: count for kind, count in counts.items() if kind in MAY_PASS}
    lasting = {kind: count for kind, count in counts.items() if kind not in MAY_PASS}
    if passing:
        kinds = " ".join(f"--kind {kind}" for kind in passing)
        yield note(
            "failing photos", f"{_listed(passing)}; the cause may have passed", f"tagger retry {kinds}"
        )
    if lasting:
        yield note(
            "failing photos", f"{_listed(lasting)}; as long as the files stay as they are", "tagger failures"
        )


def _check_places(places: Places, names: Sequence[str]) -> Iterator[Finding]:
    for name in places:
        if names and name not in names:
            close = get_close_matches(name, names, n=1)
            found = f"TAGGER_ROOTS names {name}, which is no root; they are {', '.join(names[:ROOTS_SHOWN])}"
            yield note("roots", found, f"name it {close[0]}" if close else "take it out of TAGGER_ROOTS")


def _troubles(database: Database, roots: Sequence[Root]) -> list[Finding]:
    """What is wrong with each root; many are asked at once, as a dead share lets one wait."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        mounts = list(pool.map(look_into, (root.folder for root in roots)))
    judged = (_judge(database, root, mount) for root, mount in zip(roots, mounts, strict=True))
    return [finding for finding in judged if finding is not None]


def _judge(database: Database, root: Root, mount: Mount) -> Finding | None:
    if mount is Mount.FILLED:
        return None
    if mount is Mount.SILENT:
        found = f"{root.folder} does not answer; the share it is on seems to be dead"
        return wrong("roots", found, f"umount -l {root.folder}, and mount it again")
    if root.folder.exists() and not os.access(root.folder, os.R_OK | os.X_OK):
        return wrong("roots", f"this user may not read {root.folder}", f"sudo chmod -R a+rX {root.folder}")
    return _judge_away(database, root)


def _judge_away(database: Database, root: Root) -> Finding | None:
    """A folder without photos that are known may be as empty as it likes."""
    with database.read() as connection:
        known = count_known(connection, root)
    if not known:
        return None
    found = f"{root.folder} is missing or empty, though {known} photos are known in it"
    elsewhere = f'TAGGER_ROOTS=\'{{"{root.name}": "/where/it/is"}}\''
    return wrong(
        "roots", found, f"mount it; or {elsewhere}; or, if it was deleted: tagger forget {root.folder}"
    )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
