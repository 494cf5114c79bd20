"""Signing in at an OpenID Connect provider: a real page, a real provider, and what both must not believe."""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx2 as httpx
import pytest
from flask import Response
from support.oidc_provider import (
    ADA,
    CLIENT_ID,
    CLIENT_SECRET,
    CONFIGURATION,
    Claims,
    OidcProvider,
    new_key,
    token_with_mac,
    unsigned_token,
)
from support.page_server import TOKEN
from support.single_sign_on import Visitor, parameters

from tagger.database.audit_log import AuditAction, AuditEntry, AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.errors import SettingsInvalid
from tagger.people import oidc_provider as provider_module
from tagger.people.identities import link_user
from tagger.people.oidc_flow import usable_keys
from tagger.people.oidc_provider import Provider, ProviderMisconfigured, Registration
from tagger.people.tokens import add_token
from tagger.people.users import add_user, find_user_by_name, list_users
from tagger.settings import load_settings
from tagger.system.http_exchange import HttpAnswer
from tagger.web.pages import single_sign_on

PASSWORD = "correct horse battery"
Visit = Callable[..., Visitor]
pytestmark = pytest.mark.usefixtures("fast_hashes")


def entries(database: Database, action: AuditAction, *, count: int = 1) -> list[AuditEntry]:
    """The entries of this action, newest first. A refusal is written in the background."""
    until = time.monotonic() + 30
    while len(found := list_entries(database, AuditFilter((action,)), 10)) < count:
        assert time.monotonic() < until
        time.sleep(0.02)
    return list(found)


def refused(visitor: Visitor, answer: httpx.Response, status: int, text: str) -> None:
    assert (answer.status_code, text in answer.text) == (status, True), answer.text
    assert "Sign in again" in answer.text
    assert visitor.status() == 401


# --- who has access


def test_somebody_new_gets_the_role_of_the_settings(
    visit: Visit, web_database: Database, provider: OidcProvider, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = visit(web_user_role="viewer")
    page = visitor.sign_in("/places?country=France&sort=name")
    assert page.status_code == 200
    assert 'content="0; url=/places?country=France&amp;sort=name"' in page.text
    session, forgotten = page.headers.get_list("set-cookie")
    assert session.startswith("tagger_session_")
    assert all(part in session for part in ("HttpOnly", "SameSite=strict", "Max-Age=604800"))
    assert forgotten.startswith("tagger_sign_in_")
    assert "Max-Age=0" in forgotten
    assert visitor.status() == 200
    (user,) = list_users(web_database)
    assert (user.name, user.role, user.has_password) == ("ada", Role.VIEWER, False)
    assert (user.issuer, user.subject) == (provider.issuer, ADA["sub"])
    (signed_in,) = entries(web_database, AuditAction.SIGN_IN)
    assert (signed_in.actor, signed_in.subject) == ("web ada", "ada")
    expected = {"role": "viewer", "issuer": provider.issuer, "identity": ADA["sub"]}
    assert signed_in.details == {"address": "127.0.0.1"} | expected
    (added,) = entries(web_database, AuditAction.USER_ADD)
    assert added.actor == "web ada"
    assert CLIENT_SECRET not in caplog.text + page.text


def test_nobody_has_access_by_default_until_an_admin_links_them(
    visit: Visit, web_database: Database, provider: OidcProvider
) -> None:
    visitor = visit()
    refused(visitor, visitor.sign_in(), 403, f'<code class="subject">{ADA["sub"]}</code>')
    assert list_users(web_database) == []
    (entry,) = entries(web_database, AuditAction.SIGN_IN_REFUSED)
    expected = {"reason": "IdentityUnknown", "identity": ADA["sub"], "called": "Ada"}
    assert entry.details == {"address": "127.0.0.1", "issuer": provider.issuer} | expected
    add_user(web_database, "countess", Role.ADMIN, None)
    link_user(web_database, "countess", provider.issuer, ADA["sub"])
    assert visitor.sign_in().status_code == 200
    assert visitor.client.get("/admin/users").status_code == 200
    provider.person = {"sub": "another"}
    assert visitor.sign_in().status_code == 403


def test_a_name_that_somebody_has_is_never_taken_over(
    visit: Visit, web_database: Database, provider: OidcProvider
) -> None:
    add_token(web_database, "token")
    add_user(web_database, "password", Role.ADMIN, PASSWORD)
    add_user(web_database, "ada@example.org", Role.ADMIN, PASSWORD)
    for name in ("proxy", "provider"):
        add_user(web_database, name, Role.ADMIN, None)
    link_user(web_database, "provider", provider.issuer, "somebody else")
    before = list_users(web_database)
    visitor = visit(web_user_role="viewer")
    for name in ("password", "proxy", "provider", "token"):
        provider.person = {"sub": "eve", "preferred_username": name}
        refused(visitor, visitor.sign_in(), 403, f"{name} is somebody else here")
    provider.person = {"sub": "eve", "email": "ada@example.org", "email_verified": True}
    refused(visitor, visitor.sign_in(), 403, "somebody else here")
    assert list_users(web_database) == before
    assert entries(web_database, AuditAction.SIGN_IN_REFUSED)[0].details["reason"] == "IdentityNameTaken"


def test_a_name_is_one_that_the_provider_vouches_for(
    visit: Visit, web_database: Database, provider: OidcProvider
) -> None:
    visitor = visit(web_user_role="viewer")
    mail = {"email": "Ada@Example.org"}
    for subject, claims in (
        ("S-1", mail | {"preferred_username": "a b", "email_verified": True}),
        ("S-2", mail),
        ("S-3", mail | {"email_verified": "true"}),
        ("S-4", {"preferred_username": ["ada"], "email": 7}),
        ("S-5", {"preferred_username": "TAGGER_WEB_TOKEN"}),
    ):
        provider.person = {"sub": subject} | claims
        assert visitor.sign_in().status_code == 200
    names = {user.name for user in list_users(web_database)}
    assert names == {"ada@example.org", "s-2", "s-3", "s-4", "s-5"}


# --- roles of the provider


def test_the_role_follows_the_provider(visit: Visit, web_database: Database, provider: OidcProvider) -> None:
    visitor = visit(web_oidc_role_claim="groups")
    groups: list[str] = ["staff", "tagger-viewer", "tagger-editor"]
    provider.person = ADA | {"groups": groups}
    visitor.sign_in()
    assert list_users(web_database)[0].role is Role.EDITOR
    assert "groups" in provider.scopes
    provider.person = ADA | {"groups": "tagger-viewer"}
    other = Visitor(str(visitor.client.base_url))
    other.sign_in()
    assert (other.status(), visitor.status()) == (200, 401)
    assert list_users(web_database)[0].role is Role.VIEWER
    for without in ({"groups": ["admin", "editor"]}, {"groups": {"tagger-admin": 1}}, {}):
        provider.person = ADA | without
        answer = visitor.sign_in()
        refused(visitor, answer, 403, "tagger-admin, tagger-editor, tagger-viewer")
        assert other.status() == 401, "the sessions of somebody without a role have ended"
        assert list_users(web_database)[0].role is Role.VIEWER
    other.client.close()


def test_claims_that_are_told_elsewhere_only_are_asked_for(
    visit: Visit, web_database: Database, provider: OidcProvider
) -> None:
    provider.person = {"sub": ADA["sub"]}
    provider.userinfo = ADA | {"roles": ["tagger-admin"]}
    visitor = visit(web_oidc_role_claim="roles")
    assert visitor.sign_in().status_code == 200
    assert [(user.name, user.role) for user in list_users(web_database)] == [("ada", Role.ADMIN)]
    provider.userinfo = {"sub": "somebody else", "roles": ["tagger-admin"]}
    assert "speaks of two people" in visitor.sign_in().text


# --- ID tokens

DAY_S = 86_400
NOW_S = int(time.time())
WRONG_CLAIMS: list[tuple[Claims, str]] = [
    ({"nonce": "x" * 43}, "nonce is not the expected one"),
    ({"nonce": None}, "missing claim"),
    ({"aud": "another-page"}, "aud is not the expected one"),
    ({"aud": None}, "missing claim"),
    ({"aud": [CLIENT_ID, "another-page"]}, "azp is not the expected one"),
    ({"azp": "another-page"}, "azp is not the expected one"),
    ({"iss": "https://evil.example"}, "iss is not the expected one"),
    ({"exp": NOW_S - DAY_S}, "expired"),
    ({"exp": None}, "missing claim"),
    ({"iat": NOW_S + DAY_S}, "future"),
    ({"nbf": NOW_S + DAY_S}, "future"),
    ({"sub": None}, "missing claim"),
    *(({"sub": subject}, "sub is not the expected one") for subject in ("", "s" * 256, 7)),
    ({"more": "x" * 140_000}, "exceeded size"),
]
"""Claims that an ID token has instead of its own, None for one that it lacks, and what is said."""
FORGED: list[tuple[Callable[[OidcProvider, Claims], str], str]] = [
    (lambda p, c: p.signed(c | {"nonce": [c["nonce"]]}), "nonce is not the expected one"),
    (lambda _, c: unsigned_token(c), "unsupported algorithm"),
    (lambda _, c: unsigned_token(c, {"alg": "nOnE"}), "unsupported algorithm"),
    (lambda _, c: unsigned_token(c, {"alg": ["RS256"]}), "not accepted"),
    (lambda p, c: p.signed(c).rpartition(".")[0] + ".", "bad signature"),
    (
        lambda p, c: token_with_mac(c, p.key.as_pem(private=False), p.key.kid or ""),
        "unsupported algorithm",
    ),
    (lambda p, c: p.signed(c, key=new_key(p.key.kid or "")), "bad signature"),
    (lambda p, c: p.signed(c, key=new_key("second")), "invalid key id"),
    (lambda p, c: "no token", "not accepted"),
    (lambda p, c: with_payload(p, b"[]"), "not accepted"),
    (lambda p, c: with_payload(p, b"[" * 90_000), "not accepted"),
]


def test_id_tokens_that_are_not_for_this_request_sign_nobody_in(
    visit: Visit, web_database: Database, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_sign_on, "MAX_FAILURES", 1000)
    visitor = visit(web_user_role="editor")

    def changed(changes: Claims, claims: Claims) -> str:
        return provider.signed({k: v for k, v in (claims | changes).items() if v is not None})

    for make, text in (
        *((partial(changed, changes), text) for changes, text in WRONG_CLAIMS),
        *((partial(forge, provider), text) for forge, text in FORGED),
    ):
        provider.id_token = make
        answer = visitor.sign_in()
        assert answer.status_code in {403, 502}
        refused(visitor, answer, answer.status_code, text)
    assert list_users(web_database) == []
    assert entries(web_database, AuditAction.SIGN_IN_REFUSED)[0].details["issuer"] == provider.issuer
    provider.id_token = provider.signed
    assert visitor.sign_in().status_code == 200


def with_payload(provider: OidcProvider, payload: bytes) -> str:
    from joserfc.jws import serialize_compact

    header = {"alg": "RS256", "kid": provider.key.kid or ""}
    return serialize_compact(header, payload, provider.key, ["RS256"])


def test_what_providers_do_differently_is_accepted(visit: Visit, provider: OidcProvider) -> None:
    visitor = visit(web_user_role="viewer")
    changes: dict[str, Callable[[Claims], Claims]] = {
        "one audience": lambda c: c | {"aud": CLIENT_ID},
        "several audiences": lambda c: c | {"aud": [CLIENT_ID, "account"], "azp": CLIENT_ID},
        "clocks differ a little": lambda c: c | {"exp": int(time.time()) - 30},
    }
    for name, change in changes.items():
        visitor.client.cookies.clear()
        provider.id_token = lambda claims, change=change: provider.signed(change(claims))
        assert visitor.sign_in().status_code == 200, name
        assert visitor.status() == 200


def test_a_new_key_is_fetched_and_unknown_ones_not_again_and_again(
    visit: Visit, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = visit(web_user_role="viewer")
    visitor.sign_in()
    provider.key = new_key("second")
    for _ in range(3):
        assert visitor.sign_in().status_code == 403
    assert provider.requests["/keys"] == 1, "the first fetch is not a minute old"
    monkeypatch.setattr(provider_module, "RENEWAL_S", 0.0)
    provider.published_key = provider.key
    assert visitor.sign_in().status_code == 200
    assert provider.requests["/keys"] == 2
    provider.key = provider.published_key = new_key("second")  # of the same name
    assert visitor.sign_in().status_code == 200


def test_keys_that_verify_nothing_are_not_usable() -> None:
    assert usable_keys({"keys": [{"kty": "oct", "k": "AA"}, {"kty": "RSA"}]}).keys == []


def test_a_provider_of_the_network_cannot_name_a_service_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = "https://id.example"
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    document = {"issuer": issuer} | {name: f"{issuer}/{name}" for name in names}
    answers = [document | {"token_endpoint": "http://127.0.0.1:6379/"}, document]
    monkeypatch.setattr(
        provider_module,
        "exchange",
        lambda *_args, **_kwargs: HttpAnswer(200, json.dumps(answers.pop(0)).encode(), late=False),
    )
    registration = Registration(issuer, "id", "secret", "https://page.example")
    with pytest.raises(ProviderMisconfigured, match="token_endpoint"):
        Provider(registration).configuration()
    assert Provider(registration).configuration()["token_endpoint"] == f"{issuer}/token_endpoint"


# --- the way there and back


def test_the_answer_for_another_window_does_not_end_the_sign_in_of_this_one(visit: Visit) -> None:
    visitor = visit(web_user_role="viewer")
    earlier = visitor.at_provider(visitor.begin())
    later = visitor.at_provider(visitor.begin())
    assert visitor.client.get(earlier).status_code == 400
    assert visitor.client.get(later).status_code == 200


def test_the_request_has_what_protects_it(visit: Visit, provider: OidcProvider) -> None:
    begun = visit().begin()
    asked = parameters(begun.headers["location"])
    assert begun.headers["location"].startswith(f"{provider.issuer}/authorize?theme=dark&response_type=code&")
    assert (asked["code_challenge_method"], asked["scope"]) == ("S256", "openid profile email")
    cookie = begun.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=lax", "Path=/sign-in/oidc", "Max-Age=600"))
    secrets = {asked["state"], asked["nonce"], asked["code_challenge"]}
    assert len(secrets) == 3
    assert not any(secret in cookie for secret in secrets)
    assert CLIENT_SECRET not in begun.headers["location"]


def test_an_answer_counts_once_and_in_the_browser_that_asked(
    visit: Visit, web_database: Database, provider: OidcProvider
) -> None:
    visitor = visit(web_user_role="viewer")
    other = Visitor(str(visitor.client.base_url))
    back = visitor.at_provider(visitor.begin())
    kept = dict(visitor.client.cookies)
    refused(other, other.client.get(back), 400, "began in another browser")
    other.begin()
    refused(other, other.client.get(back), 400, "began in another browser")
    assert provider.requests["/token"] == 0, "the code of somebody else is not used"
    assert visitor.client.get(back).status_code == 200
    visitor.client.cookies.clear()
    refused(visitor, visitor.client.get(back), 400, "is completed already")
    visitor.client.cookies.update(kept)
    refused(visitor, visitor.client.get(back), 403, "invalid_grant")
    other.client.close()


def test_a_changed_answer_signs_nobody_in(visit: Visit, web_database: Database) -> None:
    visitor = visit(web_user_role="viewer")
    for changes in (
        *({"state": ""}, {"state": "x"}, {"state": "é"}),
        *({"code": "x"}, {"code": ""}, {"iss": "evil"}),
    ):
        answer = parameters(visitor.at_provider(visitor.begin())) | changes
        page = visitor.client.get("/sign-in/oidc/callback", params=answer)
        assert page.status_code in {400, 403, 502}, changes
        assert visitor.status() == 401, changes
    assert list_users(web_database) == []


def test_signing_in_leads_to_a_page_of_this_server(visit: Visit) -> None:
    visitor = visit(web_user_role="viewer")
    for foreign in (
        *("//evil.example", "https://evil.example/", "/\\evil.example"),
        *("javascript:alert(1)", "/\n/evil"),
    ):
        visitor.client.cookies.clear()
        page = visitor.sign_in(foreign)
        assert 'content="0; url=/"' in page.text, foreign
        assert "evil" not in page.text, foreign
    visitor.client.cookies.clear()
    assert 'content="0; url=/"' in visitor.sign_in(f"/places?q={'é' * 1000}").text  # longer than a cookie
    back = visitor.at_provider(visitor.begin())
    (name,) = [name for name in visitor.client.cookies if name.startswith("tagger_sign_in_")]
    secret = visitor.client.cookies[name].partition(".")[0]
    visitor.client.cookies.clear()
    forged = {"cookie": f"{name}={secret}.{'%2F%2Fevil.example'}"}
    page = visitor.client.get(back, headers=forged)
    assert page.status_code == 200
    assert "evil" not in page.text


def test_over_https_a_neighbouring_name_cannot_begin_the_way_for_somebody_else(visit: Visit) -> None:
    visitor = visit(web_user_role="viewer", web_url="https://photos.example")
    begun = visitor.begin()
    cookie = begun.headers["set-cookie"]
    assert cookie.startswith("__Host-tagger_sign_in_")
    assert {"Secure", "Path=/", "HttpOnly", "SameSite=lax"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()
    name, _, value = cookie.partition(";")[0].partition("=")
    state = parameters(begun.headers["location"])["state"]
    answer = {"state": state, "code": "of somebody else"}
    visitor.client.cookies.clear()
    plain = {"cookie": f"{name.removeprefix('__Host-')}={value}"}
    expired = visitor.client.get("/sign-in/oidc/callback", params=answer, headers=plain)
    assert expired.status_code == 400
    used = visitor.client.get("/sign-in/oidc/callback", params=answer, headers={"cookie": f"{name}={value}"})
    assert used.status_code == 403
    assert "Secure" in used.headers["set-cookie"]


def test_a_refusal_and_an_answer_without_a_code_are_told(visit: Visit, provider: OidcProvider) -> None:
    visitor = visit(web_user_role="viewer")
    callback = "/sign-in/oidc/callback"
    state = parameters(visitor.at_provider(visitor.begin()))["state"]
    answer = visitor.client.get(callback, params={"state": state})
    refused(visitor, answer, 403, "has sent no code")
    assert provider.requests["/token"] == 0
    state = parameters(visitor.begin().headers["location"])["state"]
    told = {"state": state, "error": "server_error", "error_description": f"<script>\n{'x' * 1000}"}
    page = visitor.client.get(callback, params=told)
    refused(visitor, page, 403, "&lt;script&gt; ")
    assert "x" * 400 not in page.text
    provider.person = None
    refused(visitor, visitor.sign_in(), 403, "access_denied")


def test_failures_are_limited_by_address(
    visit: Visit, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_sign_on, "MAX_FAILURES", 3)
    visitor = visit()
    for _ in range(3):
        assert visitor.sign_in().status_code == 403
    asked = provider.requests["/token"]
    page = visitor.sign_in()
    assert (page.status_code, page.headers["retry-after"]) == (429, "60")
    assert provider.requests["/token"] == asked


# --- a provider that does not work


BROKEN = [
    (lambda: Response("x" * 2**20), "more than 256 KiB"),
    (lambda: Response(json.dumps(["issuer"])), "not a JSON object"),
    (lambda: Response("[" * 200_000), "not a JSON object"),
    (lambda: Response("<h1>Welcome</h1>"), "not a JSON object"),
    (lambda: Response("", 500), "answers with 500"),
    (lambda: Response("", 302, {"location": "http://127.0.0.1:1/"}), "redirects are not followed"),
]
OF_ANOTHER = [
    ({"issuer": "https://other.example"}, "calls itself https://other.example"),
    ({"token_endpoint": "http://evil.example/token"}, "token_endpoint is not an https address"),
    ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri is not an https address"),
    ({"authorization_endpoint": None}, "authorization_endpoint is not an https address"),
    ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint is not"),
]


def test_a_configuration_that_is_none_or_of_another_provider_is_refused(
    visit: Visit, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "RETRY_S", 0.0)
    visitor = visit()
    for changes, text in OF_ANOTHER:
        provider.configuration = changes
        refused(visitor, visitor.begin(), 502, text)
    for answer, text in BROKEN:
        provider.answers[CONFIGURATION] = answer
        refused(visitor, visitor.begin(), 503, text)
    requests = provider.requests[CONFIGURATION]
    monkeypatch.setattr(provider_module, "RETRY_S", 600.0)
    visitor.begin()
    assert provider.requests[CONFIGURATION] == requests, "everybody is told the same for some seconds"


@pytest.mark.parametrize(
    "path", [CONFIGURATION, *(pytest.param(path, marks=pytest.mark.slow) for path in ("/keys", "/token"))]
)
def test_a_provider_that_hangs_keeps_nobody_waiting(
    visit: Visit, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    timeout_s = 1.0 if path == CONFIGURATION else 4.0  # the requests before it take part of a second
    monkeypatch.setattr(provider_module, "TIMEOUT_S", timeout_s)
    provider.answers[path] = provider.hang
    visitor = visit(web_user_role="viewer")
    page = visitor.begin()
    if path != CONFIGURATION:
        page = visitor.client.get(visitor.at_provider(page))
    refused(visitor, page, 503, f"no answer within {timeout_s:.0f} s")


def test_a_wrong_secret_is_told_and_not_shown(
    visit: Visit, provider: OidcProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.client.secret = "another"
    visitor = visit(web_user_role="viewer")
    page = visitor.sign_in()
    refused(visitor, page, 502, "invalid_client")
    assert CLIENT_SECRET not in page.text + caplog.text
    assert "nobody can sign in at the provider" in caplog.text


def test_the_secret_is_sent_as_the_provider_takes_it(visit: Visit, provider: OidcProvider) -> None:
    provider.client.method = "client_secret_post"
    assert visit(web_user_role="viewer").sign_in().status_code == 200


def test_an_answer_without_an_id_token_is_told(visit: Visit, provider: OidcProvider) -> None:
    visitor = visit(web_user_role="viewer")
    for tokens in ({}, {"id_token": 7}, {"access_token": "x", "token_type": "Bearer"}):
        provider.answers["/token"] = partial(Response, json.dumps(tokens))
        refused(visitor, visitor.sign_in(), 502, "it gives no ID token")


# --- the page to sign in, and settings


def test_the_page_offers_the_provider_first(
    visit: Visit, web_database: Database, provider: OidcProvider
) -> None:
    visitor = visit()
    address = str(visitor.client.base_url).rstrip("/")
    page = visitor.client.get("/sign-in?next=/places?a=1%26b=2").text
    assert f'href="{address}/sign-in/oidc?next=/places%3Fa%3D1%26b%3D2"' in page
    assert f"Sign in with {provider.issuer.removeprefix('http://')}" in page
    assert 'name="password"' not in page
    add_user(web_database, "bob", Role.VIEWER, PASSWORD)
    page = visitor.client.get("/sign-in").text
    assert page.index("Sign in with localhost") < page.index('name="password"') < page.index('name="token"')
    form = {"name": "bob", "password": PASSWORD}
    assert visitor.client.post("/sign-in", data=form, headers={"origin": address}).status_code == 303
    assert find_user_by_name(web_database, "bob") is not None


def test_the_way_is_no_part_of_pages_without_a_provider(client_with_token: Any) -> None:
    for path in ("/sign-in/oidc", "/sign-in/oidc/callback?code=x&state=y"):
        assert client_with_token.get(path).status_code == 404
    assert TOKEN not in client_with_token.get("/sign-in").text


REGISTRATION = {
    "TAGGER_WEB_URL": "https://photos.example",
    "TAGGER_WEB_OIDC_ISSUER": "https://sso.example/realms/home",
    "TAGGER_WEB_OIDC_CLIENT_ID": "tagger",
    "TAGGER_WEB_OIDC_CLIENT_SECRET": "geheim",
}


def test_settings_that_do_not_fit_are_refused_and_never_show_the_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in REGISTRATION.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.web_oidc_client_secret, "geheim" in repr(settings)) == ("geheim", False)
    for name, value, problem in (
        ("TAGGER_WEB_OIDC_ISSUER", "http://sso.example", "https"),
        ("TAGGER_WEB_OIDC_ISSUER", "https://ada:geheim@sso.example", "without user"),
        ("TAGGER_WEB_OIDC_CLIENT_ID", None, "register the page"),
        ("TAGGER_WEB_OIDC_CLIENT_SECRET", "", "TAGGER_WEB_OIDC_CLIENT_SECRET"),
        ("TAGGER_WEB_URL", None, "web_url"),
        ("TAGGER_WEB_OIDC_ROLE_CLAIM", "a b", "web_oidc_role_claim"),
        ("TAGGER_WEB_USER_ROLE", "admin", "viewer"),
    ):
        with monkeypatch.context() as changed:
            if value is None:
                changed.delenv(name)
            else:
                changed.setenv(name, value)
            with pytest.raises(SettingsInvalid, match=problem) as raised:
                load_settings()
        assert "geheim" not in str(raised.value)


def test_an_admin_adds_and_links_people_on_the_page(
    visit: Visit, web_database: Database, provider: OidcProvider
) -> None:
    admin = visit()
    address = str(admin.client.base_url).rstrip("/")

    def post(path: str, **form: str) -> httpx.Response:
        return admin.client.post(path, data=form, headers={"origin": address})

    assert post("/sign-in", token=TOKEN).status_code == 303
    assert post("/admin/users/add", name="ada", role="editor", subject=f" {ADA['sub']} ").status_code == 303
    (ada,) = list_users(web_database)
    assert (ada.subject, ada.issuer, ada.has_password) == (ADA["sub"], provider.issuer, False)
    visitor = Visitor(address)
    assert visitor.sign_in().status_code == 200
    assert f"linked to {provider.issuer}" in admin.client.get("/admin/users").text
    page = post("/admin/users/add", name="bob", role="viewer", subject=ADA["sub"])
    assert (page.status_code, "is linked to ada already" in page.text) == (422, True)
    add_user(web_database, "bob", Role.VIEWER, PASSWORD)
    assert post("/admin/users/link", name="bob", subject="é").status_code == 422
    assert post("/admin/users/link", name="ada", subject="").status_code == 303
    assert visitor.status() == 401
    assert post("/admin/users/link", name="bob", subject=ADA["sub"]).status_code == 303
    assert [(user.name, user.subject) for user in list_users(web_database)] == [
        ("ada", None),
        ("bob", ADA["sub"]),
    ]
    visitor.client.close()
