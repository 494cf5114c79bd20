"""Bring what follows from verdicts and photos up to date from a command: tags of taught landmarks, positions, then counts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tagger.cli.output.console import ProgressLine
from tagger.cli.taught_landmarks import update_taught_landmarks

if TYPE_CHECKING:
    from tagger.cli.session import Session
    from tagger.library.catalog.landmarks import Landmark


def update_derived_facts(session: Session, landmark: Landmark | None = None) -> None:
    """Learn from new verdicts or photos, and locate the photos that are affected.

    `landmark`: the one that the verdicts are about, if it is one.
    """
    update_taught_landmarks(session, landmark)
    update_positions(session)


def update_positions(session: Session) -> None:
    """Bring the positions up to date, and the numbers of photos of landmarks."""
    from tagger.database.retry import DatabaseError
    from tagger.library.catalog.kept_counts import COUNT_S, count_changed_blocks
    from tagger.library.positions import update

    with ProgressLine("locating photos") as line:
        update.update_positions(
            session.database, lambda done, total: line.show("locating photos", done, total)
        )
    with suppress(DatabaseError):  # every reader counts what is left
        count_changed_blocks(session.database, COUNT_S)
