"""Checks of single sign-on: whether the provider answers, and whether its keys can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli.doctor.findings import ok, wrong
from tagger.people.oidc.errors import ProviderMisconfigured, ProviderUnavailable
from tagger.people.oidc.provider import Provider
from tagger.people.oidc.registration import registration_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.settings import Settings


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
    from tagger.people.oidc.id_tokens import usable_keys  # joserfc is imported only where there is a provider

    try:
        return len(usable_keys(provider.keys()).keys) > 0
    except (KeyError, TypeError, AttributeError):  # not a list of keys
        return False
