"""What happens on PostgreSQL between the moments at which verdicts are read and a classifier is stored."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, insert, select, text, update
from support.colour_folders import TaggedFolder
from support.teaching import DIMENSION, draw_place, teachable_artifact
from support.threads import wait_until

from tagger.database import tables
from tagger.database.connection import Database, open_database
from tagger.database.enums import VerdictKind
from tagger.database.tables import classifiers, taught_tags
from tagger.landmarks.edits import NewLandmark, add_landmark, merge_landmark, remove_landmark
from tagger.landmarks.landmarks import Landmark
from tagger.tags.contents import lock_contents
from tagger.teaching import similarity
from tagger.teaching.classifiers import embedding_bytes
from tagger.teaching.comparison import TaughtCache, compare_batch
from tagger.teaching.learning import learn_landmarks, update_taught
from tagger.teaching.similarity import update_sketches
from tagger.verdicts.verdicts import give_verdicts, withdraw_verdicts


class Library(TaggedFolder):
    """Four photos of a church, which is confirmed on two of them."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder, teachable_artifact)
        self.photos = [draw_place(self.folder / f"{seed}.jpg", 0, seed=seed) for seed in range(4)]
        self.tag()
        self.church = self.landmark("Our church")
        for photo in self.photos[:2]:
            self.confirm(photo)

    def landmark(self, name: str) -> Landmark:
        return add_landmark(self.database, NewLandmark(name))

    def confirm(self, photo: Path) -> None:
        give_verdicts(self.database, [photo], self.church.slug, VerdictKind.CONFIRMED, None, {})

    @contextmanager
    def waiting_learner(self) -> Iterator[None]:
        """Somebody has read the verdicts, and waits for a worker before storing what was learned."""
        learner = threading.Thread(target=learn_landmarks, args=(self.database, self.model))
        with self.database.write() as connection:
            TaughtCache(self.model.id).current(connection)
            learner.start()
            wait_until(self.waiting)
            yield
        learner.join()

    def waiting(self) -> int:
        with self.database.read() as connection:
            return connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")) or 0

    def learned(self) -> list[tuple[int, int]]:
        """The landmark and the number of examples of each classifier."""
        with self.database.read() as connection:
            rows = connection.execute(select(classifiers.c.landmark_id, classifiers.c.examples))
            return [(row.landmark_id, row.examples) for row in rows]


@pytest.fixture
def library(postgres_url: str, tmp_path: Path) -> Iterator[Library]:
    with closing(open_database(postgres_url)) as database:
        yield Library(database, tmp_path)


def test_a_verdict_that_is_given_meanwhile_is_learned(library: Library) -> None:
    with library.waiting_learner():
        library.confirm(library.photos[2])
    assert library.learned() == [(library.church.id, 3)]


@pytest.mark.parametrize("action", ["merge", pytest.param("remove", marks=pytest.mark.slow)])
def test_a_landmark_that_goes_meanwhile_is_not_learned(library: Library, action: str) -> None:
    bridge = library.landmark("Old bridge")

    def change() -> None:
        if action == "merge":
            merge_landmark(library.database, library.church.slug, bridge.slug)
        else:
            remove_landmark(library.database, library.church.slug, with_verdicts=True)

    changer = threading.Thread(target=change)
    with library.waiting_learner():
        changer.start()
        time.sleep(0.2)
    changer.join()
    learn_landmarks(library.database, library.model)
    assert library.learned() == ([(bridge.id, 2)] if action == "merge" else [])


def test_what_is_taught_is_forgotten_while_positions_are_weighed(library: Library) -> None:
    update_taught(library.database, library.model)
    for photo in library.photos[:2]:
        withdraw_verdicts(library.database, [photo], library.church.slug, VerdictKind.CONFIRMED, {})
    learner = threading.Thread(target=learn_landmarks, args=(library.database, library.model))
    with library.database.write() as connection:
        lock_contents(connection, connection.scalars(select(taught_tags.c.content_id)).all())
        learner.start()
        wait_until(library.waiting)
        assert connection.execute(update(taught_tags).values(distance_m=1.0)).rowcount == 4
    learner.join()
    assert library.count(taught_tags) == 0


def test_sketches_wait_for_embeddings_that_are_being_stored(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "MOST_MISSING", 0)
    with library.database.write() as connection:
        connection.execute(delete(tables.embeddings).where(tables.embeddings.c.content_id == 1))
    storing = threading.Thread(target=update_sketches, args=(library.database, [library.model]))
    with library.database.write() as connection:
        taught = TaughtCache(library.model.id)
        found = {1: np.ones(DIMENSION, np.float32)}
        ((content_id, version, data),) = compare_batch(connection, taught, found).embeddings
        storing.start()
        wait_until(library.waiting)
        row = {"content_id": content_id, "model_id": 1, "taught_version": version, "data": data}
        connection.execute(insert(tables.embeddings).values(row))
    storing.join()
    with library.database.read() as connection:
        stored = connection.scalar(select(tables.sketches.c.data)) or b""
    assert len(stored) == 4 * (2 + embedding_bytes(similarity.DIMENSIONS))
