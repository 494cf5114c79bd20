"""`tagger landmark` as a person types it, and TAGGER_LANGUAGE, which chooses the names of landmarks."""

import csv
from pathlib import Path

import pytest
from support.artifacts import LABELS, tiny_artifact
from support.command_line import CommandRunner
from support.commands import draw
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database

EIFFEL, GATE = "eiffel-tower", "brandenburg-gate"


@pytest.fixture
def known(sqlite_database: Database, tmp_path: Path) -> StoredPhotos:
    known = StoredPhotos.with_tiny_model(sqlite_database, tmp_path)
    known.photo("berlin.jpg", (GATE, 0.9, True), digest=f"1-{1:064x}")
    known.photo("paris.jpg", (EIFFEL, 0.9, True), digest=f"1-{2:064x}")
    return known


def found(tagger: CommandRunner, *options: object) -> list[str]:
    return sorted(
        Path(line).name for line in tagger("query", *options, "--format", "paths").text.splitlines()
    )


def test_an_own_landmark_is_added_and_confirmed(tagger: CommandRunner, known: StoredPhotos) -> None:
    facts = ("--city", "Dresden", "--country", "Germany", "--at", "51.0519,13.7416", "--extent", "point")
    planned = tagger("landmark", "add", "Frauenkirche", *facts, "--alias", "Our Lady", "--dry-run", "--json")
    assert planned.json["dry_run"]
    output = tagger("landmark", "add", "Frauenkirche", *facts, "--alias", "Our Lady")
    assert (output.code, output.text) == (0, "Frauenkirche added as frauenkirche\n")
    assert tagger("confirm", "our lady", known.root / "paris.jpg").code == 0
    assert found(tagger, "--landmark", "frauenkirche") == ["paris.jpg"]
    assert found(tagger, "--near", "51,13.7") == ["paris.jpg"]
    listed = tagger("landmark", "list", "--country", "germany", "--json").json
    assert [(each["landmark"], each["photos"]) for each in listed] == [(GATE, 1), ("frauenkirche", 1)]


def test_a_landmark_is_changed_and_named_in_a_language(
    tagger: CommandRunner, known: StoredPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tagger("landmark", "edit", "Eiffel Tower", "--city", "", "--at", "1,2", "--alias", "La Dame")
    assert (output.code, output.err) == (0, "")
    assert output.text.splitlines() == [
        "eiffel-tower: aliases set to La Dame",
        "eiffel-tower: city set to nothing (was Paris)",
        "eiffel-tower: latitude set to 1.0 (was 48.8584)",
        "eiffel-tower: longitude set to 2.0 (was 2.2945)",
    ]
    assert tagger("landmark", "edit", EIFFEL, "--at", "1,2").text == "eiffel-tower is unchanged\n"
    name = ("landmark", "name", "la dame", "--lang", "sv")
    dry = tagger(*name, "Eiffeltornet", "--dry-run").text
    assert dry == "eiffel-tower: name in sv would be set to Eiffeltornet\n"
    named = tagger(*name, "Eiffeltornet", "--json").json
    assert named["edited"] == ["aliases", "city", "latitude", "longitude", "names"]
    assert named == named | {"changed": ["names"], "dry_run": False}
    assert named["names"]["sv"] == "Eiffeltornet"
    monkeypatch.setenv("TAGGER_LANGUAGE", "sv")
    assert "Eiffeltornet" in tagger("landmark", "list").text
    assert "sv" not in tagger(*name, "--remove", "--json").json["names"]
    assert (tagger(*name, "--remove").code, tagger(*name).code) == (1, 2)
    assert tagger("landmark", "edit", EIFFEL).code == 2
    assert tagger("landmark", "edit", "nowhere", "--city", "x").code == 1


def test_a_merged_landmark_is_found_by_its_old_names(tagger: CommandRunner, known: StoredPhotos) -> None:
    tagger("landmark", "add", "Old Gate")
    tagger("confirm", "old-gate", known.root / "paris.jpg")
    tagger("schedule", "add", "gates", "--cron", "0 3 * * *", "all", "--landmark", "old-gate")
    planned = tagger("landmark", "merge", "old-gate", "--into", GATE, "--dry-run", "--json").json
    assert (planned["verdicts"], planned["tags"], planned["dry_run"]) == (1, 0, True)
    output = tagger("landmark", "merge", "old-gate", "--into", GATE)
    assert output.text == "old-gate merged into brandenburg-gate, with 1 verdict and 0 tags\n"
    assert found(tagger, "--landmark", "Old Gate") == ["berlin.jpg", "paris.jpg"]
    assert tagger("backfill", "all", "--landmark", "old-gate", "--dry-run", "--json").json["total"] == 2
    assert tagger("schedule", "list").code == 0
    refused = tagger("landmark", "merge", GATE, "--into", EIFFEL)
    assert (refused.code, "tells them apart" in refused.err) == (1, True)
    assert tagger("db", "check").code == 0


def test_only_an_own_landmark_is_removed(tagger: CommandRunner, known: StoredPhotos) -> None:
    tagger("landmark", "add", "Old Gate")
    tagger("confirm", "old-gate", known.root / "paris.jpg")
    tagger("schedule", "add", "gates", "--cron", "0 3 * * *", "all", "--landmark", "old gate")
    refused = tagger("landmark", "remove", "old-gate")
    assert (refused.code, "has 1 verdict, which would be lost" in refused.err) == (1, True)
    planned = tagger("landmark", "remove", "old-gate", "--dry-run")
    assert planned.text == "old-gate would be removed, with 1 verdict\n"
    output = tagger("landmark", "remove", "old-gate", "--with-verdicts")
    assert output.text == "old-gate removed, with 1 verdict\n"
    assert "the schedule gates selects photos by this landmark" in output.err
    assert found(tagger) == ["berlin.jpg", "paris.jpg"]
    assert tagger("landmark", "remove", EIFFEL, "--with-verdicts").code == 1


@pytest.fixture
def german(tagger: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandRunner:
    """A library of two photos that names landmarks in German, of which the gate has no German name."""
    names = {"de": "Eiffelturm", "fr": "Tour Eiffel"}
    eiffel = LABELS[0].model_copy(update={"names": names, "aliases": ("La Dame de Fer",)})
    tiny_artifact(tmp_path / "tiny.pt", labels=(eiffel, *LABELS[1:]))
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "tiny.pt"))
    monkeypatch.setenv("TAGGER_LANGUAGE", "de-AT")
    draw(tmp_path / "photos" / "eiffel.jpg", 0)
    draw(tmp_path / "photos" / "gate.jpg", 1)
    return tagger


def test_every_command_shows_the_name_in_the_language(german: CommandRunner, tmp_path: Path) -> None:
    tagged = german("tag", "photos")
    assert "eiffel.jpg: Eiffelturm " in tagged.text
    assert "gate.jpg: Brandenburg Gate " in tagged.text
    photo = tmp_path / "photos" / "eiffel.jpg"
    assert "eiffel.jpg: Eiffelturm confirmed" in german("confirm", "eiffel tower", photo).text
    for command in (
        ("query", "--landmark", "Tour Eiffel"),
        ("landmark", "list", "--country", "france"),
        ("show", photo),
        ("predict", photo),
        ("review", "list"),
        ("model", "show"),
    ):
        output = german(*command)
        assert "Eiffelturm" in output.text, command
        assert "Eiffel Tower" not in output.text, command
    query = german("query", "--landmark", EIFFEL, "--format", "csv")
    assert [row["name"] for row in csv.DictReader(query.text.splitlines())] == ["Eiffelturm"]
    listed = german("landmark", "list", "--country", "france", "--json").json[0]
    assert (listed["landmark"], listed["name"]) == (EIFFEL, "Eiffelturm")
    assert {"Eiffel Tower", "Tour Eiffel", "La Dame de Fer"} <= set(listed["other_names"])
    assert german("show", photo, "--json").json["verdicts"][0]["name"] == "Eiffelturm"


def test_metadata_gets_the_names_of_the_language_that_the_job_was_made_with(
    german: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert german("tag", "photos", "--write", "sidecar").code == 0
    shown = german("metadata", "show", "photos/eiffel.jpg").text
    assert "XMP:dc:subject\t\tEiffelturm" in shown
    monkeypatch.delenv("TAGGER_LANGUAGE")
    planned = german("metadata", "write", "--to", "sidecar", "--dry-run").text
    assert "eiffel.jpg.xmp: - Eiffelturm, + Eiffel Tower\n" in planned
    assert "gate" not in planned
    german("metadata", "write", "--to", "sidecar")
    assert "Eiffelturm" not in Path("photos/eiffel.jpg.xmp").read_text()
