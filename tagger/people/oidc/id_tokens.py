"""Verifies ID tokens: a key of the provider signed them, for this client and this request, and they are valid now."""

import hmac
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

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

from tagger.people.names import is_subject
from tagger.people.oidc.provider import ClocksDiffer, IdentityRefused, Provider

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
    except JoseError as error:
        raise IdentityRefused(issuer=issuer, reason=_reason(error)) from error
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


def _reason(error: JoseError) -> str:
    """The reason without anything of the token, which is a secret."""
    return error.error.replace("_", " ") or type(error).__name__
