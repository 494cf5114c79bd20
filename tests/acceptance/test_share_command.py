"""`tagger people share` as a person types it: a link is printed once, listed, and ends."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.command_line import CommandRunner
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database

EIFFEL = "eiffel-tower"


@pytest.fixture
def library(sqlite_database: Database, tmp_path: Path) -> StoredPhotos:
    library = StoredPhotos.with_tiny_model(sqlite_database, tmp_path)
    library.photo("paris.jpg", (EIFFEL, 0.99, True))
    library.photo("dog.jpg", (EIFFEL, 0.1, False))
    return library


def test_a_link_is_printed_once_listed_and_revoked(tagger: CommandRunner, library: StoredPhotos) -> None:
    added = tagger("people", "share", "add", "--landmark", "Eiffel Tower")
    link = added.text.strip()
    assert link.startswith("http://127.0.0.1:8080/s/")
    assert "not shown again" in added.err
    assert "TAGGER_WEB_URL" in added.err
    (listed,) = tagger("people", "share", "list", "--json").json
    assert (listed["name"], listed["state"], listed["options"], listed["photos"]) == (
        "Eiffel Tower",
        "active",
        {"landmark": EIFFEL},
        None,
    )
    expires = datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < expires <= timedelta(days=30)
    token = link.rpartition("/")[2]
    assert len(token) == 43
    printed = tagger("people", "share", "list").text + json.dumps(tagger("people", "audit", "--json").json)
    assert "landmark eiffel-tower" in printed  # in the audit log
    assert token not in printed
    assert tagger("people", "share", "revoke", "1").err == "share 1 is revoked: Eiffel Tower\n"
    assert tagger("people", "share", "list", "--json").json[0]["state"] == "revoked"
    assert "revoked" in tagger("people", "share", "list").text
    actions = [entry["action"] for entry in tagger("people", "audit", "--json").json["entries"]]
    assert actions[:2] == ["share-revoke", "share-add"]


def test_links_are_described_in_the_words_of_the_page(tagger: CommandRunner, library: StoredPhotos) -> None:
    tagger("people", "share", "add", "--landmark", "Eiffel Tower", "--min-score", "0.5", "--any-rank")
    tagger("people", "share", "add", "--under", "photos", "--verdict", "none", "--any-rank")
    folder = library.root
    descriptions = [share["description"] for share in tagger("people", "share", "list", "--json").json]
    assert descriptions == [
        f"all classified photos, without a verdict, in {folder}",
        "Eiffel Tower, score from 50\N{NARROW NO-BREAK SPACE}%, guesses too",
    ]
    revoked = tagger("people", "share", "revoke", "1", "--json").json
    assert revoked["description"] == descriptions[1]
    unknown = tagger("people", "share", "revoke", "7")
    assert (unknown.code, "There is no share 7" in unknown.err) == (1, True)
    listed = " ".join(tagger("people", "share", "list").text.split())
    assert "Eiffel Tower, score from 50 %, guesses too" in listed


def test_a_selection_never_expires_if_asked(
    tagger: CommandRunner, library: StoredPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGGER_WEB_URL", "https://photos.example.org/")
    photos = [option for name in ("paris", "dog") for option in ("--selection", f"photos/{name}.jpg")]
    added = tagger(
        "people", "share", "add", *photos, "--expires", "never", "--with-positions", "--name", "Ada", "--json"
    )
    assert added.json["link"].startswith("https://photos.example.org/s/")
    assert (added.json["expires_at"], added.json["photos"]) == (None, 2)
    (listed,) = tagger("people", "share", "list", "--json").json
    assert (listed["name"], listed["with_positions"], listed["options"]) == ("Ada", True, None)
    assert "2 selected photos" in tagger("people", "share", "list").text


def test_any_query_is_shared_and_named_by_what_visitors_may_read(
    tagger: CommandRunner, library: StoredPhotos
) -> None:
    library.photo("late.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2024, 5, 1))  # noqa: DTZ001 - local time
    for options, name, text in (
        (
            ("--country", "france", "--year", "2024", "--year", "2023"),
            "France, 2023, 2024",
            "country france, year 2024, year 2023",
        ),
        (("--under", "photos", "--dismissed"), "Photos", f"under {library.root}, dismissed"),
        (("--untagged",), "Photos", "untagged"),
    ):
        assert tagger("people", "share", "add", *options).code == 0
        listed = tagger("people", "share", "list", "--json").json[0]
        assert listed["name"] == name
        assert text in tagger("people", "audit", "--json").json["entries"][0]["details"]["photos"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "say which photos"),
        (("--landmark", EIFFEL, "--selection", "photos/paris.jpg"), "not both"),
        (("--landmark", "Atlantis"), "There is no landmark Atlantis"),
        (("--selection", "photos/none.jpg"), "no photo at"),
        (("--landmark", EIFFEL, "--expires", "2001-01-01"), "in the past"),
        (("--landmark", EIFFEL, "--name", " "), "1 to 200 characters"),
    ],
)
def test_mistakes_are_named(
    tagger: CommandRunner, library: StoredPhotos, arguments: tuple[str, ...], problem: str
) -> None:
    output = tagger("people", "share", "add", *arguments)
    assert output.code in {1, 2}
    assert problem in " ".join(output.err.replace("│", " ").split())
    assert tagger("people", "share", "list", "--json").json == []
