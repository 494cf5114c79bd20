"""The request with which a browser goes to the provider, and comes back.

All that is remembered of it is one secret, in a cookie of that browser. What the provider and others see is derived from the secret, so
the server stores nothing for people who have not signed in, and the answer for one browser is of no use in another.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlencode

from tagger.people.oidc.provider import Provider

SECRET_LENGTH = 43
_SCOPES = ("openid", "profile", "email")


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
        """Whether an answer with this state is one to this request."""
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
    claim = registration.role_claim
    # A provider that has a scope of the claim's name, as many have for groups, tells it only if it is asked for.
    scopes = (*_SCOPES, claim) if claim is not None and claim in configuration.scopes else _SCOPES
    parameters = {
        "response_type": "code",
        "client_id": registration.client_id,
        "redirect_uri": registration.redirect_url,
        "scope": " ".join(dict.fromkeys(scopes)),
        "state": request.state,
        "nonce": request.nonce,
        "code_challenge": _encoded(hashlib.sha256(request.code_verifier.encode()).digest()),
        "code_challenge_method": "S256",
    }
    address = configuration.authorization_endpoint.partition("#")[0]
    return f"{address}{'&' if '?' in address else '?'}{urlencode(parameters)}"


def _encoded(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
