"""Checks of who has access: connections that others can read, passwords that leak, and single sign-on."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, urlsplit

from tagger.cli.doctor.findings import note, ok, wrong
from tagger.database.diagnostics import is_superuser
from tagger.people.oidc.provider import Provider, ProviderMisconfigured, ProviderUnavailable, registration_of
from tagger.system.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings

VERIFIED = "verify-full"
"""The only mode in which libpq checks that the certificate is that of the host."""


def check_redis_access(url: str) -> Finding:
    """Check who else can read the messages in a Redis server, or send some. `url` must be valid."""
    address = urlsplit(url)
    if not _is_remote(address.hostname):
        return ok("redis access", "the server is on this machine")
    problems = []
    if not address.password:
        problems.append("everybody who reaches it can delete jobs' messages, as it needs no password")
    if address.scheme != "rediss":
        problems.append("messages and password are sent unencrypted")
    elif _option(address, "ssl_cert_reqs") not in {"", "required"}:
        problems.append("its certificate is not checked")
    if problems:
        return note("redis access", "; ".join(problems), "docs/how-to/harden.md, Redis")
    return ok("redis access", "with a password and TLS")


def check_database_access(url: str, database: Database) -> Finding:
    """Check who else can read the connection to a PostgreSQL server, and what its role may do."""
    address = urlsplit(url)
    host = _option(address, "host") or address.hostname
    problems = []
    if _is_remote(host) and _option(address, "sslmode") != VERIFIED:
        problems.append(f"its certificate is not checked (sslmode is not {VERIFIED})")
    if is_superuser(database):
        problems.append("the role is a superuser, which may also run programs on the server")
    if problems:
        return note("database access", "; ".join(problems), "docs/how-to/harden.md, PostgreSQL")
    return ok("database access", "TLS with a checked certificate" if _is_remote(host) else "on this machine")


def _is_remote(host: str | None) -> bool:
    """Whether the host is another machine. No host, or a folder of sockets, is this one."""
    return bool(host and not host.startswith("/") and not is_loopback(host))


def _option(address: SplitResult, name: str) -> str:
    return parse_qs(address.query).get(name, [""])[-1]


def check_single_sign_on(settings: Settings) -> Iterator[Finding]:
    """No finding where people sign in to the page itself."""
    registration = registration_of(settings)
    if registration is None:
        return
    provider = Provider(registration)
    try:
        provider.configuration()
        has_keys = _has_keys(provider)
    except (ProviderUnavailable, ProviderMisconfigured) as error:
        found = f"{registration.issuer}: {error.values['reason']}"
        yield wrong("single sign-on", found, "check TAGGER_WEB_OIDC_ISSUER, and the provider's log")
    else:
        if has_keys:
            yield ok("single sign-on", f"{registration.issuer} answers")
        else:
            yield wrong(
                "single sign-on",
                f"{registration.issuer} has no key that can be used",
                "check the provider's keys",
            )


def _has_keys(provider: Provider) -> bool:
    from tagger.people.oidc.code_flow import usable_keys  # joserfc is imported only where there is a provider

    try:
        return len(usable_keys(provider.keys()).keys) > 0
    except (KeyError, TypeError, AttributeError):  # not a list of keys
        return False
