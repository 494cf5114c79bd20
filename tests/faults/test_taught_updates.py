"""The database goes away while the server of the page learns from verdicts, and comes back."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from rig.servers import PostgresServer
from sqlalchemy import func, select
from support.colour_folders import TaggedFolder
from support.teaching import draw_place, teachable_artifact

from tagger.database.connection import open_database
from tagger.database.tables import taught_tags
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
from tagger.library.verdicts import VerdictKind, give_verdict
from tagger.web import state as server_state
from tagger.web.state import TaughtUpdates

PHOTOS = 4


@pytest.mark.slow
def test_verdicts_are_learned_once_the_database_is_back(
    postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(server_state, "RETRY_S", 0.2)
    with closing(open_database(postgres.url)) as database:
        library = TaggedFolder(database, tmp_path, teachable_artifact)
        photos = [draw_place(library.folder / f"{seed}.jpg", 0, seed=seed) for seed in range(PHOTOS)]
        library.tag()
        with database.write() as connection:
            church = add_landmark(connection, NewLandmark("Our church"))
        for photo in photos[:2]:
            give_verdict(database, photo, church.slug, VerdictKind.CONFIRMED, "tester", {})
        updates = TaughtUpdates(database, lambda: library.model, threading.Event())
        postgres.kill()
        with caplog.at_level(logging.ERROR):
            updates.request()
            wait_until(lambda: "taught landmarks were not updated" in caplog.text)
        assert "the database failed (OperationalError)" in caplog.text
        assert "SELECT" not in caplog.text
        postgres.start()

        def tagged() -> int:
            with database.read() as connection:
                return connection.scalar(select(func.count()).where(taught_tags.c.accepted)) or 0

        wait_until(lambda: tagged() == PHOTOS)
        updates.close()


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "the condition did not hold within 60 s"
        time.sleep(0.05)
