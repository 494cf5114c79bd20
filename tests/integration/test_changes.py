"""Changes of what decides about images are settled at once, and decisions of people are announced."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from support.library_photos import EIFFEL
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.tables import effective_tags
from tagger.landmarks.edits import merge_landmark
from tagger.tags.causes import delete_model_results, delete_verdicts
from tagger.tags.settlement import unsettled
from tagger.verdicts.verdicts import (
    dismiss_photos,
    give_examples,
    give_verdicts,
    restore_photos,
    star_photos,
    withdraw_verdicts,
)

GATE = "brandenburg-gate"


@pytest.fixture
def library(database: Database, tmp_path: Path) -> StoredPhotos:
    library = StoredPhotos.with_tiny_model(database, tmp_path)
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    return library


@pytest.mark.postgresql
def test_a_change_is_settled_in_its_transaction(library: StoredPhotos) -> None:
    database = library.database
    with database.write() as connection:
        delete_verdicts(connection, [1], library.landmark_ids[EIFFEL], VerdictKind.CONFIRMED)
        assert connection.scalar(select(effective_tags.c.accepted))
        assert delete_model_results(connection, library.model.id, after=0) == [1]
        assert connection.execute(select(effective_tags)).all() == []
        assert list(unsettled(connection)) == []
    with database.rehearsal() as rehearsed:
        dismiss_photos(rehearsed, [1], "ada")
        with rehearsed.read() as connection:
            assert list(unsettled(connection)) == []


def test_whoever_opened_the_database_hears_of_each_decision_of_people(library: StoredPhotos) -> None:
    database, heard = library.database, list[str]()
    database.after_decisions = lambda: heard.append("decisions")
    change = [1], GATE, VerdictKind.CONFIRMED
    give_verdicts(database, *change, "ada", {}, dry_run=True)
    star_photos(database, [1], "ada", starred=True)
    library.photo("b.jpg", (EIFFEL, 0.9, True))
    assert heard == []
    decisions: tuple[Callable[[], object], ...] = (
        lambda: give_verdicts(database, *change, "ada", {}),
        lambda: withdraw_verdicts(database.acting_as(database.actor), *change, {}),
        lambda: give_examples(database, GATE, [1], [2], "ada"),
        lambda: dismiss_photos(database, [2], "ada"),
        lambda: restore_photos(database, [2]),
    )
    for number, decide in enumerate(decisions, start=1):
        decide()
        assert len(heard) == number
    library.landmark("gate", "Gate")
    merge_landmark(database, "gate", GATE)
    assert len(heard) == len(decisions) + 1
