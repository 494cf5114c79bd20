"""Signing out at the provider of single sign-on: a real page and a real provider."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import select
from support.oidc_provider import ADA, CLIENT_ID, OidcProvider, claims_of
from support.single_sign_on import Visitor, parameters

from tagger.database.audit_log import AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.database.tables import page_sessions
from tagger.people.users import add_user

PASSWORD = "correct horse battery"
Visit = Callable[..., Visitor]


def sign_out(visitor: Visitor) -> httpx.Response:
    origin = str(visitor.client.base_url).rstrip("/")
    return visitor.client.post("/sign-out", headers={"origin": origin})


def stored_id_token(database: Database) -> str | None:
    """That of the only session."""
    with database.read() as connection:
        token: str | None = connection.execute(select(page_sessions.c.id_token)).scalar_one()
    return token


def address_in(page: httpx.Response) -> str:
    """Where the page leads."""
    assert page.status_code == 200, page.text
    (address,) = re.findall(r'content="0; url=([^"]+)"', page.text)
    return unescape(address)


def test_signing_out_ends_the_session_at_the_provider_too(
    visit: Visit, web_database: Database, provider: OidcProvider
) -> None:
    visitor = visit(web_user_role="viewer")
    visitor.sign_in()
    page = sign_out(visitor)
    assert "Sign out at localhost" in page.text
    assert page.headers["clear-site-data"] == '"cache"'
    assert visitor.status() == 401
    address = address_in(page)
    assert address.startswith(f"{provider.issuer}/logout?theme=dark&")
    sent = parameters(address)
    home = str(visitor.client.base_url).rstrip("/")
    assert (sent["client_id"], sent["post_logout_redirect_uri"]) == (CLIENT_ID, f"{home}/sign-in")
    assert claims_of(sent["id_token_hint"])["sub"] == ADA["sub"]
    assert visitor.client.get(address).headers["location"] == f"{home}/sign-in"
    assert provider.person is None
    assert sent["id_token_hint"] not in str(list_entries(web_database, AuditFilter(), 50))


@pytest.mark.parametrize(
    "configuration",
    [
        {"end_session_endpoint": None},
        {"end_session_endpoint": "http://sso.example/logout"},
        {"end_session_endpoint": ["x"]},
    ],
)
def test_without_a_way_to_sign_out_there_people_are_signed_out_here(
    visit: Visit,
    web_database: Database,
    provider: OidcProvider,
    configuration: dict[str, Any],
) -> None:
    provider.configuration = configuration
    visitor = visit(web_user_role="viewer")
    assert visitor.sign_in().status_code == 200
    assert stored_id_token(web_database) is None, "nothing asks for it"
    answer = sign_out(visitor)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert visitor.status() == 401


@pytest.mark.usefixtures("fast_hashes")
def test_who_signed_in_with_a_password_is_not_led_to_the_provider(
    visit: Visit, web_database: Database
) -> None:
    add_user(web_database, "bob", Role.VIEWER, PASSWORD)
    visitor = visit()
    form = {"name": "bob", "password": PASSWORD}
    origin = {"origin": str(visitor.client.base_url).rstrip("/")}
    assert visitor.client.post("/sign-in", data=form, headers=origin).status_code == 303
    assert sign_out(visitor).headers["location"] == "/sign-in"


@pytest.mark.parametrize("claims", [{}, {"groups": ["x" * 50] * 100}], ids=["short", "long"])
def test_another_provider_of_the_settings_learns_nothing_about_who_signed_in_before(
    visit: Visit, provider: OidcProvider, claims: dict[str, Any]
) -> None:
    provider.person = ADA | claims
    before = visit(web_user_role="viewer")
    before.sign_in()
    with OidcProvider() as other:
        after = visit(web_user_role="viewer", web_oidc_issuer=other.issuer)
        after.client.cookies.update(before.client.cookies)
        assert after.status() == 200, "the session goes on"
        answer = sign_out(after)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert after.status() == 401


def test_a_long_id_token_is_not_kept(visit: Visit, web_database: Database, provider: OidcProvider) -> None:
    provider.person = ADA | {"groups": ["x" * 50] * 100}
    visitor = visit(web_user_role="viewer")
    visitor.sign_in()
    assert stored_id_token(web_database) == ""
    assert parameters(address_in(sign_out(visitor))).keys() == {
        "theme",
        "client_id",
        "post_logout_redirect_uri",
    }
