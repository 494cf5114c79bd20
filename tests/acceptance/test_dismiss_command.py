"""`tagger reject --any` as a person types it, and what other commands say of photos that were put away."""

import json
from pathlib import Path

import pytest
from support.artifacts import tiny_artifact
from support.command_line import CommandRunner
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.library.catalog.registered_models import add_model

EIFFEL, GATE = "eiffel-tower", "brandenburg-gate"


def digest_of(number: int) -> str:
    return f"1-{number:064x}"


@pytest.fixture
def known(sqlite_database: Database, tmp_path: Path) -> StoredPhotos:
    tiny_artifact(tmp_path / "tiny.pt")
    known = StoredPhotos(
        sqlite_database, tmp_path / "photos", add_model(sqlite_database, tmp_path / "tiny.pt")
    )
    known.photo("paris.jpg", (EIFFEL, 0.99, True), digest=digest_of(1))
    known.photo("screens/1.jpg", (EIFFEL, 0.2, False), digest=digest_of(2))
    known.photo("screens/2.jpg", (GATE, 0.3, False), digest=digest_of(3))
    known.photo("copy.jpg", digest=digest_of(3))
    known.photo("dog.jpg", (GATE, 0.1, False), digest=digest_of(4))
    known.photo("new.jpg", classified=False)
    return known


def found(tagger: CommandRunner, *options: object) -> list[str]:
    return sorted(
        Path(line).name for line in tagger("query", *options, "--format", "paths").text.splitlines()
    )


def test_photos_are_put_away_and_brought_back(tagger: CommandRunner, known: StoredPhotos) -> None:
    output = tagger("reject", "--any", "photos/dog.jpg", "--by", "Ada")
    assert (output.code, output.text) == (0, "1 photo put away as not a landmark\n")
    assert found(tagger, "--unknown") == ["1.jpg", "2.jpg", "copy.jpg"]
    assert found(tagger, "--dismissed") == ["dog.jpg"]
    shown = tagger("show", "photos/dog.jpg")
    assert "verdict:    not a landmark by Ada, " in shown.text
    assert tagger("show", "photos/dog.jpg", "--json").json["dismissal"]["given_by"] == "Ada"
    output = tagger("reject", "--any", "photos/dog.jpg", "photos/new.jpg")
    assert (
        output.text == "0 photos put away as not a landmark; 1 put away already; 1 left out, not classified\n"
    )
    assert tagger("reject", "--any", "--withdraw", "photos/dog.jpg").text == "1 photo brought back\n"
    assert found(tagger, "--dismissed") == []


def test_unknown_photos_of_a_query_are_put_away(tagger: CommandRunner, known: StoredPhotos) -> None:
    planned = tagger("reject", "--any", "--all-of-query", "--under", "photos", "--dry-run", "--json").json
    counts = {"changed": 4, "unchanged": 0, "confirmed": 0, "left_out": 0}
    assert planned == {**counts, "withdrawn": False, "dry_run": True}
    assert tagger("reject", "--any", "--all-of-query", "--under", "photos/screens").text == (
        "2 photos put away as not a landmark\n"
    )
    assert found(tagger, "--dismissed") == ["1.jpg", "2.jpg", "copy.jpg"]
    assert (
        tagger("reject", "--any", "--withdraw", "--all-of-query", "--under", "photos").text
        == "3 photos brought back\n"
    )


def test_a_confirmed_landmark_is_not_put_away(tagger: CommandRunner, known: StoredPhotos) -> None:
    tagger("confirm", EIFFEL, "photos/paris.jpg")
    output = tagger("reject", "--any", "photos/paris.jpg")
    assert output.text == "0 photos put away as not a landmark; 1 left out, with a confirmed landmark\n"


def test_dismissals_are_listed_exported_and_imported(
    tagger: CommandRunner, known: StoredPhotos, tmp_path: Path
) -> None:
    tagger("reject", EIFFEL, "photos/paris.jpg")
    tagger("reject", "--any", "photos/dog.jpg", "--by", "Ada")
    listed = tagger("review", "list", "--verdict", "not-a-landmark", "--json").json
    assert [(Path(each["path"]).name, each["landmark"], each["by"]) for each in listed] == [
        ("dog.jpg", None, "Ada")
    ]
    assert [each["verdict"] for each in tagger("review", "list", "--json").json] == [
        "rejected",
        "not-a-landmark",
    ]
    assert "dog.jpg" in tagger("review", "list").text
    tagger("review", "export", tmp_path / "verdicts.json")
    assert len(json.loads((tmp_path / "verdicts.json").read_text())) == 2
    tagger("reject", "--any", "--withdraw", "photos/dog.jpg")
    report = tagger("review", "import", tmp_path / "verdicts.json", "--json").json
    assert (report["added"], report["unchanged"]) == (1, 1)
    assert found(tagger, "--dismissed") == ["dog.jpg"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name photos, or use --all-of-query"),
        (("--all-of-query",), "it needs a query option"),
        (("--under", "photos"), "query options need it"),
        (("photos/dog.jpg", "--all-of-query", "--under", "photos"), "name photos, or use query options"),
        (("--all-of-query", "--landmark", EIFFEL), "cannot be combined with a landmark"),
    ],
)
def test_unclear_commands_are_refused(
    tagger: CommandRunner, known: StoredPhotos, words: tuple[str, ...], message: str
) -> None:
    output = tagger("reject", "--any", *words)
    assert output.code == 2
    assert message in " ".join(output.err.replace("│", " ").split())
