"""Sign-in, account, people and sessions on the page: what it answers to strangers, who changes what."""

import re
from collections.abc import Callable

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient
from support.page_server import LOCAL_URL, TOKEN

from tagger.database.audit_log import AuditAction, AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.people import passwords
from tagger.people.sessions import list_sessions
from tagger.people.tokens import add_token
from tagger.people.users import add_user, list_users
from tagger.web.pages.sign_in import browser_name

ORIGIN = {"origin": LOCAL_URL}
PASSWORD, OTHER = "correct horse battery", "another long password"
ClientOf = Callable[..., TestClient]
pytestmark = pytest.mark.usefixtures("fast_hashes")


@pytest.fixture
def sign_in(client_of: ClientOf, web_database: Database) -> Callable[..., TestClient]:
    """Add the person if they are new, and sign in with another browser."""

    def signed_in(name: str, role: Role = Role.VIEWER, password: str = PASSWORD) -> TestClient:
        if name not in {user.name for user in list_users(web_database)}:
            add_user(web_database, name, role, password)
        client = client_of("0.0.0.0", TOKEN)
        form = {"name": name, "password": password}
        assert client.post("/sign-in", data=form, headers=ORIGIN).status_code == 303
        return client

    return signed_in


def post(client: TestClient, path: str, **form: object) -> int:
    return client.post(path, data=form, headers=ORIGIN).status_code


# --- the first person


def test_the_first_person_is_asked_to_sign_in_by_a_running_page(
    client: TestClient, web_database: Database
) -> None:
    assert client.get("/photos?any_rank=1").status_code == 200
    assert client.get("/sign-in").status_code == 404
    add_user(web_database, "ada", Role.VIEWER, PASSWORD)
    page = client.get("/admin/users", headers={"accept": "text/html"})
    assert page.headers["location"] == "/sign-in?next=/admin/users"
    assert client.get("/api/landmarks").status_code == 401
    assert client.post("/api/favourites", json={}, headers=ORIGIN).status_code == 401
    form = {"name": "ada", "password": PASSWORD}
    assert client.post("/sign-in", data=form, headers=ORIGIN).status_code == 303
    assert 'href="/account"' in client.get("/photos?any_rank=1").text
    assert client.get("/admin/users").status_code == 403


def test_a_session_of_before_has_the_rights_of_its_role_in_the_first_request(
    sign_in: Callable[..., TestClient], client: TestClient
) -> None:
    client.cookies.update(sign_in("ada").cookies)
    assert client.get("/admin/users").status_code == 403


# --- roles


def test_named_tokens_are_no_admins_and_that_of_the_settings_is(
    client_with_token: TestClient, web_database: Database
) -> None:
    _, secret = add_token(web_database, "phone")
    for token, status in ((secret, 403), (TOKEN, 200)):
        headers = {"authorization": f"Bearer {token}"}
        assert client_with_token.get("/admin/users", headers=headers).status_code == status


# --- the own account


def test_everybody_sees_who_they_are(sign_in: Callable[..., TestClient], web_database: Database) -> None:
    page = sign_in("ada", Role.EDITOR).get("/account").text
    assert "Signed in as editor" in page
    assert "Change your password" in page
    client = sign_in("bob", Role.ADMIN)
    assert "/admin/users" in client.get("/account").text
    token = {"authorization": f"Bearer {add_token(web_database, 'phone', read_only=True)[1]}"}
    client.cookies.clear()
    page = client.get("/account", headers=token).text
    assert "A token" in page
    assert 'name="current"' not in page


def test_changing_the_password_keeps_this_session_alone(
    sign_in: Callable[..., TestClient], web_database: Database
) -> None:
    here, elsewhere, bob = sign_in("ada"), sign_in("ada"), sign_in("bob")
    change = {"current": PASSWORD, "new": OTHER, "again": OTHER}
    assert post(here, "/account/password", **change | {"again": OTHER + "x"}) == 422
    assert post(here, "/account/password", **change | {"new": "short", "again": "short"}) == 422
    assert post(here, "/account/password", **change | {"current": "wrong password"}) == 403
    assert elsewhere.get("/account").status_code == 200
    assert post(here, "/account/password", **change) == 303
    assert "Your password is changed" in here.get("/account?done=password").text
    assert [client.get("/account").status_code for client in (here, elsewhere, bob)] == [200, 401, 200]
    sign_in("ada", password=OTHER)
    (entry,) = [
        each for each in list_entries(web_database, AuditFilter(), 50) if each.action == "user-password"
    ]
    assert (entry.actor, entry.subject) == ("web ada", "ada")


def test_a_stolen_session_cannot_guess_the_password_and_weak_new_ones_are_no_guesses(
    sign_in: Callable[..., TestClient],
) -> None:
    thief, person = sign_in("ada"), sign_in("bob")
    guess = {"new": OTHER, "again": OTHER}
    weak = {"current": PASSWORD, "new": "short", "again": "short"}
    for number in range(passwords.OF_PAIR.most):
        assert post(thief, "/account/password", current=f"wrong password {number}", **guess) == 403
        assert post(person, "/account/password", **weak) == 422
    assert post(thief, "/account/password", current=PASSWORD, **guess) == 429
    assert post(person, "/account/password", current=PASSWORD, **guess) == 303


def test_a_person_ends_own_sessions_and_no_others(
    sign_in: Callable[..., TestClient], web_database: Database
) -> None:
    here, elsewhere, bob = sign_in("ada"), sign_in("ada"), sign_in("bob", Role.ADMIN)
    ids = {session.id: session.name for session in list_sessions(web_database)}
    for session, name in ids.items():
        if name == "bob":
            assert post(here, "/account/sessions/end", session=session) == 404
    shown = re.findall(r'name="session" value="(\d+)"', here.get("/account").text)
    assert len(shown) == 1
    assert post(here, "/account/sessions/end", session=shown[0]) == 303
    assert [client.get("/account").status_code for client in (here, elsewhere, bob)] == [200, 401, 200]
    assert post(here, "/account/sessions/end", session=shown[0]) == 404
    for odd in ("", "-1", "x", 2**63):
        assert post(here, "/account/sessions/end", session=odd) == 422


# --- admins


def test_an_admin_adds_changes_and_removes_people(
    sign_in: Callable[..., TestClient], web_database: Database
) -> None:
    admin = sign_in("ada", Role.ADMIN)
    page = admin.post("/admin/users/add", data={"name": "Bob", "role": "editor"}, headers=ORIGIN)
    assert page.headers["cache-control"] == "no-store"
    (first,) = re.findall(r'class="password">([^<]+)<', page.text)
    bob = sign_in("bob", password=first)
    assert first not in admin.get("/admin/users").text
    assert post(admin, "/admin/users/role", name="bob", role="viewer") == 303
    assert bob.get("/account").status_code == 401
    page = admin.post("/admin/users/password", data={"name": "bob"}, headers=ORIGIN)
    (second,) = re.findall(r'class="password">([^<]+)<', page.text)
    bob = sign_in("bob", password=second)
    (of_bob,) = [each.id for each in list_sessions(web_database) if each.name == "bob"]
    assert post(admin, "/admin/sessions/end", session=of_bob) == 303
    assert bob.get("/account").status_code == 401
    assert post(admin, "/admin/users/remove", name="bob") == 303
    assert [user.name for user in list_users(web_database)] == ["ada"]
    for path, form, status in (
        ("add", {"name": "a b", "role": "viewer"}, 422),
        ("add", {"name": "ada", "role": "viewer"}, 422),
        ("add", {"name": "eve", "role": "owner"}, 422),
        ("role", {"name": "eve", "role": "admin"}, 422),
        ("password", {"name": "eve"}, 422),
        ("remove", {"name": "eve"}, 422),
    ):
        assert post(admin, f"/admin/users/{path}", **form) == status, path
    again = admin.post("/admin/users/add", data={"name": "ada", "role": "viewer"}, headers=ORIGIN)
    assert "already a person or token with the name ada" in again.text
    assert "tagger people user" not in again.text
    actors = {each.actor for each in list_entries(web_database, AuditFilter(), 50) if each.subject == "bob"}
    assert actors == {"web ada", "web bob"}


def test_a_page_that_is_out_of_date_says_so(
    sign_in: Callable[..., TestClient], web_database: Database
) -> None:
    admin = sign_in("ada", Role.ADMIN)
    for path, form in (("role", {"role": "admin"}), ("password", {}), ("remove", {})):
        answer = admin.post(f"/admin/users/{path}", data={"name": "bob", **form}, headers=ORIGIN)
        assert answer.status_code == 422
        assert "There is no bob any more" in answer.text
    add_user(web_database, "bob", Role.VIEWER, PASSWORD)
    assert post(admin, "/admin/users/role", name="bob", role="editor") == 303
    shown = admin.post("/admin/users/password", data={"name": "bob"}, headers=ORIGIN).text
    assert "The password of <strong>bob</strong> is" in shown


def test_browsers_have_names_and_what_they_say_is_text(
    sign_in: Callable[..., TestClient], client_of: ClientOf
) -> None:
    sign_in("ada")
    client = client_of("0.0.0.0", TOKEN)
    headers = ORIGIN | {"user-agent": "<script>alert(1)</script>" + "x" * 5000}
    client.post("/sign-in", data={"name": "ada", "password": PASSWORD}, headers=headers)
    assert "<script>alert" not in client.get("/account").text
    chrome = "AppleWebKit/537.36 Chrome/138.0"
    for said, name in (
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0) {chrome} Safari/537.36 Edg/138.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5) Version/18.5 Safari/604.1", "Safari on iPhone"),
        (f"Mozilla/5.0 (Linux; Android 15) {chrome} Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.0", "Unknown browser"),
        (None, "Unknown browser"),
    ):
        assert browser_name(said) == name


def ask_to_sign_in(
    client: TestClient, name: str = "ada", password: str = PASSWORD, **form: str
) -> httpx.Response:
    return client.post("/sign-in", data={"name": name, "password": password} | form, headers=ORIGIN)


def status_of(client: TestClient) -> int:
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
        ask_to_sign_in(client_of("0.0.0.0", TOKEN), name, password)
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
            assert ask_to_sign_in(servers[number % 2], name, f"wrong password {number}").status_code == 403
        for server in servers:
            refused = ask_to_sign_in(server, name)
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
        sessions.append(ask_to_sign_in(client).cookies[name])
        client.cookies.clear()
    assert len(set(sessions)) == 3
    valid = []
    for session in sessions:
        attacker.cookies.clear()
        attacker.cookies.set(name, session)
        valid.append(status_of(attacker) == 200)
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
