"""The provider: what it says about itself and its keys, asked for when they are needed and kept for a while."""

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from tagger.people.oidc.errors import ProviderMisconfigured, ProviderUnavailable
from tagger.people.oidc.registration import Registration
from tagger.system.addresses import is_loopback
from tagger.system.http_exchange import HttpAnswer, NoAnswer, exchange

T = TypeVar("T")

TIMEOUT_S = 10.0
"""For each request to the provider, however slowly it answers."""
MAX_ANSWER_BYTES = 2**18
KEPT_S = 3600.0
"""How long configuration and keys are used before they are asked for again."""
RETRY_S = 5.0
"""How long a failure is told to everybody, instead of asking a provider that does not answer for each of them."""
RENEWAL_S = 60.0
"""How often an unknown key makes this page ask for new ones."""


@dataclass(frozen=True)
class Configuration:
    """What the provider says about itself."""

    authorization_endpoint: str
    token_endpoint: str
    keys_url: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    scopes: frozenset[str]
    by_form: bool
    """Whether it takes the client's secret in a form only, not as HTTP Basic authentication."""


class Provider:
    """The provider of a registration. Its methods wait for it, each for at most TIMEOUT_S, and may be called by several threads."""

    def __init__(self, registration: Registration, clock: Callable[[], float] = time.monotonic) -> None:
        self.registration = registration
        self._configuration = _Kept(self._fetch_configuration, clock)
        self._keys = _Kept(self._fetch_keys, clock)

    def configuration(self) -> Configuration:
        """Raises:
        ProviderUnavailable, ProviderMisconfigured: the provider does not say what is needed.
        """
        return self._configuration.value()

    def keys(self, *, renewed: bool = False) -> Mapping[str, Any]:
        """The keys of its signatures, as a JSON Web Key Set. `renewed`: not older than RENEWAL_S.

        Raises:
            ProviderUnavailable, ProviderMisconfigured: the provider has none.
        """
        return self._keys.value(RENEWAL_S if renewed else KEPT_S)

    def token_document(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Send a form to the token endpoint as this client; return the status and the answer, which may be an error.

        Raises:
            ProviderUnavailable: there was no such answer.
        """
        configuration, registration = self.configuration(), self.registration
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        credentials = (registration.client_id, registration.client_secret)
        if configuration.by_form:
            form = {**form, **dict(zip(("client_id", "client_secret"), credentials, strict=True))}
        else:
            encoded = ":".join(quote(part, safe="") for part in credentials).encode()
            headers["authorization"] = f"Basic {b64encode(encoded).decode()}"
        body = urlencode(form).encode()
        answer = self._ask("POST", configuration.token_endpoint, headers, body)
        return answer.status, self._document(answer)

    def userinfo(self, access_token: str) -> dict[str, Any]:
        """What the provider says about the person of this access token; empty if it has no such address.

        Raises:
            ProviderUnavailable: it did not answer.
        """
        address = self.configuration().userinfo_endpoint
        if address is None:
            return {}
        headers = {"authorization": f"Bearer {access_token}", "accept": "application/json"}
        return self._fetch(address, headers)

    def _fetch_configuration(self) -> Configuration:
        issuer = self.registration.issuer
        document = self._fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            called = str(document.get("issuer"))[:200]
            self._misconfigured(f"it calls itself {called}, so that has to be TAGGER_WEB_OIDC_ISSUER")
        methods = document.get("token_endpoint_auth_methods_supported")
        scopes = document.get("scopes_supported")
        userinfo = document.get("userinfo_endpoint")
        return Configuration(
            self._address(document, "authorization_endpoint"),
            self._address(document, "token_endpoint"),
            self._address(document, "jwks_uri"),
            None if userinfo is None else self._address(document, "userinfo_endpoint"),
            self._usable_address(document, "end_session_endpoint"),
            frozenset(str(scope) for scope in scopes) if isinstance(scopes, list) else frozenset(),
            isinstance(methods, list) and "client_secret_basic" not in methods,
        )

    def _fetch_keys(self) -> Mapping[str, Any]:
        return self._fetch(self.configuration().keys_url)

    def _address(self, document: Mapping[str, Any], name: str) -> str:
        address = document.get(name)
        if not isinstance(address, str) or not is_trusted_address(address) or self._is_elsewhere(address):
            self._misconfigured(f"its {name} is not an https address")
        return address

    def _usable_address(self, document: Mapping[str, Any], name: str) -> str | None:
        """An address that is not needed to sign in; None if it cannot be used."""
        address = document.get(name)
        is_usable = (
            isinstance(address, str) and is_trusted_address(address) and not self._is_elsewhere(address)
        )
        return address if is_usable else None

    def _is_elsewhere(self, address: str) -> bool:
        """Whether a provider of the network names a service of this machine, which would get the client's secret."""
        return address.startswith("http:") and not self.registration.issuer.startswith("http:")

    def _fetch(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        answer = self._ask("GET", url, headers or {"accept": "application/json"})
        if answer.status != 200:
            redirects = ", and redirects are not followed" if 300 <= answer.status < 400 else ""
            self._unavailable(f"{urlsplit(url).path} answers with {answer.status}{redirects}")
        return self._document(answer)

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpAnswer:
        try:
            answer = exchange(
                method,
                url,
                headers=headers,
                body=body,
                timeout_s=TIMEOUT_S,
                max_bytes=MAX_ANSWER_BYTES + 1,
            )
        except NoAnswer as error:
            raise ProviderUnavailable(issuer=self.registration.issuer, reason=str(error)) from error
        if answer.late:
            self._unavailable(f"no answer within {TIMEOUT_S:.0f} s")
        if len(answer.body) > MAX_ANSWER_BYTES:
            self._unavailable(f"{urlsplit(url).path} answers with more than {MAX_ANSWER_BYTES // 1024} KiB")
        return answer

    def _document(self, answer: HttpAnswer) -> dict[str, Any]:
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            self._unavailable(f"its answer (status {answer.status}) is not a JSON object")
        return document

    def _unavailable(self, reason: str) -> NoReturn:
        raise ProviderUnavailable(issuer=self.registration.issuer, reason=reason)

    def _misconfigured(self, reason: str) -> NoReturn:
        raise ProviderMisconfigured(issuer=self.registration.issuer, reason=reason)


def is_trusted_address(url: str) -> bool:
    """Whether nobody on the way can read or change what is sent there: it is https, or on this machine."""
    try:
        address = urlsplit(url)
        host = address.hostname
    except ValueError:
        return False
    if not host or not url.isprintable() or " " in url:
        return False
    return address.scheme == "https" or (address.scheme == "http" and is_loopback(host))


class _Kept(Generic[T]):
    """A value that is fetched by one thread, for all, and a failure that is told to all."""

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
