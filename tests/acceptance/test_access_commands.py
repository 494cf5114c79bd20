"""`tagger people token …` and `tagger people audit`: a token works until it is revoked, and everything leaves a trace."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient
from support.command_line import CommandRunner
from support.page_server import LOCAL_URL, TOKEN

from tagger.database.connection import Database
from tagger.settings import load_settings
from tagger.web.app import create_app
from tagger.web.http.auth import AccessPolicy


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
    again = tagger("people", "token", "revoke", "phone")
    assert again.code == 1
    assert "There is no token phone" in again.err


def test_a_token_is_revoked_by_its_number_and_no_other_of_its_name(tagger: CommandRunner) -> None:
    tagger("people", "token", "add", "phone")
    tagger("people", "token", "revoke", "phone#1")
    tagger("people", "token", "add", "phone")
    refused = tagger("people", "token", "revoke", "phone#1")
    assert (refused.code, "There is no token phone#1" in refused.err) == (1, True)
    assert names(tagger) == ["phone"]
    assert tagger("people", "token", "revoke", "phone#2", "--json").json == {"name": "phone#2", "sessions": 0}
    assert names(tagger) == []


def test_a_token_opens_the_page_until_it_is_revoked(tagger: CommandRunner, sqlite_database: Database) -> None:
    secret = tagger("people", "token", "add", "phone", "--json").json["token"]
    app = create_app(load_settings(), sqlite_database, AccessPolicy("0.0.0.0", 8080, TOKEN))
    with TestClient(app, base_url=LOCAL_URL) as client:
        headers = {"authorization": f"Bearer {secret}"}
        assert client.get("/api/openapi.json", headers=headers).status_code == 200
        app.state.authenticator.close()
        assert tagger("people", "token", "list", "--json").json[0]["last_used_at"] is not None
        tagger("people", "token", "revoke", "phone")
        assert client.get("/api/openapi.json", headers=headers).status_code == 401
    refused = tagger("people", "audit", "--action", "sign-in-refused", "--json").json["entries"]
    assert [entry["details"]["address"] for entry in refused] == ["testclient"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("token", "add", "a b"), "cannot be the name of a token"),
        (("token", "add", "a", "--expires", "2001-01-01"), "in the past"),
        (("token", "add", "a", "--expires", "soon"), "is no time"),
        (("audit", "--since", "9999999d"), "is no time"),
        (("audit", "--action", "job-make"), "job-create"),
    ],
)
def test_mistakes_are_named(tagger: CommandRunner, arguments: tuple[str, ...], problem: str) -> None:
    output = tagger(*arguments)
    assert output.code in {1, 2}
    assert problem in " ".join(output.err.replace("│", " ").split())


def test_the_audit_log_is_listed_page_by_page(tagger: CommandRunner) -> None:
    for name in ("a", "b", "c"):
        tagger("people", "token", "add", name)
    tagger("people", "token", "revoke", "b")
    first = tagger("people", "audit", "--limit", "3", "--json").json
    assert [(entry["action"], entry["subject"]) for entry in first["entries"]] == [
        ("token-revoke", "b"),
        ("token-add", "c"),
        ("token-add", "b"),
    ]
    second = tagger("people", "audit", "--limit", "3", "--before", first["next"], "--json").json
    assert [entry["subject"] for entry in second["entries"]] == ["a"]
    assert second["next"] is None
    assert first["entries"][0]["actor"].startswith("cli ")
    assert tagger("people", "audit", "--since", "1h", "--action", "token-revoke").text.count("\n") == 1
    who = first["entries"][0]["actor"]
    assert len(tagger("people", "audit", "--by", who, "--json").json["entries"]) == 4
    assert tagger("people", "audit", "--by", who.removeprefix("cli ")).err == "no entry matches\n"
    assert tagger("people", "audit", "--since", "2100-01-01").err == "no entry matches\n"
    assert "tagger_" not in json.dumps(first)
