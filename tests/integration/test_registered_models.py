"""Registering models, putting them in use, and missing or changed files; on both databases."""

import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from support.artifacts import LABELS, tiny_artifact
from support.databases import execute, read_row, read_rows, read_scalar
from support.threads import in_threads

from tagger.database.connection import Database, open_database
from tagger.database.tables import landmarks, model_labels, models
from tagger.errors import AlreadyExists, ModelChanged, ModelFileNotFound, ModelNotSelected, ModelRefused
from tagger.geo import regional_slug
from tagger.model.artifact import Label
from tagger.registry import (
    RegisteredModel,
    add_model,
    list_models,
    model_by_id,
    models_to_try,
    preview_models,
    resolve_models,
    use_models,
    verify_model,
)
from tagger.registry.registration import landmark_ids_of_labels
from tagger.tags import models_in_use


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch) -> Path:
    """The path of the shipped model. A test may create the file."""
    file = tmp_path / "package" / "landmarks.pt"
    file.parent.mkdir()
    monkeypatch.setattr(models_in_use, "shipped_file", lambda kind="landmarks": file.with_name(f"{kind}.pt"))
    return file


def resolve_model(database: Database, selector: str | None) -> RegisteredModel:
    return resolve_models(database, selector)[0]


def test_a_file_is_registered_once_and_not_put_in_use(database, shipped, tmp_path):
    manifest = tiny_artifact(tmp_path / "a.pt")
    first = resolve_model(database, str(tmp_path / "a.pt"))
    second = resolve_model(database, str(tmp_path / "a.pt"))
    assert first == second == resolve_model(database, "tiny") == model_by_id(database, first.id)
    assert (first.name, first.file, first.manifest) == ("tiny", tmp_path / "a.pt", manifest)
    assert (first.in_use, first.shipped) == (False, False)
    with pytest.raises(ModelNotSelected):
        resolve_model(database, None)


def test_labels_and_names_come_from_the_manifest_or_the_digest(database, tmp_path):
    tiny_artifact(tmp_path / "a.pt")
    model = add_model(database, tmp_path / "a.pt")
    labels = (
        select(model_labels.c.position, model_labels.c.label, landmarks.c.slug, landmarks.c.country)
        .join(landmarks, landmarks.c.id == model_labels.c.landmark_id)
        .where(model_labels.c.model_id == model.id)
    )
    expected = [(i, label.label, label.slug, label.country) for i, label in enumerate(LABELS)]
    assert read_rows(database, labels.order_by(model_labels.c.position)) == expected
    tiny_artifact(tmp_path / "b.pt", seed=1)
    first, second = add_model(database, tmp_path / "a.pt"), add_model(database, tmp_path / "b.pt")
    assert (first.name, second.name) == ("tiny", f"tiny-{second.digest[:8]}")
    with pytest.raises(AlreadyExists):
        add_model(database, tmp_path / "b.pt", "tiny")
    assert add_model(database, tmp_path / "b.pt", "better").id == second.id
    assert resolve_model(database, "better").id == second.id


def test_the_shipped_model_is_registered_on_first_use_and_replaced_by_an_upgrade(database, shipped):
    tiny_artifact(shipped)
    assert [model.name for model in list_models(database)] == ["tiny"]
    model = resolve_model(database, None)
    assert (model.file, model.in_use, model.shipped) == (shipped, True, True)
    assert read_scalar(database, select(models.c.file)) is None
    old = resolve_model(database, None)
    tiny_artifact(shipped, seed=1)
    new = resolve_model(database, None)
    assert new.digest != old.digest
    assert new.name == f"tiny-{new.digest[:8]}"
    assert not model_by_id(database, old.id).in_use
    verify_model(new)
    with pytest.raises(ModelFileNotFound, match="came with an earlier version"):
        verify_model(model_by_id(database, old.id))
    # The name is that of the model which the package ships.
    assert preview_models(database, "tiny")[0].id == resolve_model(database, "tiny").id == new.id


def test_registering_a_copy_restores_a_missing_model(database, shipped, tmp_path):
    tiny_artifact(shipped)
    old = resolve_model(database, None)
    (tmp_path / "copy.pt").write_bytes(shipped.read_bytes())
    tiny_artifact(shipped, seed=1)
    restored = add_model(database, tmp_path / "copy.pt")
    assert (restored.id, restored.file, restored.shipped) == (old.id, tmp_path / "copy.pt", False)
    verify_model(restored)


def test_a_model_stays_in_use_after_upgrades_until_the_shipped_one_is_used(database, shipped, tmp_path):
    tiny_artifact(shipped)
    tiny_artifact(tmp_path / "mine.pt", seed=5, name="mine")
    add_model(database, tmp_path / "mine.pt")
    assert use_models(database, ["mine"])[0].in_use
    tiny_artifact(shipped, seed=1)
    assert resolve_model(database, None).name == "mine"
    assert [model.name for model in list_models(database) if model.in_use] == ["mine"]
    assert use_models(database, ["tiny"])[0].in_use
    tiny_artifact(shipped, seed=2)
    assert resolve_model(database, None).shipped


def test_a_new_library_finds_things_until_landmarks_alone_are_used_and_an_old_one_does_not(database, shipped):
    tiny_artifact(shipped)
    tiny_artifact(shipped.with_name("things.pt"), name="objects", kind="things")

    def used() -> list[str]:
        listed = [model.name for model in list_models(database) if model.in_use]
        assert listed == models_in_use.names_in_use(database)
        assert [model.name for model in resolve_models(database, None)] == listed
        return listed

    assert used() == used() == ["tiny", "objects"]
    use_models(database, ["tiny"])
    assert used() == ["tiny"]
    execute(database, update(models).values(in_use=False, use_order=None))  # as 2.1 left it
    assert used() == ["tiny"]
    with database.read() as connection:
        assert "tagger model use tiny objects" in models_in_use.things_off_text(connection)


def test_models_for_single_photos_are_those_of_jobs_and_nothing_is_registered(database, shipped, tmp_path):
    def tried(selector: str | None = None) -> list[str]:
        before = read_scalar(database, select(func.count()).select_from(models))
        found = [model.digest for model in models_to_try(database, selector)]
        assert read_scalar(database, select(func.count()).select_from(models)) == before
        return found

    def resolved(selector: str | None = None) -> list[str]:
        return [model.digest for model in resolve_models(database, selector)]

    def listed() -> list[str]:
        in_use = [model for model in list_models(database) if model.in_use]
        return [model.digest for model in sorted(in_use, key=lambda model: model.use_order or 0)]

    tiny_artifact(shipped)
    assert listed() == tried() == tried("tiny") == resolved()
    tiny_artifact(tmp_path / "mine.pt", seed=5, name="mine")
    assert tried(str(tmp_path / "mine.pt")) == resolved(str(tmp_path / "mine.pt"))
    use_models(database, ["mine", "tiny"])
    assert tried() == resolved()
    tiny_artifact(shipped, seed=1)  # an upgrade of the package
    assert listed() == tried() == resolved()
    shipped.unlink()
    assert tried() == [add_model(database, tmp_path / "mine.pt").digest]
    (tmp_path / "mine.pt").unlink()
    with pytest.raises(ModelFileNotFound):
        tried()


def test_a_changed_or_missing_file_is_refused(database, tmp_path):
    file = tmp_path / "a.pt"
    tiny_artifact(file)
    add_model(database, file)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(ModelChanged, match="digest differs"):
        resolve_model(database, "tiny")
    file.unlink()
    with pytest.raises(ModelFileNotFound, match="missing"):
        use_models(database, ["tiny"])


def test_a_moved_file_is_registered_at_its_new_path(database, tmp_path):
    file = tmp_path / "a.pt"
    tiny_artifact(file)
    first = add_model(database, file)
    moved = file.rename(tmp_path / "moved.pt")
    assert resolve_model(database, str(moved)).id == first.id
    assert resolve_model(database, "tiny").file == moved


def test_what_is_no_model_that_a_database_can_store_is_refused(database, tmp_path):
    (tmp_path / "text.pt").write_text("not a model")
    for file in (tmp_path / "text.pt", tmp_path / "missing.pt", tmp_path):
        with pytest.raises(ModelRefused):
            add_model(database, file)
    assert list_models(database) == []
    tiny_artifact(tmp_path / "zero.pt", [Label(label="a\0b", slug="a", name="A")])
    with pytest.raises(ModelRefused, match="no database can store"):
        add_model(database, tmp_path / "zero.pt")


def test_the_newest_models_facts_win_and_an_older_one_fills_gaps(database, tmp_path):
    def registered(file: str, year: int, **facts: object) -> None:
        label = Label(label="0", slug="tower", **{"name": "Tower", **facts})
        created_at = datetime(year, 1, 1, tzinfo=UTC)
        tiny_artifact(tmp_path / file, [label], name=file, created_at=created_at)
        add_model(database, tmp_path / file)

    registered("middle.pt", 2025, name="A Tower", country="France", latitude=1.0, longitude=2.0)
    registered("new.pt", 2026, name="The Tower", latitude=3.0, names={"fr": "La Tour"}, aliases=("Spire",))
    older = {"fr": "Tour", "de": "Turm"}
    registered("old.pt", 2020, name="Old Tower", city="Paris", names=older, latitude=8.0, longitude=9.0)
    registered("oldest.pt", 2019, name="Tower", country="Gaul", aliases=("Belfry", "Spire"))
    registered("folders.pt", 2027, name="tower")  # trained on a folder without names
    row = read_row(database, select(landmarks))
    assert (row.name, row.country, row.city) == ("The Tower", "France", "Paris")
    assert (row.latitude, row.longitude) == (1.0, 2.0)
    assert row.names == {"fr": "La Tour", "de": "Turm"}
    assert row.aliases == ["Spire", "Belfry"]


TOWER = Label(label="0", slug="tower", name="Tower", aliases=("La Torre",), latitude=48.86, longitude=2.29)


def regional(name: str, region: str, number: int = 0) -> Label:
    return Label(label=f"{region}:{number}", slug=regional_slug(name, region), name=name)


@pytest.mark.parametrize(
    ("labels", "shared"),
    [
        ([regional("tower", "europe")], ["tower-europe"]),
        ([regional("La Torre", "europe")], ["la-torre-europe"]),
        ([regional("Tower", "north-america")], []),
        ([regional("Tower", "europe"), regional("Tower", "north-america")], ["tower-europe"]),
        ([regional("Tower", "europe"), regional("La Torre", "europe", 1)], []),
        ([regional("Tower 2", "europe")], []),
        ([regional("Tower", "europe", 1), TOWER], []),
    ],
)
def test_a_label_without_position_is_the_landmark_of_its_name_in_its_part_of_the_world(
    database, tmp_path, labels, shared
):
    tiny_artifact(tmp_path / "placed.pt", [TOWER], name="placed")
    tiny_artifact(tmp_path / "names.pt", labels, name="names")
    placed, names = (add_model(database, tmp_path / f"{each}.pt") for each in ("placed", "names"))
    with database.read() as connection:
        (tower,) = landmark_ids_of_labels(connection, placed.id, [0]).values()
        row = connection.execute(select(landmarks).where(landmarks.c.id == tower)).one()
        ids = landmark_ids_of_labels(connection, names.id, range(len(labels)))
    found = [ids[position] for position in range(len(labels))]
    facts = (row.slug, row.name, row.latitude, row.aliases, row.merged_slugs)
    assert facts == ("tower", "Tower", 48.86, ["La Torre"], shared)
    united = [label.slug for label, each in zip(labels, found, strict=True) if each == tower]
    assert united == (["tower"] if TOWER in labels else shared)
    assert len(set(found)) == len(labels)


def test_a_later_model_gives_a_landmark_of_a_part_of_the_world_its_position(database, tmp_path):
    tiny_artifact(
        tmp_path / "names.pt", [regional("Tower", "europe"), regional("Tower", "asia")], name="names"
    )
    tiny_artifact(tmp_path / "placed.pt", [TOWER], name="placed", created_at=datetime(2026, 2, 1, tzinfo=UTC))
    add_model(database, tmp_path / "names.pt")
    for _ in range(2):
        add_model(database, tmp_path / "placed.pt")
    rows = read_rows(database, select(landmarks).order_by(landmarks.c.slug))
    assert [(row.slug, row.latitude, row.merged_slugs) for row in rows] == [
        ("tower-asia", None, []),
        ("tower-europe", 48.86, ["tower"]),
    ]


@pytest.mark.postgresql
def test_concurrent_registrations_create_one_model(database, database_url, tmp_path):
    tiny_artifact(tmp_path / "a.pt")
    ready = threading.Barrier(4)
    registered: list[int] = []

    def register() -> None:
        with closing(open_database(database_url)) as own:
            ready.wait(30)
            registered.append(add_model(own, tmp_path / "a.pt").id)

    in_threads([register] * 4)
    assert len(registered) == 4
    assert len(set(registered)) == 1
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(models)) == 1
        assert connection.scalar(select(func.count()).select_from(landmarks)) == len(LABELS)
