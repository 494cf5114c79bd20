"""Commands on landmarks and verdicts."""

import csv
import json
from pathlib import Path

import pytest
from support.artifacts import LABELS, tiny_artifact
from support.command_line import CommandRunner
from support.commands import draw
from support.stored_photos import StoredPhotos

EIFFEL, GATE = "eiffel-tower", "brandenburg-gate"


@pytest.fixture
def known(sqlite_database, tmp_path) -> StoredPhotos:
    known = StoredPhotos.with_tiny_model(sqlite_database, tmp_path)
    known.photo("berlin.jpg", (GATE, 0.9, True), digest=f"1-{1:064x}")
    known.photo("paris.jpg", (EIFFEL, 0.9, True), digest=f"1-{2:064x}")
    return known


def found(tagger: CommandRunner, *options: object) -> list[str]:
    return sorted(
        Path(line).name for line in tagger("query", *options, "--format", "paths").text.splitlines()
    )


def test_an_own_landmark_is_added_confirmed_and_only_such_a_one_removed(tagger, known):
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
    tagger("landmark", "add", "Old Gate")
    tagger("confirm", "old-gate", known.root / "paris.jpg")
    tagger("schedule", "add", "gates", "--cron", "0 3 * * *", "all", "--landmark", "old gate")
    assert "has 1 verdict, which would be lost" in tagger("landmark", "remove", "old-gate", code=1).err
    planned = tagger("landmark", "remove", "old-gate", "--dry-run")
    assert planned.text == "old-gate would be removed, with 1 verdict\n"
    output = tagger("landmark", "remove", "old-gate", "--with-verdicts")
    assert output.text == "old-gate removed, with 1 verdict\n"
    assert "the schedule gates selects photos by this landmark" in output.err
    assert found(tagger) == ["berlin.jpg", "paris.jpg"]
    assert tagger("landmark", "remove", EIFFEL, "--with-verdicts").code == 1


def test_a_landmark_is_changed_and_named_in_a_language(tagger, known, monkeypatch):
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


def test_a_merged_landmark_is_found_by_its_old_names(tagger, known):
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
    assert "tells them apart" in tagger("landmark", "merge", GATE, "--into", EIFFEL, code=1).err
    assert tagger("db", "check").code == 0


@pytest.fixture
def german(tagger, tmp_path, monkeypatch) -> CommandRunner:
    """A library of two photos that names landmarks in German, of which the gate has no German name."""
    names = {"de": "Eiffelturm", "fr": "Tour Eiffel"}
    eiffel = LABELS[0].model_copy(update={"names": names, "aliases": ("La Dame de Fer",)})
    tiny_artifact(tmp_path / "tiny.pt", labels=(eiffel, *LABELS[1:]))
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "tiny.pt"))
    monkeypatch.setenv("TAGGER_LANGUAGE", "de-AT")
    draw(tmp_path / "photos" / "eiffel.jpg", 0)
    draw(tmp_path / "photos" / "gate.jpg", 1)
    return tagger


def test_every_command_shows_and_writes_the_name_in_the_language(german, tmp_path, monkeypatch):
    tagged = german("tag", "photos", "--write", "sidecar", code=0)
    assert "eiffel.jpg: Eiffelturm " in tagged.text
    assert "gate.jpg: Brandenburg Gate " in tagged.text
    photo = tmp_path / "photos" / "eiffel.jpg"
    assert "XMP:dc:subject\t\tEiffelturm" in german("metadata", "show", photo).text
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
    monkeypatch.delenv("TAGGER_LANGUAGE")
    planned = german("metadata", "write", "--to", "sidecar", "--dry-run").text
    assert "eiffel.jpg.xmp: - Eiffelturm, + Eiffel Tower\n" in planned
    assert "gate" not in planned
    german("metadata", "write", "--to", "sidecar")
    assert "Eiffelturm" not in photo.with_name("eiffel.jpg.xmp").read_text()


@pytest.fixture
def given(sqlite_database, tmp_path) -> StoredPhotos:
    given = StoredPhotos.with_tiny_model(sqlite_database, tmp_path)
    digests = [f"1-{number:064x}" for number in range(4)]
    given.photo("berlin/a.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False), digest=digests[0])
    given.photo("berlin/copy.jpg", digest=digests[0])
    given.photo("berlin/b.jpg", (EIFFEL, 0.8, True), digest=digests[1])
    given.photo("paris.jpg", (EIFFEL, 0.99, True), digest=digests[2])
    given.photo("fog.jpg", (EIFFEL, 0.2, False), digest=digests[3])
    given.photo("new.jpg", classified=False)
    return given


def test_a_verdict_is_given_withdrawn_and_rehearsed(tagger, given):
    output = tagger("reject", "Eiffel Tower", "photos/berlin/a.jpg")
    assert (output.code, output.err) == (0, "")
    assert output.text == "photos/berlin/a.jpg: Eiffel Tower rejected, in 2 copies of the photo\n"
    assert found(tagger, "--landmark", EIFFEL) == ["b.jpg", "paris.jpg"]
    output = tagger("confirm", "EIFFEL TOWER", "photos/berlin/copy.jpg", "--by", "Ada", "--json")
    (photo,) = output.json["photos"]
    facts = tuple(photo[name] for name in ("photo", "path", "before", "verdict", "changed", "copies"))
    assert facts == (2, str(given.root / "berlin/copy.jpg"), "rejected", "confirmed", True, 2)
    shown = tagger("show", "photos/berlin/a.jpg", "--json").json
    assert [(given["verdict"], given["given_by"]) for given in shown["verdicts"]] == [("confirmed", "Ada")]
    both = [EIFFEL, "photos/paris.jpg", "--under", "photos"]
    for words in (["reject"], ["confirm", EIFFEL], ["reject", "--any"], ["reject", *both]):
        tagger(*words, code=2)
    assert "name at least one photo" in tagger("reject", EIFFEL, code=2).err
    withdraw = (EIFFEL, "--withdraw", "photos/berlin/a.jpg")
    assert "nothing to withdraw; it is confirmed" in tagger("reject", *withdraw).text
    assert "no longer confirmed" in tagger("confirm", *withdraw).text
    assert tagger("review", "list", "--json").json == []
    assert "would be rejected" in tagger("reject", EIFFEL, "photos/paris.jpg", "--dry-run").text
    assert tagger("review", "list", "--json").json == []
    tagger("reject", EIFFEL, "photos/paris.jpg")
    assert "would be" in tagger("reject", EIFFEL, "photos/paris.jpg", "--withdraw", "--dry-run").text
    assert len(tagger("review", "list", "--json").json) == 1


def test_verdicts_are_listed_in_every_format(tagger, given):
    assert "no verdict matches" in tagger("review", "list").err
    tagger("confirm", GATE, "photos/berlin/b.jpg", "--by", "Bob")
    tagger("reject", EIFFEL, "photos/paris.jpg", "--by", "Ada")
    tagger("reject", "--any", "photos/fog.jpg", "--by", "Cyd")
    listed = tagger("review", "list", "--json").json
    assert list(listed[0]) == ["path", "landmark", "name", "verdict", "by", "at", "digest"]
    assert [each["by"] for each in listed] == ["Cyd", "Ada", "Bob"]  # newest first
    lines = tagger("review", "list", "--format", "ndjson").text.splitlines()
    assert [json.loads(line) for line in lines] == listed
    assert tagger("review", "list", "--format", "csv").text.splitlines()[0] == ",".join(listed[0])
    assert len(tagger("review", "list").text.splitlines()) == 4
    for options, author in (
        (("--by", "Ada"), "Ada"),
        (("--verdict", "confirmed"), "Bob"),
        (("--under", given.root / "berlin"), "Bob"),
        (("--country", "germany"), "Bob"),
    ):
        assert [each["by"] for each in tagger("review", "list", *options, "--json").json] == [author]
    for words in (["--format", "geojson"], ["--verdict", "perhaps"]):
        assert tagger("review", "list", *words).code == 2


def test_verdicts_go_to_another_database(tagger, given, tmp_path, monkeypatch):
    tagger("reject", EIFFEL, "photos/paris.jpg", "--by", "Ada")
    tagger("confirm", GATE, "photos/berlin/b.jpg")
    assert "2 verdicts exported" in tagger("review", "export", "v.json").err
    exported = json.loads((tmp_path / "v.json").read_text())
    assert exported == json.loads(tagger("review", "export").out)
    assert set(exported[0]) == {"digest", "landmark", "verdict", "by", "at", "path"}
    assert "--force" in tagger("review", "export", "v.json", code=1).err
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/other.sqlite")
    nothing_known = tagger("review", "import", "v.json")
    assert "2 verdicts skipped" in nothing_known.err
    assert "tagger model add" in nothing_known.err
    tagger("model", "add", "tiny.pt")
    assert tagger("review", "import", "v.json", "--dry-run", "--json").json["added"] == 2
    done = tagger("review", "import", "v.json")
    assert done.text == "2 added, 0 replaced by a newer verdict, 0 older than the verdict here, 0 unchanged\n"
    assert "on unknown photos kept until such a photo is added" in done.err
    assert [each["path"] for each in tagger("review", "list", "--json").json] == [None, None]


def test_photos_are_put_away_and_brought_back(tagger, given):
    output = tagger("reject", "--any", "photos/fog.jpg", "--by", "Ada")
    assert (output.code, output.text) == (0, "1 photo put away as not a landmark\n")
    assert (found(tagger, "--unknown"), found(tagger, "--dismissed")) == ([], ["fog.jpg"])
    assert "verdict:    not a landmark by Ada, " in tagger("show", "photos/fog.jpg").text
    assert tagger("show", "photos/fog.jpg", "--json").json["dismissal"]["given_by"] == "Ada"
    tagger("confirm", EIFFEL, "photos/paris.jpg")
    output = tagger("reject", "--any", *(f"photos/{name}.jpg" for name in ("fog", "new", "paris")))
    counts = "1 put away already; 1 left out, with a confirmed landmark; 1 left out, not classified"
    assert output.text == f"0 photos put away as not a landmark; {counts}\n"
    counts = {"changed": 1, "unchanged": 0, "confirmed": 0, "left_out": 0}
    back = ("reject", "--any", "--withdraw", "photos/fog.jpg")
    assert tagger(*back, "--dry-run", "--json").json == {**counts, "withdrawn": True, "dry_run": True}
    assert tagger(*back).text == "1 photo brought back\n"
    assert found(tagger, "--dismissed") == []
