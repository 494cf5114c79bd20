"""`tagger confirm`, `reject` and `verdicts` as a person types them."""

import json
from pathlib import Path

import pytest
from support.command_line import CommandRunner
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"


def digest_of(number: int) -> str:
    return f"1-{number:064x}"


@pytest.fixture
def known(sqlite_database: Database, tmp_path: Path) -> StoredPhotos:
    known = StoredPhotos.with_tiny_model(sqlite_database, tmp_path)
    known.photo("berlin/a.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False), digest=digest_of(1))
    known.photo("berlin/copy.jpg", digest=digest_of(1))
    known.photo("berlin/b.jpg", (EIFFEL, 0.8, True), digest=digest_of(2))
    known.photo("paris.jpg", (EIFFEL, 0.99, True), digest=digest_of(3))
    known.photo("fog.jpg", (EIFFEL, 0.2, False), digest=digest_of(4))
    known.photo("new.jpg", classified=False)
    return known


def found(tagger: CommandRunner, *options: object) -> list[str]:
    return sorted(
        Path(line).name for line in tagger("query", *options, "--format", "paths").text.splitlines()
    )


def test_a_verdict_is_given_and_withdrawn(tagger: CommandRunner, known: StoredPhotos) -> None:
    output = tagger("reject", "Eiffel Tower", "photos/berlin/a.jpg")
    assert (output.code, output.err) == (0, "")
    assert output.text == "photos/berlin/a.jpg: Eiffel Tower rejected, in 2 copies of the photo\n"
    assert found(tagger, "--landmark", EIFFEL) == ["b.jpg", "paris.jpg"]
    output = tagger("confirm", "EIFFEL TOWER", "photos/berlin/copy.jpg", "--by", "Ada", "--json")
    path = str(known.root / "berlin/copy.jpg")
    assert output.json["photos"] == [
        {
            "photo": 2,
            "path": path,
            "digest": digest_of(1),
            "before": "rejected",
            "verdict": "confirmed",
            "changed": True,
            "copies": 2,
        }
    ]
    shown = tagger("show", "photos/berlin/a.jpg", "--json").json
    assert [(given["verdict"], given["given_by"]) for given in shown["verdicts"]] == [("confirmed", "Ada")]
    withdraw = (EIFFEL, "--withdraw", "photos/berlin/a.jpg")
    assert "nothing to withdraw; it is confirmed" in tagger("reject", *withdraw).text
    assert "no longer confirmed" in tagger("confirm", *withdraw).text
    assert tagger("review", "list", "--json").json == []


def test_several_photos_get_the_same_verdict(tagger: CommandRunner, known: StoredPhotos) -> None:
    output = tagger("reject", EIFFEL, "photos/berlin/b.jpg", "photos/paris.jpg")
    assert output.text == (
        "photos/berlin/b.jpg: Eiffel Tower rejected\nphotos/paris.jpg: Eiffel Tower rejected\n"
    )
    assert tagger("confirm", EIFFEL, "photos/paris.jpg", "photos/missing.jpg").code == 1
    assert found(tagger, "--landmark", EIFFEL) == ["a.jpg", "copy.jpg"]
    document = tagger("confirm", EIFFEL, "photos/berlin/b.jpg", "photos/paris.jpg", "--json").json
    assert [Path(each["path"]).name for each in document["photos"]] == ["b.jpg", "paris.jpg"]


def test_a_dry_run_stores_no_verdict(tagger: CommandRunner, known: StoredPhotos) -> None:
    assert "would be rejected" in tagger("reject", EIFFEL, "photos/paris.jpg", "--dry-run").text
    assert tagger("review", "list", "--json").json == []
    tagger("reject", EIFFEL, "photos/paris.jpg")
    assert "would be" in tagger("reject", EIFFEL, "photos/paris.jpg", "--withdraw", "--dry-run").text
    assert len(tagger("review", "list", "--json").json) == 1


def test_what_contradicts_itself_is_wrong_usage(tagger: CommandRunner, known: StoredPhotos) -> None:
    for words, message in (
        (["reject"], ""),
        (["confirm", EIFFEL], ""),
        (["reject", EIFFEL], "name at least one photo"),
        (["reject", EIFFEL, "photos/paris.jpg", "--under", "photos"], ""),
        (["reject", "--any"], ""),
    ):
        output = tagger(*words)
        assert (output.code, output.out) == (2, b""), words
        assert message in " ".join(output.err.replace("│", " ").split())
    assert tagger("review", "list", "--json").json == []


def test_verdicts_are_listed_in_every_format(tagger: CommandRunner, known: StoredPhotos) -> None:
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
    assert len(tagger("review", "list").text.splitlines()) == 3
    for options, author in (
        (("--by", "Ada"), "Ada"),
        (("--verdict", "confirmed"), "Bob"),
        (("--under", known.root / "berlin"), "Bob"),
        (("--country", "germany"), "Bob"),
    ):
        assert [each["by"] for each in tagger("review", "list", *options, "--json").json] == [author]
    for words in (["--format", "geojson"], ["--verdict", "perhaps"]):
        assert tagger("review", "list", *words).code == 2


def test_verdicts_go_to_another_database(
    tagger: CommandRunner, known: StoredPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger("reject", EIFFEL, "photos/paris.jpg", "--by", "Ada")
    tagger("confirm", GATE, "photos/berlin/b.jpg")
    assert "2 verdicts exported" in tagger("review", "export", "v.json").err
    exported = json.loads((tmp_path / "v.json").read_text())
    assert exported == json.loads(tagger("review", "export").out)
    assert set(exported[0]) == {"digest", "landmark", "verdict", "by", "at", "path"}
    refused = tagger("review", "export", "v.json")
    assert (refused.code, "--force" in refused.err) == (1, True)
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


def test_photos_are_put_away_and_brought_back(tagger: CommandRunner, known: StoredPhotos) -> None:
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
