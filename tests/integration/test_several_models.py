"""Several models in use: each writes its own tags, one read serves all, and use decides what counts."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text
from support.artifacts import LABELS, tiny_artifact
from support.colour_folders import EIFFEL, TaggedFolder
from support.databases import read_row, read_rows, statements
from support.models import record_inferences

from tagger.cli.commands.tag import print_predictions
from tagger.cli.program import Session
from tagger.database import VerdictKind
from tagger.database.connection import Database
from tagger.database.tables import contents, effective_tags, landmarks, models, tags
from tagger.errors import Conflict, ModelFileNotFound
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, submit
from tagger.ledger import job_control
from tagger.query.details import photo_details
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.registry import RegisteredModel, add_model, remove_model, resolve_models, use_models
from tagger.tags import causes, lock_contents, models_in_use, settlement
from tagger.tags.models_in_use import names_in_use
from tagger.tags.settlement import is_settled
from tagger.transfer import check_database
from tagger.verdicts import give_verdicts

PALACE = LABELS[2].slug


class Library(TaggedFolder):
    """The models `tiny`, and `other` that gives the palace to what is the Eiffel Tower for `tiny`."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder)
        tiny_artifact(folder / "other.pt", LABELS[2:3], name="other")
        self.other = add_model(database, folder / "other.pt")
        self.in_use = self.settings.model_copy(update={"model": None})

    def backfill(self) -> dict[str, str]:
        job, _ = submit(self.database, self.in_use, Backfill(BackfillScope.OUTDATED), local=True)
        self.run(job)
        return self.outcomes(job)

    def predictions(self) -> set[tuple[str, str]]:
        """The model and the landmark of each stored prediction of the first rank."""
        query = (
            select(models.c.name, landmarks.c.slug)
            .join(tags, tags.c.model_id == models.c.id)
            .join(landmarks, landmarks.c.id == tags.c.landmark_id)
            .where(tags.c.rank == 1)
        )
        return {(row.name, row.slug) for row in read_rows(self.database, query)}

    def states(self) -> Mapping[str, tuple[str, str | None]]:
        query = (
            select(landmarks.c.slug, effective_tags.c.state, models.c.name)
            .join(landmarks, landmarks.c.id == effective_tags.c.landmark_id)
            .outerjoin(models, models.c.id == effective_tags.c.model_id)
        )
        return {row.slug: (row.state, row.name) for row in read_rows(self.database, query)}


@pytest.fixture
def library(database, tmp_path) -> Iterator[Library]:
    yield Library(database, tmp_path)
    assert list(check_database(database)) == []


@pytest.mark.postgresql
def test_one_read_serves_all_models_and_each_keeps_its_tags(library, monkeypatch):
    library.draw("a.jpg", 0)
    use_models(library.database, ["tiny", "other"])
    sizes = record_inferences(monkeypatch)
    assert library.tag(others=[library.other]) == {"a.jpg": "tagged"}
    assert sizes == [1, 1]
    assert library.predictions() == {("tiny", EIFFEL), ("other", PALACE)}
    assert library.results == ["Classified"]
    assert library.tag(others=[library.other]) == {"a.jpg": "skipped"}


def test_a_backfill_brings_what_a_newly_used_model_lacks_and_only_that(library, monkeypatch):
    library.draw("a.jpg", 0)
    library.draw("b.jpg", 1)
    use_models(library.database, ["tiny", "other"])
    library.tag(library.folder / "a.jpg", top_k=5)
    library.tag(library.folder / "b.jpg", top_k=5, others=[library.other])
    sizes = record_inferences(monkeypatch)
    assert library.backfill() == {"a.jpg": "tagged"}
    assert sizes == [1]
    assert library.backfill() == {}


def test_tags_of_a_model_count_while_it_is_in_use_and_return_without_a_new_classification(library):
    library.draw("a.jpg", 0)
    use_models(library.database, ["tiny", "other"])
    library.tag(others=[library.other])
    both = library.states()
    assert both[EIFFEL] == ("accepted", "tiny")
    use_models(library.database, ["other"])
    assert EIFFEL not in library.states()
    assert ("tiny", EIFFEL) in library.predictions()
    (photo,) = find_tagged(library.database, PhotoQuery(any_rank=True))
    assert {tag.model for tag in photo.tags} == {"other"}
    use_models(library.database, ["tiny", "other"])
    assert library.states() == both
    assert library.backfill() == {}


def test_photos_keep_the_tags_of_a_model_until_one_in_use_classifies_them(library):
    library.draw("a.jpg", 0)
    use_models(library.database, ["tiny"])
    library.tag()
    settled: list[int] = []
    use_models(library.database, ["other"], lambda done, _total: settled.append(done))
    assert settled == [], "one model has classified the photo, so nothing changes"
    assert library.states() == {EIFFEL: ("accepted", "tiny")}
    library.backfill()
    assert EIFFEL not in library.states()


@pytest.mark.postgresql
def test_a_decision_that_has_begun_ends_while_a_model_is_removed(library):
    library.draw("a.jpg", 0)
    use_models(library.database, ["tiny"])
    library.tag(model=library.other)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor() as pool:
        with library.database.write() as connection:
            lock_contents(connection, connection.scalars(select(contents.c.id)).all())
            removed = pool.submit(remove_model, library.database, "other")
            while not library.database.is_sqlite and not connection.scalar(waiting):
                time.sleep(0.01)
        assert removed.result()["classified"] == 1


def with_third(library: Library, in_use: Sequence[str]) -> RegisteredModel:
    tiny_artifact(library.folder / "third.pt", LABELS[1:3], name="third")
    third = add_model(library.database, library.folder / "third.pt")
    use_models(library.database, in_use)
    return third


def test_an_image_goes_back_to_the_classification_before_that_of_a_removed_model(library):
    library.draw("a.jpg", 0)
    third = with_third(library, ["other", "tiny", "third"])
    last = select(contents.c.model_id, contents.c.classified_at)
    states = []
    for model in (library.other, library.model, third):
        library.tag(model=model)
        states.append(read_row(library.database, last))
    use_models(library.database, ["tiny"])
    for name, before in (("third", states[1]), ("other", states[1])):
        remove_model(library.database, name)
        assert read_row(library.database, last) == before


class Interrupted(Exception):
    """Raised instead of a commit."""


@pytest.mark.postgresql
def test_a_removal_works_in_pages_and_continues_after_an_interruption(library, monkeypatch):
    monkeypatch.setattr(causes, "PAGE", 2)
    monkeypatch.setattr(job_control, "PAGE", 3)
    third = with_third(library, ["tiny", "third"])
    for number in range(5):
        library.draw(f"{number}.jpg", number % 2, shade=number)
    library.tag(others=[third])
    library.draw("alone.jpg", 1, shade=9)
    library.tag(library.folder / "alone.jpg", model=third)
    use_models(library.database, ["tiny"])
    pages: list[tuple[int, int]] = []

    def interrupt(done: int, total: int) -> None:
        pages.append((done, total))
        if done == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        remove_model(library.database, "third", on_progress=interrupt)
    assert pages == [(2, 6), (4, 6)]
    assert list(check_database(library.database)) == []
    removed = remove_model(library.database, "third")
    assert (removed["classified"], removed["unclassified"]) == (2, 1)
    assert {name for name, _ in library.predictions()} == {"tiny"}
    assert list(check_database(library.database)) == []
    outcomes = library.tag()
    assert [name for name, outcome in outcomes.items() if outcome != "skipped"] == ["alone.jpg"]


@pytest.mark.postgresql
def test_a_removal_includes_what_a_job_stores_meanwhile_and_stops_while_one_runs(library, monkeypatch):
    monkeypatch.setattr(causes, "PAGE", 2)
    third = with_third(library, ["tiny"])
    for number in range(4):
        library.draw(f"{number}.jpg", number % 2, shade=number)
    library.tag(model=third)
    jobs: list[int] = []

    def record(done: int, _total: int) -> None:
        if done == 2:
            jobs.append(library.record(library.folder / "0.jpg", model=third, reprocess=True))

    with pytest.raises(Conflict, match="has not ended"):
        remove_model(library.database, "third", on_progress=record)
    assert list(check_database(library.database)) == []
    library.run(jobs[0])
    library.tag(model=third, reprocess=True)

    def tag(done: int, _total: int) -> None:
        if done == 2:
            library.tag(library.folder / "0.jpg", model=third, reprocess=True)

    remove_model(library.database, "third", on_progress=tag)
    assert library.predictions() == set()


def test_another_photo_of_the_same_name_gets_no_verdict_after_its_model_was_removed(library):
    library.draw("a.jpg", 0)
    use_models(library.database, ["other"])
    library.tag(model=library.other)
    give_verdicts(library.database, [library.folder / "a.jpg"], EIFFEL, VerdictKind.CONFIRMED, "ada", {})
    use_models(library.database, ["tiny"])
    remove_model(library.database, "other")
    library.draw("a.jpg", 1)
    library.tag()
    assert photo_details(library.database, library.folder / "a.jpg").verdicts == ()


def test_tags_of_the_shipped_model_count_until_that_of_a_newer_package_classifies_the_photo(
    database, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        models_in_use,
        "shipped_file",
        lambda kind="landmarks": tmp_path / {"landmarks": "tiny.pt"}.get(kind, "none"),
    )
    library = Library(database, tmp_path)
    library.draw("a.jpg", 0)
    use_models(database, ["tiny", "other"])
    library.tag(others=[library.other])
    before = library.states()
    tiny_artifact(tmp_path / "tiny.pt", seed=1)
    newer, other = resolve_models(database, None)
    assert (newer.shipped, newer.id == library.model.id, other.name) == (True, False, "other")
    assert list(check_database(database)) == []
    assert library.states() == before
    assert library.backfill().keys() == {"a.jpg"}
    assert EIFFEL not in library.states()
    assert list(check_database(database)) == []


def test_a_job_of_a_model_that_is_not_in_use_replaces_all_results(library):
    library.draw("a.jpg", 0)
    use_models(library.database, ["tiny"])
    library.tag()
    library.tag(model=library.other)
    assert library.predictions() == {("other", PALACE)}
    assert library.backfill() == {"a.jpg": "tagged"}
    assert library.states() == {EIFFEL: ("accepted", "tiny")}


def test_a_job_that_outlives_the_use_of_its_model_keeps_the_results_of_the_next_one(library):
    library.draw("a.jpg", 0)
    use_models(library.database, ["tiny"])
    job = library.record()
    use_models(library.database, ["other"])
    library.tag(model=library.other)
    library.run(job)
    assert library.predictions() == {("tiny", EIFFEL), ("other", PALACE)}
    assert EIFFEL not in library.states()
    assert library.backfill() == {}


def test_a_model_that_cannot_be_loaded_leaves_the_photos_to_the_others(library):
    library.draw("a.jpg", 0)
    use_models(library.database, ["other", "tiny"])
    library.other.file.rename(library.folder / "away.pt")
    assert [model.name for model in resolve_models(library.database, None)] == ["other", "tiny"]
    job = library.record(model=library.other, others=[library.model], top_k=5)
    library.run(job)
    assert library.outcomes(job) == {"a.jpg": "tagged"}
    assert library.predictions() == {("tiny", EIFFEL)}
    assert "other.pt is missing" in (library.progress(job).note or "")
    (library.folder / "away.pt").rename(library.other.file)
    assert library.backfill() == {"a.jpg": "tagged"}
    assert library.predictions() == {("tiny", EIFFEL), ("other", PALACE)}
    for model in (library.model, library.other):
        model.file.unlink()
    with pytest.raises(ModelFileNotFound):
        resolve_models(library.database, None)


def test_a_photo_that_is_not_stored_gets_the_names_of_all_models(library, capsys):
    file = library.draw("a.jpg", 0)
    use_models(library.database, ["other", "tiny"])
    session = Session(library.in_use, library.database)
    assert print_predictions([str(file)], session, json=True) == 0
    (document,) = json.loads(capsys.readouterr().out)
    best, second, *others = [(tag["landmark"], tag["model"], tag["accepted"]) for tag in document["tags"]]
    assert (best, second) == ((PALACE, "other", True), (EIFFEL, "tiny", False))
    assert PALACE not in {landmark for landmark, _, _ in others}


def test_unknown_photos_with_guesses_of_several_models_are_listed_once(library):
    for shade in range(3):
        library.draw(f"{shade}.jpg", None, shade=shade)
    use_models(library.database, ["tiny", "other"])
    library.tag(others=[library.other])
    query = PhotoQuery(unknown=True, sort="score")
    assert len(list(find_tagged(library.database, query))) == 3


@pytest.mark.postgresql
def test_images_are_settled_by_as_many_statements_as_there_are_models(library):
    for shade in range(5):
        library.draw(f"{shade}.jpg", 0, shade=shade)
    use_models(library.database, ["tiny", "other"])
    library.tag(others=[library.other])
    with statements(library.database, "UPDATE tags") as updates:
        use_models(library.database, ["other"])
    with statements(library.database, "DELETE FROM effective_tags") as deletes:
        use_models(library.database, ["tiny"])
    assert 0 < len(updates) <= 2 * len(LABELS)
    assert len(deletes) == 1
    assert not any(isinstance(parameters, list) for _, parameters in (*updates, *deletes))


def test_settling_that_was_interrupted_goes_on(library, monkeypatch):
    for shade in range(3):
        library.draw(f"{shade}.jpg", 0, shade=shade)
    use_models(library.database, ["tiny", "other"])
    library.tag(others=[library.other])
    monkeypatch.setattr(settlement, "PAGE", 1)

    def end(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use_models(library.database, ["other"], end)
    assert not is_settled(library.database)
    assert names_in_use(library.database) == ["other"]
    use_models(library.database, ["other"])
    assert is_settled(library.database)
    assert EIFFEL not in library.states()
