"""`tagger people …`: users, tokens, shares and what the audit log says of them."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.command_line import CommandRunner
from support.page_server import LOCAL_URL, TOKEN
from support.stored_photos import StoredPhotos

from tagger.database.actors import Actor
from tagger.database.connection import Database
from tagger.query.options import PhotoQuery
from tagger.settings import load_settings
from tagger.shares import NewShare, add_share
from tagger.web.app import create_app
from tagger.web.http.auth import AccessPolicy

PASSWORD = b"correct horse battery\n"
EIFFEL = "eiffel-tower"


def test_people_are_added_listed_changed_and_removed(tagger: CommandRunner) -> None:
    added = tagger("people", "user", "add", "Ada", "--role", "editor", stdin=PASSWORD)
    assert added.text == ""
    assert "ada is added as editor" in added.err
    assert "the page asks for a name and password" in added.err
    (listed,) = tagger("people", "user", "list", "--json").json
    assert listed["name"] == "ada"
    assert (listed["role"], listed["has_password"]) == ("editor", True)
    assert "password_hash" not in listed
    assert "editor" in tagger("people", "user", "list").text
    assert tagger("people", "user", "role", "ada", "admin").err == "ada is admin now, 0 sessions ended\n"
    changed = tagger("people", "user", "password", "ada", "--json", stdin=PASSWORD).json
    assert changed == {"name": "ada", "sessions": 0}
    assert tagger("people", "user", "remove", "ada").err == "ada is removed, 0 sessions ended\n"
    assert tagger("people", "user", "list", "--json").json == []
    actions = [entry["action"] for entry in tagger("people", "audit", "--json").json["entries"]]
    assert actions == ["user-remove", "user-password", "user-role", "user-add"]


def test_a_generated_password_is_printed_once_and_opens_the_page(
    tagger: CommandRunner, sqlite_database: Database
) -> None:
    first = tagger("people", "user", "add", "ada", "--generate").text.strip()
    second = tagger("people", "user", "password", "ada", "--generate", "--json").json["password"]
    assert first != second
    app = create_app(load_settings(), sqlite_database, AccessPolicy("0.0.0.0", 8080, TOKEN))
    with TestClient(app, base_url=LOCAL_URL, follow_redirects=False) as client:
        for password, status in ((first, 403), (second, 303)):
            form = {"name": "ada", "password": password}
            answer = client.post("/sign-in", data=form, headers={"origin": LOCAL_URL})
            assert answer.status_code == status
        assert client.get("/api/landmarks").status_code == 200
        assert tagger("people", "user", "remove", "ada", "--json").json["sessions"] == 1
        assert client.get("/api/landmarks").status_code == 401


def test_a_terminal_asks_twice_and_shows_nothing(tagger: CommandRunner, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    program = [sys.executable, "-m", "tagger", "people", "user", "add", "ada"]
    with subprocess.Popen(program, stdin=terminal, stdout=terminal, stderr=terminal, cwd=tmp_path) as process:
        os.close(terminal)
        for prompt in (b"Password: ", b"Repeat for confirmation: "):
            shown = b""
            while not shown.endswith(prompt):
                shown += os.read(controller, 1000)
            assert PASSWORD.strip() not in shown
            os.write(controller, PASSWORD)
        assert process.wait(60) == 0
    os.close(controller)
    assert [user["name"] for user in tagger("people", "user", "list", "--json").json] == ["ada"]


def names(tagger: CommandRunner) -> list[str]:
    return [token["name"] for token in tagger("people", "token", "list", "--json").json]


def test_a_token_is_printed_once_listed_and_revoked(tagger: CommandRunner) -> None:
    added = tagger("people", "token", "add", "phone", "--read-only", "--expires", "90d")
    secret = added.text.strip()
    assert secret.startswith("tagger_")
    assert "not shown again" in added.err
    (listed,) = tagger("people", "token", "list", "--json").json
    assert (listed["name"], listed["read_only"], listed["expired"]) == ("phone", True, False)
    expires = datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < expires <= timedelta(days=90)
    table = tagger("people", "token", "list")
    assert "read-only" in table.text
    assert secret not in table.text
    assert tagger("people", "token", "revoke", "phone").err == "phone is revoked, 0 sessions ended\n"
    assert names(tagger) == []
    tagger("people", "token", "add", "phone")
    refused = tagger("people", "token", "revoke", "fone")
    assert (refused.code, "There is no token fone" in refused.err) == (1, True)
    assert tagger("people", "token", "revoke", "phone", "--json").json == {
        "name": "phone",
        "sessions": 0,
        "shares_revoked": [],
    }


def test_the_audit_log_is_listed_page_by_page(tagger: CommandRunner) -> None:
    for name in ("a", "b", "c"):
        tagger("people", "token", "add", name)
    tagger("people", "token", "revoke", "b")
    first = tagger("people", "audit", "--limit", "3", "--json").json
    entries = [(entry["action"], entry["subject"]) for entry in first["entries"]]
    assert entries == [("token-revoke", "b"), ("token-add", "c"), ("token-add", "b")]
    second = tagger("people", "audit", "--limit", "3", "--before", first["next"], "--json").json
    assert [entry["subject"] for entry in second["entries"]] == ["a"]
    assert second["next"] is None
    assert first["entries"][0]["actor"].startswith("cli ")
    assert tagger("people", "audit", "--since", "1h", "--action", "token-revoke").text.count("\n") == 1
    who = first["entries"][0]["actor"]
    assert len(tagger("people", "audit", "--by", who, "--json").json["entries"]) == 4
    assert tagger("people", "audit", "--by", who.removeprefix("cli ")).err == "no entry matches\n"
    assert "tagger_" not in json.dumps(first)


@pytest.fixture
def share_of(library: StoredPhotos) -> Callable[[str], int]:
    def share(token_name: str) -> int:
        database = library.database.acting_as(Actor(f"web {token_name}"))
        return add_share(database, NewShare(PhotoQuery(landmark=EIFFEL), "Ours", None), {})[0].id

    return share


def test_a_revoked_token_says_which_shares_end_with_it(
    tagger: CommandRunner, share_of: Callable[[str], int]
) -> None:
    for name in ("phone", "tablet"):
        tagger("people", "token", "add", name)
        share_of(name)
    revoked = tagger("people", "token", "revoke", "phone")
    assert revoked.err == "phone is revoked, 0 sessions ended, 1 share revoked: 1\n"
    kept = tagger("people", "token", "revoke", "tablet", "--keep-shares")
    assert kept.err == "tablet is revoked, 0 sessions ended\n"
    listed = tagger("people", "share", "list", "--json").json
    assert [(share["id"], share["state"]) for share in listed] == [(2, "active"), (1, "revoked")]


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
    assert "TAGGER_WEB_URL" in added.err
    (listed,) = tagger("people", "share", "list", "--json").json
    assert (listed["name"], listed["description"]) == ("Eiffel Tower", "Eiffel Tower")
    assert listed["state"] == "active"
    assert (listed["options"], listed["photos"]) == ({"landmark": EIFFEL}, None)
    expires = datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < expires <= timedelta(days=30)
    token = link.rpartition("/")[2]
    assert len(token) == 43
    printed = tagger("people", "share", "list").text + json.dumps(tagger("people", "audit", "--json").json)
    assert token not in printed
    assert tagger("people", "share", "revoke", "1").err == "share 1 is revoked: Eiffel Tower\n"
    assert tagger("people", "share", "list", "--json").json[0]["state"] == "revoked"
    assert "revoked" in tagger("people", "share", "list").text
    actions = [entry["action"] for entry in tagger("people", "audit", "--json").json["entries"]]
    assert actions[:2] == ["share-revoke", "share-add"]


def test_the_title_of_a_share_is_printed_and_names_countries_only_with_positions(
    tagger: CommandRunner, library: StoredPhotos
) -> None:
    for more, title in (((), "Photos"), (("--with-positions",), "France")):
        added = tagger("people", "share", "add", "--country", "France", *more)
        assert f"visitors read the title: {title}\n" in added.err


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


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (("user", "add", "a b"), PASSWORD, "cannot be the name of a user"),
        (("user", "add", "ada"), b"", "fewer than 10"),
        (("user", "add", "ada", "--role", "owner"), PASSWORD, "viewer"),
        (("user", "add", "ada", "--generate", "--no-password"), b"", "use one of"),
        (("user", "role", "ada", "admin"), b"", "There is no user ada"),
        (("token", "add", "a b"), b"", "cannot be the name of a token"),
        (("token", "add", "a", "--expires", "2001-01-01"), b"", "in the past"),
        (("audit", "--since", "9999999d"), b"", "is no time"),
        (("audit", "--action", "job-make"), b"", "job-create"),
        (("share", "add"), b"", "say which photos"),
        (("share", "add", "--landmark", EIFFEL, "--selection", "photos/paris.jpg"), b"", "not both"),
        (("share", "add", "--landmark", "Atlantis"), b"", "There is no landmark Atlantis"),
        (("share", "add", "--selection", "photos/none.jpg"), b"", "no photo at"),
        (("share", "revoke", "7"), b"", "There is no share 7"),
        (("share", "add", "--landmark", EIFFEL, "--name", " "), b"", "1 to 200 characters"),
    ],
)
def test_mistakes_are_named(
    tagger: CommandRunner, arguments: tuple[str, ...], stdin: bytes, problem: str
) -> None:
    output = tagger("people", *arguments, stdin=stdin)
    assert output.code in {1, 2}
    assert problem in " ".join(output.err.replace("│", " ").split())
    recorded = [entry["action"] for entry in tagger("people", "audit", "--json").json["entries"]]
    assert recorded == ["model-add"]
