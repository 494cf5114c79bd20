"""An OpenID Connect provider: authlib's authorization server behind a real HTTP server, with real keys.

It checks what a provider has to check of a request: client, secret, redirect address, PKCE and nonce, and that a code is used once.
"""

import base64
import hashlib
import hmac
import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, Self

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode
from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey
from support.http_servers import running
from werkzeug.serving import make_server

CLIENT_ID = "landmark-tagger"
CLIENT_SECRET = "a secret: with + / % = signs"
CONFIGURATION = "/.well-known/openid-configuration"
ADA = {"sub": "248289761001", "preferred_username": "Ada"}
Claims = dict[str, Any]


def new_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})


@cache
def _first_key() -> RSAKey:
    """The key of each provider of this process until a test replaces it: making one takes longer than most tests."""
    return new_key("first")


@dataclass
class Client:
    """The registration of one page."""

    redirect_url: str
    secret: str = CLIENT_SECRET
    method: str = "client_secret_basic"
    signed_out_url: str = ""

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, url: str) -> bool:
        return url == self.redirect_url

    def check_client_secret(self, secret: str) -> bool:
        return secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.method

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass(frozen=True)
class Code:
    """An authorization code, and what it was given for."""

    text: str
    redirect_url: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str
    person: Claims

    def get_redirect_uri(self) -> str:
        return self.redirect_url

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> int:
        return 1

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class OidcProvider:
    """A context manager. Tests change its attributes to change what it says.

    `person`: who is signed in there; None refuses. `asks`: whether it shows a page first. `id_token`: makes the ID token of claims.
    `answers`: by path, what it answers instead. `requests`: how often each path was requested.
    """

    def __init__(self) -> None:
        self.person: Claims | None = dict(ADA)
        self.userinfo: Claims = {}
        self.asks = False
        self.key = self.published_key = _first_key()
        self.configuration: Claims = {}
        self.id_token: Callable[[Claims], str] = self.signed
        self.answers: dict[str, Callable[[], Response]] = {}
        self.requests: Counter[str] = Counter()
        self.scopes: list[str] = []
        self.released = threading.Event()
        """Set at the end: what hangs waits for it."""
        self.client = Client("")
        self.codes: dict[str, Code] = {}
        self.nonces: set[str] = set()
        self._server = make_server("127.0.0.1", 0, self._application(), threaded=True)
        self._running = ExitStack()

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._running.enter_context(running(self._server))
        return self

    def __exit__(self, *_error: object) -> None:
        self.released.set()
        self._running.close()

    def hang(self) -> Response:
        self.released.wait(60)
        return Response("too late")

    def signed(self, claims: Claims, *, key: RSAKey | None = None, alg: str = "RS256") -> str:
        key = key or self.key
        return jwt.encode({"alg": alg, "kid": key.kid or ""}, claims, key, [alg])

    def _application(self) -> Flask:
        application = Flask("provider")
        server = AuthorizationServer(application, query_client=self._query_client, save_token=lambda *_: None)
        server.register_grant(_grant(self), [_IdTokens(self), CodeChallenge(required=True)])

        @application.before_request
        def count() -> Response | None:
            self.requests[request.path] += 1
            answer = self.answers.get(request.path)
            return None if answer is None else answer()

        for path, view in {
            CONFIGURATION: lambda: jsonify(self._configuration()),
            "/keys": lambda: jsonify(self._keys()),
            "/authorize": lambda: self._authorize(server),
            "/userinfo": lambda: jsonify(self.userinfo),
            "/logout": self._sign_out,
        }.items():
            application.get(path, endpoint=path)(view)
        application.post("/token")(server.create_token_response)
        return application

    def _query_client(self, client_id: str) -> Client | None:
        return self.client if client_id == CLIENT_ID else None

    def _keys(self) -> Claims:
        return {"keys": [{"kty": "unknown", "kid": "odd"}, self.published_key.as_dict()]}

    def _configuration(self) -> Claims:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?theme=dark",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/logout?theme=dark",
            "scopes_supported": ["openid", "profile", "email", "groups"],
            "token_endpoint_auth_methods_supported": [self.client.method],
        } | self.configuration

    def _sign_out(self) -> Response:
        """Sign out the person of the token, if it is one of this provider, and send the browser back to the registered address."""
        hint = jwt.decode(request.args["id_token_hint"], self.key, ["RS256"]).claims
        back = request.args["post_logout_redirect_uri"]
        is_registered = (request.args["client_id"], back) == (CLIENT_ID, self.client.signed_out_url)
        if not is_registered or self.person is None or hint["sub"] != self.person["sub"]:
            return Response("refused", 400)
        self.person = None
        return Response(status=302, headers={"Location": back})

    def _authorize(self, server: AuthorizationServer) -> Response | str:
        if self.asks and "sure" not in request.args:
            address = f"{escape(request.full_path)}&amp;sure=1"
            return f'<title>Provider</title><link rel="icon" href="data:,"><a href="{address}">Continue</a>'
        try:
            grant = server.get_consent_grant(end_user=self.person)
        except OAuth2Error as error:
            return Response(str(error), 400)
        answer: Response = server.create_authorization_response(grant_user=self.person, grant=grant)
        return answer


def _grant(provider: OidcProvider) -> type[AuthorizationCodeGrant]:
    class CodeGrant(AuthorizationCodeGrant):
        def save_authorization_code(self, code: str, request: Any) -> None:
            data = request.payload.data
            provider.nonces.add(data["nonce"])
            provider.scopes = data["scope"].split()
            provider.codes[code] = Code(
                code,
                data["redirect_uri"],
                data["scope"],
                data["nonce"],
                data["code_challenge"],
                data["code_challenge_method"],
                request.user,
            )

        def query_authorization_code(self, code: str, client: Client) -> Code | None:
            return provider.codes.get(code)

        def delete_authorization_code(self, code: Code) -> None:
            del provider.codes[code.text]

        def authenticate_user(self, code: Code) -> Claims:
            return code.person

    return CodeGrant


class _IdTokens(OpenIDCode):
    def __init__(self, provider: OidcProvider) -> None:
        super().__init__(require_nonce=True)
        self._provider = provider

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        """A code was given for this nonce already."""
        return nonce in self._provider.nonces

    def resolve_client_private_key(self, client: Client) -> RSAKey:
        return self._provider.key

    def get_encode_header(self, client: Client) -> dict[str, str]:
        return {"alg": "RS256", "kid": self._provider.key.kid or ""}

    def get_client_claims(self, client: Client) -> Claims:
        return {"iss": self._provider.issuer, "aud": [CLIENT_ID]}

    def generate_user_info(self, user: Claims, scope: str) -> Claims:
        return user

    def encode_id_token(self, token: Claims, request: Any) -> str:
        honest = super().encode_id_token(token, request)
        return self._provider.id_token(claims_of(honest))


def claims_of(token: str) -> Claims:
    """What a token says, whoever has signed it."""
    payload = token.split(".")[1]
    claims: Claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def unsigned_token(claims: Claims, header: dict[str, Any] | None = None) -> str:
    return f"{_part(header or {'alg': 'none'})}.{_part(claims)}."


def token_with_mac(claims: Claims, secret: bytes, kid: str) -> str:
    """A token of HS256, for whose secret a naive program takes the public key of the provider."""
    text = unsigned_token(claims, {"alg": "HS256", "kid": kid}).removesuffix(".")
    mac = hmac.digest(secret, text.encode(), hashlib.sha256)
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
