"""`tagger confirm`, `reject` and `verdicts` as a person types them."""

import json
from pathlib import Path

import pytest
from support.artifacts import tiny_artifact
from support.command_line import CommandRunner
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.library.catalog.registered_models import add_model

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"


def digest_of(number: int) -> str:
    return f"1-{number:064x}"


@pytest.fixture
def known(sqlite_database: Database, tmp_path: Path) -> StoredPhotos:
    tiny_artifact(tmp_path / "tiny.pt")
    known = StoredPhotos(
        sqlite_database, tmp_path / "photos", add_model(sqlite_database, tmp_path / "tiny.pt")
    )
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
    assert output.json == {
        "path": str(known.root / "berlin/copy.jpg"),
        "digest": digest_of(1),
        "landmark": EIFFEL,
        "name": "Eiffel Tower",
        "verdict": "confirmed",
        "before": "rejected",
        "changed": True,
        "photos": 2,
        "dry_run": False,
    }
    shown = tagger("show", "photos/berlin/a.jpg", "--json").json
    assert [(given["verdict"], given["given_by"]) for given in shown["verdicts"]] == [("confirmed", "Ada")]
    assert (
        "nothing to withdraw; it is confirmed"
        in tagger("reject", EIFFEL, "--withdraw", "photos/berlin/a.jpg").text
    )
    assert "no longer confirmed" in tagger("confirm", EIFFEL, "--withdraw", "photos/berlin/a.jpg").text
    again = tagger("confirm", EIFFEL, "--withdraw", "photos/berlin/a.jpg", "--json").json
    assert (again["verdict"], again["changed"]) == (None, False)
    assert tagger("review", "list", "--json").json == []


def test_several_photos_get_the_same_verdict(tagger: CommandRunner, known: StoredPhotos) -> None:
    output = tagger("reject", EIFFEL, "photos/berlin/b.jpg", "photos/paris.jpg")
    assert output.text == (
        "photos/berlin/b.jpg: Eiffel Tower rejected\nphotos/paris.jpg: Eiffel Tower rejected\n"
    )
    assert found(tagger, "--landmark", EIFFEL) == ["a.jpg", "copy.jpg"]
    assert tagger("confirm", EIFFEL, "photos/paris.jpg", "photos/missing.jpg").code == 1
    assert found(tagger, "--landmark", EIFFEL) == ["a.jpg", "copy.jpg"]
    documents = tagger("confirm", EIFFEL, "photos/berlin/b.jpg", "photos/paris.jpg", "--json").json
    assert [(Path(each["path"]).name, each["before"]) for each in documents] == [
        ("b.jpg", "rejected"),
        ("paris.jpg", "rejected"),
    ]
    alone = tagger("confirm", EIFFEL)
    assert (alone.code, "name both" in alone.err) == (2, True)


def test_a_dry_run_gives_no_word(tagger: CommandRunner, known: StoredPhotos) -> None:
    assert "would be rejected" in tagger("reject", EIFFEL, "photos/paris.jpg", "--dry-run").text
    assert tagger("reject", "--all-of-query", "--landmark", EIFFEL, "--dry-run").code == 0
    assert tagger("review", "list", "--json").json == []
    tagger("reject", EIFFEL, "photos/paris.jpg")
    assert "would be" in tagger("reject", EIFFEL, "photos/paris.jpg", "--withdraw", "--dry-run").text
    assert len(tagger("review", "list", "--json").json) == 1


def test_a_verdict_on_every_match_of_a_query(tagger: CommandRunner, known: StoredPhotos) -> None:
    tagger("confirm", EIFFEL, "photos/berlin/b.jpg")
    query = ("--landmark", EIFFEL, "--under", known.root / "berlin")
    planned = tagger("reject", "--all-of-query", *query, "--dry-run", "--json").json
    assert planned == {"verdict": "rejected", "photos": 3, "tags": 3, "replaced": 1, "dry_run": True}
    output = tagger("reject", "--all-of-query", *query)
    assert output.text == "3 tags of 3 photos rejected; 1 of them had the opposite verdict\n"
    assert found(tagger) == ["paris.jpg"]
    assert tagger("reject", "--all-of-query", "--withdraw", *query, "--json").json["withdrawn"] == 2
    assert found(tagger, *query) == ["a.jpg", "b.jpg", "copy.jpg"]
    assert (
        tagger("confirm", "--all-of-query", "--landmark", EIFFEL, "--any-rank").text
        == "5 tags of 5 photos confirmed\n"
    )
    assert "fog.jpg" in found(tagger)


def test_what_contradicts_itself_is_wrong_usage(tagger: CommandRunner, known: StoredPhotos) -> None:
    for words in (
        [],
        ["photos/paris.jpg"],
        ["photos/paris.jpg", EIFFEL, "--under", "photos"],
        ["photos/paris.jpg", EIFFEL, "--all-of-query"],
        ["--all-of-query"],
        ["--all-of-query", "--any-rank"],
        ["--all-of-query", "--any-rank", "--under", "photos"],
        ["--all-of-query", "--withdraw", "--landmark", EIFFEL, "--min-score", "0.5"],
        ["--all-of-query", "--withdraw", "--landmark", EIFFEL, "--model", "tiny"],
        ["--all-of-query", "--withdraw", "--landmark", EIFFEL, "--camera", "Pixel 8"],
        ["--all-of-query", "--withdraw", "--landmark", EIFFEL, "--verdict", "corrected"],
        ["--all-of-query", "--taken-after", "yesterday"],
    ):
        for command in ("confirm", "reject"):
            output = tagger(command, *words)
            assert (output.code, output.out) == (2, b""), words
    assert tagger("review", "list", "--json").json == []


def test_swapped_arguments_are_recognised(tagger: CommandRunner, known: StoredPhotos) -> None:
    for command in ("confirm", "reject", "teach"):
        output = tagger(command, "photos/paris.jpg", "photos/new.jpg", "Eiffel Tower")
        assert output.code == 2
        assert "Did you mean: 'Eiffel Tower' photos/paris.jpg photos/new.jpg?" in " ".join(output.err.split())


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ([EIFFEL, "photos/none.jpg"], "Add photos with `tagger tag`"),
        ([EIFFEL, "photos/new.jpg"], "Classify it with `tagger tag`"),
        (["Eifel Tower", "photos/paris.jpg"], "Did you mean eiffel-tower?"),
        (["--all-of-query", "--landmark", "Eifel Tower"], "Did you mean eiffel-tower?"),
    ],
    ids=str,
)
def test_photos_without_verdict_are_reported_with_the_remedy(
    tagger: CommandRunner, known: StoredPhotos, words: list[str], remedy: str
) -> None:
    for more in ([], ["--withdraw"]):
        output = tagger("confirm", *words, *more)
        assert (output.code, output.out, output.err.count("\n")) == (1, b"", 1)
        assert remedy in output.err


def test_verdicts_are_listed_in_every_format(tagger: CommandRunner, known: StoredPhotos) -> None:
    output = tagger("review", "list")
    assert (output.code, output.out) == (0, b"")
    assert "no verdict matches" in output.err
    tagger("reject", EIFFEL, "photos/paris.jpg", "--by", "Ada")
    tagger("confirm", GATE, "photos/berlin/b.jpg", "--by", "Bob")
    listed = tagger("review", "list", "--json").json
    assert [list(each) for each in listed] == [
        ["path", "landmark", "name", "verdict", "by", "at", "digest"]
    ] * 2
    lines = tagger("review", "list", "--format", "ndjson").text.splitlines()
    assert [json.loads(line) for line in lines] == listed
    assert tagger("review", "list", "--format", "csv").text.splitlines()[0] == ",".join(listed[0])
    assert len(tagger("review", "list").text.splitlines()) == 2
    assert [each["by"] for each in tagger("review", "list", "--by", "Ada", "--json").json] == ["Ada"]
    assert [each["by"] for each in tagger("review", "list", "--verdict", "confirmed", "--json").json] == [
        "Bob"
    ]
    assert len(tagger("review", "list", "--under", known.root / "berlin", "--json").json) == 1
    assert len(tagger("review", "list", "--country", "germany", "--json").json) == 1
    for words in (["--format", "geojson"], ["--verdict", "perhaps"]):
        assert tagger("review", "list", *words).code == 2


def test_verdicts_go_to_another_database(
    tagger: CommandRunner, known: StoredPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger("reject", EIFFEL, "photos/paris.jpg", "--by", "Ada")
    tagger("confirm", GATE, "photos/berlin/b.jpg")
    assert "2 verdicts exported" in tagger("review", "export", "v.json").err
    assert json.loads((tmp_path / "v.json").read_text()) == json.loads(tagger("review", "export").out)
    assert set(json.loads((tmp_path / "v.json").read_text())[0]) == {
        *("digest", "landmark", "verdict", "by", "at", "path")
    }
    refused = tagger("review", "export", "v.json")
    assert (refused.code, "--force" in refused.err) == (1, True)
    assert tagger("review", "export", "v.json", "--force").code == 0
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/other.sqlite")
    nothing_known = tagger("review", "import", "v.json")
    assert "2 verdicts skipped" in nothing_known.err
    assert "tagger model add" in nothing_known.err
    tagger("model", "add", "tiny.pt")
    assert tagger("review", "import", "v.json", "--dry-run", "--json").json["added"] == 2
    assert tagger("review", "list", "--json").json == []
    done = tagger("review", "import", "v.json")
    assert done.text == "2 added, 0 replaced by a newer verdict, 0 older than the verdict here, 0 unchanged\n"
    assert str(known.root / "paris.jpg") in done.err
    assert [each["path"] for each in tagger("review", "list", "--json").json] == [None, None]
    assert tagger("review", "import", "v.json", "--json").json["unchanged"] == 2


def test_a_file_that_is_not_sound_changes_nothing(
    tagger: CommandRunner, known: StoredPhotos, tmp_path: Path
) -> None:
    tagger("reject", EIFFEL, "photos/paris.jpg")
    tagger("review", "export", "v.json")
    tagger("reject", EIFFEL, "--withdraw", "photos/paris.jpg")
    sound = (tmp_path / "v.json").read_text()
    (tmp_path / "v.json").write_text(sound.rstrip("]\n") + ",\n {}]")
    output = tagger("review", "import", "v.json")
    assert (output.code, output.out, output.err.count("\n")) == (1, b"", 1)
    assert "entry 2, line 2: digest is not that of an image" in output.err
    assert tagger("review", "list", "--json").json == []
    assert tagger("review", "import", "missing.json").code == 1
