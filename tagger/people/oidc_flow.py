"""The sign-in at a provider: the request with which a browser goes there, whom it brings back, and signing out there again.

It is the authorization code flow with PKCE. The server stores nothing for people who have not signed in: all that is remembered of a
request is one secret in a cookie of that browser. What the provider and others see is derived from the secret, so the answer for one
browser is of no use in another. An ID token counts if a key of the provider signed it, for this client and this request, and it is valid
now.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

from joserfc.errors import (
    BadSignatureError,
    ExpiredTokenError,
    InvalidClaimError,
    InvalidKeyIdError,
    JoseError,
)
from joserfc.jwk import JWKRegistry, Key, KeySet
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry, decode

from tagger.database.enums import Role
from tagger.people.identities import Identity
from tagger.people.oidc_provider import (
    ClocksDiffer,
    IdentityRefused,
    Provider,
    ProviderMisconfigured,
    SignInDenied,
    SignInExpired,
)
from tagger.people.sessions import ProviderSession
from tagger.people.users import is_subject

SECRET_LENGTH = 43
_SCOPES = ("openid", "profile", "email")
ROLES = {f"tagger-{role}": role for role in (Role.ADMIN, Role.EDITOR, Role.VIEWER)}
"""The roles by their names in the claim of roles, the highest first."""
_NAME = "preferred_username"
_OF_CLIENT = ("invalid_client", "unauthorized_client", "unsupported_grant_type")
"""Errors of the token endpoint that wrong settings cause, rather than a wrong code."""


@dataclass(frozen=True)
class AuthorizationRequest:
    """`state` binds the answer to the browser, `nonce` the identity to the request, and `code_verifier` the code to this server (PKCE)."""

    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        return cls(secrets.token_urlsafe(32))

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def code_verifier(self) -> str:
        return self._derived("code verifier")

    def belongs_to(self, state: str) -> bool:
        """Whether an answer with this state belongs to this request."""
        is_secret = len(self.secret) == SECRET_LENGTH
        return is_secret and hmac.compare_digest(self.state.encode(), state.encode(errors="replace"))

    def _derived(self, purpose: str) -> str:
        return _encoded(hmac.digest(self.secret.encode(errors="replace"), purpose.encode(), "sha256"))


def authorization_url(provider: Provider, request: AuthorizationRequest) -> str:
    """The address at the provider where a person signs in for this request.

    Raises:
        ProviderUnavailable, ProviderMisconfigured: the provider does not say where.
    """
    configuration, registration = provider.configuration(), provider.registration
    claim, supported = registration.role_claim, configuration.get("scopes_supported")
    # If the provider has a scope of the claim's name, as many have for groups, it sends the claim only if that scope is requested.
    scopes = (*_SCOPES, claim) if claim and isinstance(supported, list) and claim in supported else _SCOPES
    return _with_query(
        configuration["authorization_endpoint"],
        response_type="code",
        client_id=registration.client_id,
        redirect_uri=registration.redirect_url,
        scope=" ".join(dict.fromkeys(scopes)),
        state=request.state,
        nonce=request.nonce,
        code_challenge=_encoded(hashlib.sha256(request.code_verifier.encode()).digest()),
        code_challenge_method="S256",
    )


def _with_query(address: str, **parameters: str) -> str:
    address = address.partition("#")[0]
    return f"{address}{'&' if '?' in address else '?'}{urlencode(parameters)}"


def _encoded(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def identify(provider: Provider, request: AuthorizationRequest, answer: Mapping[str, str]) -> Identity:
    """Return the identity of the person whom the provider has signed in. `answer`: the parameters with which the browser came back.

    The identity has no role if the provider gives none, or if the settings name no claim of roles.

    Raises:
        SignInFailed: the provider signed in nobody, or its answer is not accepted.
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
    id_token = tokens["id_token"] if "end_session_endpoint" in provider.configuration() else None
    return Identity(registration.issuer, claims["sub"], _names(claims), role, id_token)


def _claims(provider: Provider, request: AuthorizationRequest, tokens: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of the ID token, completed by those that the provider sends from its userinfo endpoint only."""
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
    """The provider's own reason for its refusal, as one short line."""
    text = ": ".join(filter(None, (answer.get("error"), answer.get("error_description"))))
    return "".join(character if character.isprintable() else " " for character in text)[:300] or "no reason"


def _role(claims: Mapping[str, Any], claim: str) -> Role | None:
    value = claims.get(claim)
    given = value if isinstance(value, list) else [value]
    return next((role for name, role in ROLES.items() if name in given), None)


def _names(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that the person can have here, best first. A mail address counts only if the provider has verified it."""
    mail = claims.get("email") if claims.get("email_verified") is True else None
    return tuple(name for name in (claims.get(_NAME), mail, claims["sub"]) if isinstance(name, str))


def sign_out_url(provider: Provider, session: ProviderSession) -> str | None:
    """The address at the provider that signs a browser out and sends it back; None if there is none.

    It contains the ID token of the sign-in, so that the provider need not ask who signs out. If the settings named another provider at
    the time of the sign-in, there is no address: a token is sent to its own provider only.

    Raises:
        ProviderUnavailable, ProviderMisconfigured: the provider does not say.
    """
    registration = provider.registration
    if session.issuer != registration.issuer:
        return None
    endpoint = provider.configuration().get("end_session_endpoint")
    if endpoint is None:
        return None
    hint = {"id_token_hint": session.id_token} if session.id_token else {}
    return _with_query(
        endpoint,
        client_id=registration.client_id,
        post_logout_redirect_uri=registration.signed_out_url,
        **hint,
    )


ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Algorithms that use a private key of the provider. `none` signs nothing, and HS256 uses a key that is not the provider's alone."""
KEY_TYPES = ("RSA", "EC")
LEEWAY_S = 60
"""How far the clocks of the provider and of this machine may differ."""
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What joserfc raises, besides its own errors, for tokens and keys with values of wrong types."""


def verified_claims(provider: Provider, id_token: str, nonce: str) -> dict[str, Any]:
    """The claims of an ID token that the provider has given to this client in answer to the request with this nonce.

    Raises:
        IdentityRefused, ClocksDiffer: the token is not valid.
        ProviderUnavailable, ProviderMisconfigured: its keys are not known.
    """
    issuer = provider.registration.issuer
    try:
        claims = _signed_claims(provider, id_token)
        _check_claims(claims, issuer, provider.registration.client_id, nonce)
    except ExpiredTokenError as error:
        raise ClocksDiffer(issuer=issuer, reason="its answer has expired already") from error
    except InvalidClaimError as error:
        if error.claim in {"iat", "nbf"}:
            raise ClocksDiffer(issuer=issuer, reason="its answer is from the future") from error
        raise IdentityRefused(issuer=issuer, reason=f"{error.claim} is not the expected one") from error
    except JoseError as error:  # its own text may have parts of the token, which is a secret
        reason = error.error.replace("_", " ") or type(error).__name__
        raise IdentityRefused(issuer=issuer, reason=reason) from error
    except _MALFORMED as error:
        raise IdentityRefused(issuer=issuer, reason="it is malformed") from error
    return claims


def _signed_claims(provider: Provider, id_token: str) -> dict[str, Any]:
    # Some providers have headers of their own, which mean nothing here. Critical ones are refused all the same.
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    try:
        token = decode(id_token, usable_keys(provider.keys()), registry=registry)
    except (InvalidKeyIdError, BadSignatureError):  # the provider may have a new key, also of the same name
        token = decode(id_token, usable_keys(provider.keys(renewed=True)), registry=registry)
    claims: Any = token.claims  # of whatever type the JSON has
    if not isinstance(claims, dict):
        raise TypeError
    return claims


def usable_keys(document: Mapping[str, Any]) -> KeySet:
    """The keys that can verify signatures. Unsupported ones are left out: one of them must not prevent all sign-ins."""
    keys: list[Key] = []
    for described in document["keys"]:
        if described.get("kty") in KEY_TYPES and described.get("use", "sig") == "sig":
            with suppress(JoseError, *_MALFORMED):
                keys.append(JWKRegistry.import_key(described))
    return KeySet(keys)


def _check_claims(claims: Mapping[str, Any], issuer: str, client_id: str, nonce: str) -> None:
    JWTClaimsRegistry(
        leeway=LEEWAY_S,
        iss={"essential": True, "value": issuer},
        sub={"essential": True},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True},
    ).validate(dict(claims))
    if not hmac.compare_digest(str(claims["nonce"]).encode(errors="replace"), nonce.encode()):
        raise InvalidClaimError("nonce")
    audience = claims["aud"]
    is_only = audience in (client_id, [client_id])
    if claims.get("azp", client_id if is_only else None) != client_id:  # given to another client
        raise InvalidClaimError("azp")
    if not is_subject(claims["sub"]):
        raise InvalidClaimError("sub")
