"""What photos taken near a sight have in common: it is learned and asked once, and the answer finds others."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select
from support.databases import read_rows
from support.position_library import PositionLibrary
from support.teaching import DIMENSION, teachable_artifact

from tagger.database.tables import (
    audit_log,
    effective_tags,
    embeddings,
    landmarks,
    look_photos,
    looks,
    photos,
)
from tagger.errors import QuestionNotFound
from tagger.registry import add_model
from tagger.teaching.classifiers import quantize
from tagger.teaching.learning import update_taught
from tagger.teaching.looks import update_looks
from tagger.teaching.questions import answer_question, open_questions, withdraw_answer

COLOSSEUM, EIFFEL_TOWER, FAR = (41.8903, 12.4922), (48.8583, 2.2945), (51.5, 0.1)
DAY = 24 * 60


class Looks(PositionLibrary):
    """Photos of subjects. Two of one subject are as alike as two photos of a building."""

    def take(self, subject: int, minutes: float, **columns: Any) -> int:
        photo_id = self.shot(minutes, **columns)
        pattern = np.random.default_rng(1000 + subject).uniform(0.1, 0.9, DIMENSION)
        noise = np.random.default_rng((subject, photo_id)).normal(0, 0.25, DIMENSION)
        values = np.sqrt(np.clip(pattern + noise, 0, 1)).astype(np.float32)
        with self.database.write() as connection:
            content_id = connection.scalar(select(photos.c.content_id).where(photos.c.id == photo_id))
            row = {"content_id": content_id, "model_id": self.model.id, "taught_version": 0}
            connection.execute(insert(embeddings).values(row | {"data": quantize(values[np.newaxis])[0]}))
        return photo_id

    def take_scans(self) -> None:
        """Three photos of the sight without a position, and three of other subjects."""
        for number in range(3):
            self.take(1, 100 * DAY + number, camera=2)
            self.take(300 + number, 100 * DAY + number, camera=2)

    def learn(self) -> None:
        self.update()
        update_looks(self.database, self.model, lambda *_: None)


@pytest.fixture
def library(database, tmp_path) -> Looks:
    """Five photos of a sight near it and three without a position, among photos of other subjects."""
    teachable_artifact(tmp_path / "teachable.pt")
    library = Looks(database, tmp_path / "photos", add_model(database, tmp_path / "teachable.pt"))
    library.camera()
    library.camera("Scanner")
    for number in range(40):
        library.take(100 + number, number * DAY, gps=(FAR[0] + number / 100, FAR[1]))
    for number in range(5):
        library.take(1, 50 * DAY + 60 * number, gps=COLOSSEUM)
        library.take(200 + number, 50 * DAY + 60 * number + 30, gps=COLOSSEUM)
    return library


def _found(library: Looks) -> tuple[int, int, int]:
    rows = read_rows(library.database, select(looks.c.scenes, looks.c.photos, looks.c.likely))
    (row,) = rows
    return tuple(row)


@pytest.mark.postgresql
def test_a_look_is_what_near_photos_have_in_common_and_finds_new_photos(library):
    library.take_scans()
    library.learn()
    assert _found(library) == (10, 5, 3)
    library.take(1, 100 * DAY + 9, camera=2)
    library.learn()
    assert _found(library) == (10, 5, 4)
    with library.database.read() as connection:
        assert connection.scalars(select(effective_tags.c.content_id)).all() == []
        assert len(connection.execute(select(look_photos)).all()) == 9


@pytest.mark.postgresql
def test_an_answer_teaches_the_sight_and_is_taken_back(library):
    library.take_scans()
    library.learn()
    (question,) = open_questions(library.database, {})
    assert (question.place, len(question.taken_here), len(question.similar)) == ("Colosseum", 5, 3)
    assert question.choices[0].names["de"] == "Kolosseum"
    struck = question.taken_here[0].id
    facts = question.number, "kolosseum", [struck], "ada", {}
    answer = answer_question(library.database, library.model, *facts)
    assert (answer.taught.examples, answer.taught.rejected, answer.taught.tagged) == (4, 1, 3)
    with library.database.read() as connection:
        row = connection.execute(select(landmarks).where(landmarks.c.slug == answer.landmark)).one()
        assert (row.city, row.names["de"], round(row.latitude, 2)) == ("Rome", "Kolosseum", 41.89)
    assert open_questions(library.database, {}) == []
    with pytest.raises(QuestionNotFound):
        answer_question(library.database, library.model, *facts)

    withdraw_answer(library.database, question.number, {})
    update_taught(library.database, library.model)
    library.learn()
    assert open_questions(library.database, {}) == [question]
    with library.database.read() as connection:
        assert connection.scalars(select(effective_tags.c.content_id)).all() == []
        assert connection.scalar(select(landmarks.c.id).where(landmarks.c.slug == answer.landmark)) is None
        actions = connection.scalars(select(audit_log.c.action)).all()
    assert {"question-answer", "question-withdraw", "verdicts-withdraw", "landmark-remove"} <= set(actions)


def test_a_refused_question_comes_back_with_twice_as_many_scenes(library):
    library.take_scans()
    library.learn()
    (question,) = open_questions(library.database, {})
    answer_question(library.database, library.model, question.number, None, (), "ada", {})
    library.take(1, 60 * DAY, gps=COLOSSEUM)
    library.learn()
    assert open_questions(library.database, {}) == []
    for number in range(12):
        library.take(1, 70 * DAY + 60 * number, gps=COLOSSEUM)
    library.learn()
    assert len(open_questions(library.database, {})) == 1


def test_nobody_is_asked_about_home_or_what_has_a_name(library):
    library.take_scans()
    for number in range(4):
        library.take(2, 90 * DAY + 60 * number, gps=EIFFEL_TOWER)
        library.take(2, 95 * DAY + 60 * number, camera=2)
    for number in range(13):
        library.take(400 + number, 200 * DAY + number * DAY, gps=COLOSSEUM)
    library.learn()
    assert open_questions(library.database, {}) == []


@pytest.mark.postgresql
def test_where_a_taught_place_is_a_lower_score_makes_a_tag_or_a_suggestion(library):
    library.taught_place("church", (50.0, 7.0))
    near = library.shot(300 * DAY, gps=(50.001, 7.0))
    between = library.shot(300 * DAY + 1)
    library.shot(300 * DAY + 2, gps=(50.001, 7.0))
    away = library.shot(310 * DAY, gps=(50.3, 7.0))
    scan = library.shot(None, camera=2)
    for photo_id in (near, between, away, scan):
        library.taught(photo_id, "church", 0.15)
    library.update()
    with library.database.read() as connection:
        rows = connection.execute(
            select(photos.c.id, effective_tags.c.state).join(
                effective_tags, effective_tags.c.content_id == photos.c.content_id
            )
        )
        assert dict(rows.all()) == {near: "accepted", between: "suggested"}
