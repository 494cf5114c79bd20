"""The provider: how this page is registered there, what it says about itself and its keys, and what can go wrong.

Its answers are fetched when they are needed, and kept for a while. Errors are written for the person who wants to sign in; their reasons
are for admins, who get them from that person.
"""

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from tagger.database.enums import Role
from tagger.people.identities import SignInFailed
from tagger.settings import Settings
from tagger.system.addresses import is_loopback
from tagger.system.http_exchange import HttpAnswer, NoAnswer, exchange

T = TypeVar("T")
TIMEOUT_S = 10.0
"""The time limit of a whole request to the provider."""
MAX_ANSWER_BYTES = 2**18
KEPT_S = 3600.0
"""How long configuration and keys are used before they are fetched again."""
RETRY_S = 5.0
"""For this long after a failure, all sign-ins get the same error, instead of asking a provider that does not answer for each."""
RENEWAL_S = 60.0
"""The least time between two requests for new keys, which an unknown key causes."""
START_PATH = "/sign-in/oidc"
CALLBACK_PATH = "/sign-in/oidc/callback"
"""The page to which the provider sends people back."""
SIGNED_OUT_PATH = "/sign-in"
_OPTIONAL = ("userinfo_endpoint", "end_session_endpoint")
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri", *_OPTIONAL)


class ProviderUnavailable(SignInFailed):
    """{issuer} cannot be asked who you are: {reason}. Try again in some minutes. If it stays so, tell an admin of this page."""


class ProviderMisconfigured(SignInFailed):
    """The page and {issuer} do not fit together: {reason}. Tell an admin of this page."""


class SignInDenied(SignInFailed):
    """{issuer} has not signed you in: {reason}. Sign in again, or ask those who manage your account there."""


class SignInExpired(SignInFailed):
    """The sign-in took more than ten minutes, is completed already, or began in another browser. Sign in again. Your browser has to accept cookies."""


class IdentityRefused(SignInFailed):
    """What {issuer} says about you is not accepted: {reason}. Sign in again. If it stays so, tell an admin of this page."""


class ClocksDiffer(SignInFailed):
    """The clocks of this page and of {issuer} differ: {reason}. Tell an admin of this page, who has to set the time of the server."""


class RoleMissing(SignInFailed):
    """{issuer} has signed you in, but gives you no role here: {claim} has none of {roles}. Ask those who manage your account there."""


@dataclass(frozen=True)
class Registration:
    """The registration of this page at the provider. `page_url`: the public address of the page. `role_claim`: the claim that names the
    role; None: roles are stored here.

    `new_role`: the role of a person who signs in for the first time; None: they have no access.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    page_url: str
    role_claim: str | None = None
    new_role: Role | None = None

    @property
    def name(self) -> str:
        """The provider's name for people: its host."""
        return urlsplit(self.issuer).netloc

    @property
    def start_url(self) -> str:
        return self.page_url + START_PATH

    @property
    def redirect_url(self) -> str:
        return self.page_url + CALLBACK_PATH

    @property
    def signed_out_url(self) -> str:
        """The page to which people return after they were signed out at the provider."""
        return self.page_url + SIGNED_OUT_PATH


def registration_of(settings: Settings) -> Registration | None:
    """The registration in the settings; None if they name no provider."""
    issuer, role, page_url = settings.web_oidc_issuer, settings.web_user_role, settings.web_url
    client_id, secret = settings.web_oidc_client_id, settings.web_oidc_client_secret
    if issuer is None or client_id is None or secret is None or page_url is None:
        return None
    return Registration(
        issuer,
        client_id,
        secret,
        page_url.rstrip("/"),
        settings.web_oidc_role_claim,
        None if role in {None, "none"} else Role(role),
    )


class Provider:
    """The provider of a registration. Its methods send requests, each of at most TIMEOUT_S. Thread-safe.

    Raises:
        ProviderUnavailable, ProviderMisconfigured: by each method, if the provider does not answer as it should.
    """

    def __init__(self, registration: Registration, clock: Callable[[], float] = time.monotonic) -> None:
        self.registration = registration
        self._configuration = _Kept(self._fetch_configuration, clock)
        self._keys = _Kept(lambda: self._fetch(self.configuration()["jwks_uri"]), clock)

    def configuration(self) -> Mapping[str, Any]:
        """The configuration document, with addresses that can be trusted, and without those that cannot and need not be used."""
        return self._configuration.value()

    def keys(self, *, renewed: bool = False) -> Mapping[str, Any]:
        """The keys of its signatures, as a JSON Web Key Set. `renewed`: not older than RENEWAL_S."""
        return self._keys.value(RENEWAL_S if renewed else KEPT_S)

    def token_document(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Send a form to the token endpoint as this client; return the status and the answer, which may be an error."""
        configuration, registration = self.configuration(), self.registration
        headers = {"content-type": "application/x-www-form-urlencoded"}
        client_id, secret = registration.client_id, registration.client_secret
        methods = configuration.get("token_endpoint_auth_methods_supported")
        if isinstance(methods, list) and "client_secret_basic" not in methods:
            form = {**form, "client_id": client_id, "client_secret": secret}
        else:
            credentials = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
        answer = self._ask("POST", configuration["token_endpoint"], headers, urlencode(form).encode())
        return answer.status, self._document(answer)

    def userinfo(self, access_token: str) -> dict[str, Any]:
        """The claims of the userinfo endpoint about the person of this token; empty if the provider has no such endpoint."""
        address = self.configuration().get("userinfo_endpoint")
        return {} if address is None else self._fetch(address, authorization=f"Bearer {access_token}")

    def _fetch_configuration(self) -> dict[str, Any]:
        issuer = self.registration.issuer
        document = self._fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            called = str(document.get("issuer"))[:200]
            self._misconfigured(f"it calls itself {called}, so that has to be TAGGER_WEB_OIDC_ISSUER")
        unusable = [name for name in _ENDPOINTS if not self._is_usable(document.get(name))]
        for name in unusable:
            if name not in _OPTIONAL or (name == "userinfo_endpoint" and document.get(name) is not None):
                self._misconfigured(f"its {name} is not an https address")
        return {name: value for name, value in document.items() if name not in unusable}

    def _is_usable(self, address: object) -> bool:
        if not isinstance(address, str) or not _is_trusted_address(address):
            return False
        # A provider in the network may name no address of this machine, whose service would get the client's secret.
        return not address.startswith("http:") or self.registration.issuer.startswith("http:")

    def _fetch(self, url: str, **headers: str) -> dict[str, Any]:
        answer = self._ask("GET", url, headers)
        if answer.status != 200:
            redirects = ", and redirects are not followed" if 300 <= answer.status < 400 else ""
            self._unavailable(f"{urlsplit(url).path} answers with {answer.status}{redirects}")
        return self._document(answer)

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpAnswer:
        headers = {"accept": "application/json", **headers}
        try:
            answer = exchange(
                method, url, headers=headers, body=body, timeout_s=TIMEOUT_S, max_bytes=MAX_ANSWER_BYTES + 1
            )
        except NoAnswer as error:
            raise ProviderUnavailable(issuer=self.registration.issuer, reason=str(error)) from error
        if answer.late:
            self._unavailable(f"no answer within {TIMEOUT_S:.0f} s")
        if len(answer.body) > MAX_ANSWER_BYTES:
            self._unavailable(f"{urlsplit(url).path} answers with more than {MAX_ANSWER_BYTES // 1024} KiB")
        return answer

    def _document(self, answer: HttpAnswer) -> dict[str, Any]:
        document = None
        with suppress(ValueError, RecursionError):
            document = json.loads(answer.body)
        if not isinstance(document, dict):
            self._unavailable(f"its answer (status {answer.status}) is not a JSON object")
        return document

    def _unavailable(self, reason: str) -> NoReturn:
        raise ProviderUnavailable(issuer=self.registration.issuer, reason=reason)

    def _misconfigured(self, reason: str) -> NoReturn:
        raise ProviderMisconfigured(issuer=self.registration.issuer, reason=reason)


def _is_trusted_address(url: str) -> bool:
    """Whether requests to the address are safe on their way: it is https, or on this machine."""
    try:
        address = urlsplit(url)
        host = address.hostname
    except ValueError:
        return False
    if not host or not url.isprintable() or " " in url:
        return False
    return address.scheme == "https" or (address.scheme == "http" and is_loopback(host))


class _Kept(Generic[T]):
    """A value, or a failure, that one thread fetches for all threads."""

    def __init__(self, fetch: Callable[[], T], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._fetched: tuple[float, T] | None = None
        self._failure: tuple[float, ProviderUnavailable | ProviderMisconfigured] | None = None

    def value(self, max_age_s: float = KEPT_S) -> T:
        with self._lock:
            now = self._clock()
            if self._fetched is not None and now - self._fetched[0] < max_age_s:
                return self._fetched[1]
            if self._failure is not None and now - self._failure[0] < RETRY_S:
                raise self._failure[1].with_traceback(None)
            try:
                value = self._fetch()
            except (ProviderUnavailable, ProviderMisconfigured) as error:
                self._failure = (self._clock(), error)
                raise
            self._fetched, self._failure = (self._clock(), value), None
            return value
