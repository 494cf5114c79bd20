"""Whom the provider has signed in: the code that a browser brings back is exchanged for an identity."""

from collections.abc import Mapping
from typing import Any

from tagger.people.grants import Role
from tagger.people.identities import Identity
from tagger.people.oidc.authorization import AuthorizationRequest
from tagger.people.oidc.errors import (
    IdentityRefused,
    ProviderMisconfigured,
    SignInDenied,
    SignInExpired,
)
from tagger.people.oidc.provider import Provider
from tagger.people.oidc.sign_out import signs_out

ROLES = {f"tagger-{role}": role for role in (Role.ADMIN, Role.EDITOR, Role.VIEWER)}
"""What the claim of roles may have, the highest first."""
_NAME = "preferred_username"
_OF_CLIENT = ("invalid_client", "unauthorized_client", "unsupported_grant_type")
"""Errors of the token endpoint that the settings cause, not the code."""


def identify(provider: Provider, request: AuthorizationRequest, answer: Mapping[str, str]) -> Identity:
    """Return whom the provider has signed in. `answer`: the parameters with which the browser came back.

    The identity has no role if the provider gives none, or if the settings name no claim of roles.

    Raises:
        SignInFailed: nobody, or the provider's answer is not accepted.
    """
    registration = provider.registration
    if not request.belongs_to(answer.get("state", "")):
        raise SignInExpired
    if answer.get("iss", registration.issuer) != registration.issuer:
        raise IdentityRefused(issuer=registration.issuer, reason="it is the answer of another provider")
    if "error" in answer:
        raise SignInDenied(issuer=registration.issuer, reason=_told(answer))
    if not answer.get("code"):
        raise SignInDenied(issuer=registration.issuer, reason="it has sent no code")
    tokens = _tokens(provider, request, answer["code"])
    claims = _claims(provider, request, tokens)
    role = None if registration.role_claim is None else _role(claims, registration.role_claim)
    id_token = tokens["id_token"] if signs_out(provider) else None
    return Identity(registration.issuer, claims["sub"], _names(claims), role, id_token)


def _claims(provider: Provider, request: AuthorizationRequest, tokens: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of the ID token, completed by what the provider tells at another address only."""
    # joserfc takes a while to import, and many installations need none of it.
    from tagger.people.oidc.id_tokens import verified_claims

    issuer, claim = provider.registration.issuer, provider.registration.role_claim
    id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
    if not isinstance(id_token, str):
        raise ProviderMisconfigured(issuer=issuer, reason="it gives no ID token")
    claims = verified_claims(provider, id_token, request.nonce)
    wanted = {_NAME} if claim is None else {_NAME, claim}
    if wanted <= claims.keys() or not isinstance(access_token, str):
        return claims
    more = provider.userinfo(access_token)
    if more and more.get("sub") != claims["sub"]:
        raise IdentityRefused(issuer=issuer, reason="it speaks of two people")
    return {**more, **claims}


def _tokens(provider: Provider, request: AuthorizationRequest, code: str) -> dict[str, Any]:
    registration = provider.registration
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": registration.redirect_url,
        "code_verifier": request.code_verifier,
    }
    status, document = provider.token_document(form)
    if status == 200:
        return document
    reason = _told({name: text for name, text in document.items() if isinstance(text, str)})
    if document.get("error") in _OF_CLIENT:
        raise ProviderMisconfigured(issuer=registration.issuer, reason=f"it answers with {reason}")
    raise SignInDenied(issuer=registration.issuer, reason=reason)


def _told(answer: Mapping[str, str]) -> str:
    """Why the provider refuses, in its words: one line, not too long."""
    text = ": ".join(filter(None, (answer.get("error"), answer.get("error_description"))))
    return "".join(character if character.isprintable() else " " for character in text)[:300] or "no reason"


def _role(claims: Mapping[str, Any], claim: str) -> Role | None:
    value = claims.get(claim)
    given = value if isinstance(value, list) else [value]
    return next((role for name, role in ROLES.items() if name in given), None)


def _names(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """What the person can be called here, best first. A mail address that the provider has not checked is none."""
    mail = claims.get("email") if claims.get("email_verified") is True else None
    return tuple(name for name in (claims.get(_NAME), mail, claims["sub"]) if isinstance(name, str))
