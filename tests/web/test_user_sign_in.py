"""Signing in with a name and a password over HTTP: what it answers to strangers, and what each role may do."""

from collections.abc import Callable

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient
from support.page_server import LOCAL_URL, TOKEN

from tagger.database.audit_log import AuditAction, AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.people import passwords
from tagger.people.users import add_user

ORIGIN = {"origin": LOCAL_URL}
PASSWORD = "correct horse battery"
ClientOf = Callable[..., TestClient]
pytestmark = pytest.mark.usefixtures("fast_hashes")


def sign_in(client: TestClient, name: str = "ada", password: str = PASSWORD, **form: str) -> httpx.Response:
    return client.post("/sign-in", data={"name": name, "password": password} | form, headers=ORIGIN)


def status(client: TestClient) -> int:
    return client.get("/api/openapi.json").status_code


def test_the_page_asks_for_a_name_once_there_are_people(
    client_with_token: TestClient, web_database: Database
) -> None:
    assert 'name="password"' not in client_with_token.get("/sign-in").text
    add_user(web_database, "ada", Role.VIEWER, PASSWORD)
    page = client_with_token.get("/sign-in").text
    assert 'name="password"' in page
    assert 'name="token"' in page
    assert client_with_token.post("/sign-in", data={"token": TOKEN}, headers=ORIGIN).status_code == 303


def test_a_wrong_name_and_a_wrong_password_have_the_same_answer(
    client_of: ClientOf, web_database: Database
) -> None:
    add_user(web_database, "ada", Role.VIEWER, PASSWORD)
    answers = [
        sign_in(client_of("0.0.0.0", TOKEN), name, password)
        for name, password in (("ada", "wrong password"), ("eve", "wrong password"), ("eve", PASSWORD))
    ]
    assert {answer.status_code for answer in answers} == {403}
    texts = {answer.text.replace('value="ada"', "").replace('value="eve"', "") for answer in answers}
    assert len(texts) == 1
    assert "wrong password" not in texts.pop().replace("The name or the password is wrong", "")


def test_the_limit_holds_for_unknown_names_and_for_all_servers(
    client_of: ClientOf, web_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    add_user(web_database, "ada", Role.VIEWER, PASSWORD)
    servers = [client_of("0.0.0.0", TOKEN), client_of("0.0.0.0", TOKEN)]
    for name in ("ada", "eve"):
        for number in range(passwords.OF_PAIR.most):
            assert sign_in(servers[number % 2], name, f"wrong password {number}").status_code == 403
        for server in servers:
            refused = sign_in(server, name)
            assert refused.status_code == 429
            assert 0 < int(refused.headers["retry-after"]) <= passwords.OF_PAIR.window_s
            assert "Too many wrong passwords" in refused.text
    assert caplog.messages.count("wrong password from testclient") == 2 * passwords.OF_PAIR.most
    servers[0].app.state.authenticator.recorder.close()  # type: ignore[attr-defined]
    recorded = list_entries(web_database, AuditFilter((AuditAction.SIGN_IN_REFUSED,)), 100)
    assert {entry.subject for entry in recorded} == {"ada", None}
    assert "wrong password" not in str(recorded)


def test_a_session_is_new_at_each_sign_in_and_the_former_one_ends(
    client_of: ClientOf, web_database: Database
) -> None:
    add_user(web_database, "ada", Role.VIEWER, PASSWORD)
    client, attacker = client_of("0.0.0.0", TOKEN), client_of("0.0.0.0", TOKEN)
    name = client.app.state.authenticator.cookie  # type: ignore[attr-defined]
    chosen = "c" * 43
    sessions = [chosen]
    for _ in range(2):
        client.cookies.set(name, sessions[-1])
        sessions.append(sign_in(client).cookies[name])
        client.cookies.clear()
    assert len(set(sessions)) == 3
    valid = []
    for session in sessions:
        attacker.cookies.clear()
        attacker.cookies.set(name, session)
        valid.append(status(attacker) == 200)
    assert valid == [False, False, True]


def test_odd_forms_are_wrong_and_no_errors(client_with_token: TestClient, web_database: Database) -> None:
    add_user(web_database, "ada", Role.VIEWER, PASSWORD)
    headers = ORIGIN | {"content-type": "application/x-www-form-urlencoded"}
    for name, password in (
        *(("ada", ""), ("", PASSWORD), ("ada\x00", PASSWORD), ("ada", "?" * 10)),
        *(("' OR 1=1 --", PASSWORD), ("x" * 150, "y" * 900)),
    ):
        body = str(httpx.QueryParams({"name": name, "password": password}))
        assert client_with_token.post("/sign-in", content=body, headers=headers).status_code == 403
