"""`tagger people user …`: people sign in by name, and what they may do follows their role."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.command_line import CommandRunner
from support.page_server import LOCAL_URL, TOKEN

from tagger.database.connection import Database
from tagger.settings import load_settings
from tagger.web.app import create_app
from tagger.web.http.auth import AccessPolicy

PASSWORD = b"correct horse battery\n"


def test_people_are_added_listed_changed_and_removed(tagger: CommandRunner) -> None:
    added = tagger("people", "user", "add", "Ada", "--role", "editor", stdin=PASSWORD)
    assert added.text == ""
    assert "ada is added as editor" in added.err
    assert "restart a page" in added.err
    (listed,) = tagger("people", "user", "list", "--json").json
    assert (listed["name"], listed["role"], listed["has_password"]) == ("ada", "editor", True)
    assert "password_hash" not in listed
    assert "editor" in tagger("people", "user", "list").text
    assert tagger("people", "user", "role", "ada", "admin").err == "ada is admin now, 0 sessions ended\n"
    assert tagger("people", "user", "password", "ada", "--json", stdin=PASSWORD).json == {
        "name": "ada",
        "sessions": 0,
    }
    assert tagger("people", "user", "remove", "ada").err == "ada is removed, 0 sessions ended\n"
    assert tagger("people", "user", "list", "--json").json == []
    actions = [entry["action"] for entry in tagger("people", "audit", "--json").json["entries"]]
    assert actions == ["user-remove", "user-password", "user-role", "user-add"]


def test_a_newcomer_has_a_number_where_changes_are_recorded(tagger: CommandRunner) -> None:
    tagger("people", "user", "add", "ada", "--no-password")
    tagger("people", "user", "remove", "ada")
    tagger("people", "user", "add", "ada", "--no-password")
    (listed,) = tagger("people", "user", "list", "--json").json
    assert (listed["name"], listed["recorded_name"]) == ("ada", "ada#2")
    assert "ada#2" in tagger("people", "user", "list").text
    assert "There is no user ada#1" in tagger("people", "user", "role", "ada#1", "admin").err
    assert tagger("people", "user", "role", "ada#2", "admin").code == 0
    assert tagger("people", "user", "role", "ada", "viewer").code == 0
    subjects = [entry["subject"] for entry in tagger("people", "audit", "--json").json["entries"]]
    assert subjects == ["ada#2", "ada#2", "ada#2", "ada", "ada"]


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
        assert tagger("people", "user", "remove", "ada", "--json").json == {"name": "ada", "sessions": 1}
        assert client.get("/api/landmarks").status_code == 401


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (("user", "add", "a b"), PASSWORD, "cannot be the name of a user"),
        (("user", "add", "ada"), b"short\n", "fewer than 10"),
        (("user", "add", "ada"), b"", "fewer than 10"),
        (("user", "add", "ada", "--role", "owner"), PASSWORD, "viewer"),
        (("user", "add", "ada", "--generate", "--no-password"), b"", "use one of"),
        (("user", "role", "ada", "admin"), b"", "There is no user ada"),
        (("user", "password", "ada"), PASSWORD, "There is no user ada"),
        (("user", "remove", "ada"), b"", "There is no user ada"),
    ],
)
def test_mistakes_are_named(
    tagger: CommandRunner, arguments: tuple[str, ...], stdin: bytes, problem: str
) -> None:
    output = tagger(*arguments, stdin=stdin)
    assert output.code in {1, 2}
    assert problem in " ".join(output.err.replace("│", " ").split())
    assert tagger("people", "user", "list", "--json").json == []


def test_a_terminal_asks_twice_and_shows_nothing(tagger: CommandRunner, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    program = [sys.executable, "-m", "tagger", "user", "add", "ada"]
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


def test_a_person_is_linked_to_a_provider_and_unlinked(
    tagger: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger("people", "user", "add", "ada", "--no-password")
    assert "TAGGER_WEB_OIDC_ISSUER" in tagger("people", "user", "link", "ada", "248289761001").err
    for name, value in {
        "TAGGER_WEB_URL": "https://photos.example",
        "TAGGER_WEB_OIDC_ISSUER": "https://sso.example",
        "TAGGER_WEB_OIDC_CLIENT_ID": "tagger",
        "TAGGER_WEB_OIDC_CLIENT_SECRET": "geheim",
    }.items():
        monkeypatch.setenv(name, value)
    linked = tagger("people", "user", "link", "Ada", "248289761001")
    assert linked.err == "Ada signs in with https://sso.example now, 0 sessions ended\n"
    (listed,) = tagger("people", "user", "list", "--json").json
    assert (listed["issuer"], listed["subject"]) == ("https://sso.example", "248289761001")
    assert "248289761001" in tagger("people", "user", "list").text
    assert tagger("people", "user", "add", "bob", "--subject", "7").err.startswith("bob is added as viewer")
    taken = tagger("people", "user", "link", "bob", "248289761001")
    assert (taken.code, "is linked to ada already" in taken.err) == (1, True)
    assert tagger("people", "user", "unlink", "ada", "--json").json == {"name": "ada", "sessions": 0}
    assert tagger("people", "user", "list", "--json").json[0]["subject"] is None
    entries = tagger("people", "audit", "--action", "user-link", "--json").json["entries"]
    assert [(entry["subject"], entry["details"]["identity"]) for entry in entries] == [
        ("ada", "248289761001")
    ]
