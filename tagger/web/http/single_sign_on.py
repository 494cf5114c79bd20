"""Signing in at the provider of the settings, within limits. Failures are counted by the client's address and recorded."""

import logging
from collections.abc import Mapping

from anyio import CapacityLimiter

from tagger.database.connection import Database
from tagger.people.identities import Identity, SignInFailed, sign_in_identity, withdraw_role
from tagger.people.oidc.code_flow import (
    ROLES,
    AuthorizationRequest,
    authorization_url,
    identify,
    sign_out_url,
)
from tagger.people.oidc.provider import (
    Provider,
    ProviderMisconfigured,
    ProviderUnavailable,
    Registration,
    RoleMissing,
    SignInExpired,
)
from tagger.people.sessions import Origin, ProviderSession
from tagger.web.http.attempt_limiter import AttemptLimiter, TooManyAttempts
from tagger.web.http.auth import (
    MAX_BROWSER_LENGTH,
    MAX_SIGN_INS,
    SIGN_IN_WINDOW_S,
    AccessRecorder,
    TooManySignIns,
)
from tagger.web.http.forwarded import Client

log = logging.getLogger(__name__)

MAX_FAILURES = 20
"""Failed sign-ins from one address within a minute. Each may ask the provider."""
MAX_NAME_LENGTH = 100
PROVIDER_LIMITER = CapacityLimiter(4)
"""Threads that wait for the provider. Requests that wait for one take no thread from the pages."""


class TooManyFailures(TooManyAttempts):
    """Too many sign-ins from this address failed. Try again in a minute."""


class SingleSignOn:
    """Sends people to the provider, and starts sessions for those whom it has signed in.

    Its methods wait for the provider and the database: call them in threads.
    """

    def __init__(self, database: Database, registration: Registration, recorder: AccessRecorder) -> None:
        self.registration = registration
        self.cookie = f"tagger_sign_in_{database.ledger_id[:8]}"
        """Of the browser that is on its way to the provider and back."""
        self._database = database
        self._provider = Provider(registration)
        self._recorder = recorder
        self._failures = AttemptLimiter(MAX_FAILURES, error=TooManyFailures)
        self._sign_ins = AttemptLimiter(MAX_SIGN_INS, SIGN_IN_WINDOW_S, TooManySignIns)

    def begin(self) -> tuple[AuthorizationRequest, str]:
        """Return a new request, whose secret the browser keeps, and where the browser goes with it.

        Raises:
            SignInFailed: the provider does not answer as it should.
        """
        request = AuthorizationRequest.new()
        try:
            return request, authorization_url(self._provider, request)
        except SignInFailed as error:
            log.warning("nobody can sign in at the provider: %s", error)
            raise

    def complete(
        self, request: AuthorizationRequest, answer: Mapping[str, str], client: Client, browser: str | None
    ) -> str:
        """Start a session for the person with whom the browser comes back; returns the cookie's value.

        Raises:
            SignInFailed: the provider has signed nobody in, or somebody without access.
            TooManyAttempts: too many sign-ins from the address failed, or the person has used up the sign-ins.
        """
        self._failures.check(client.network)
        identity = None
        try:
            identity = identify(self._provider, request, answer)
            key = f"{identity.issuer} {identity.subject}"
            self._sign_ins.check(key)
            origin = Origin(client.address or None, client.network, browser and browser[:MAX_BROWSER_LENGTH])
            self._check_role(identity, origin)
            session = sign_in_identity(self._database, identity, self.registration.new_role, origin)
        except SignInExpired:  # it has asked nobody
            raise
        except SignInFailed as error:
            self._failures.record(client.network)
            self._record(error, identity, client)
            raise
        self._sign_ins.record(key)
        return session

    def sign_out_url(self, session: ProviderSession) -> str | None:
        """Return the address at which the provider signs the browser out; None: it does not, or the settings do not want it."""
        try:
            return sign_out_url(self._provider, session)
        except SignInFailed as error:
            log.warning("nobody can sign out at the provider: %s", error)
            return None

    def _check_role(self, identity: Identity, origin: Origin) -> None:
        claim = self.registration.role_claim
        if claim is not None and identity.role is None:
            withdraw_role(self._database, identity, origin)
            raise RoleMissing(issuer=identity.issuer, claim=claim, roles=", ".join(ROLES))

    def _record(self, error: SignInFailed, identity: Identity | None, client: Client) -> None:
        if isinstance(error, ProviderUnavailable | ProviderMisconfigured):
            log.warning("nobody can sign in at the provider: %s", error)
            return
        self._recorder.record_refusal(
            client,
            "identity",
            reason=type(error).__name__,
            issuer=self.registration.issuer,
            identity=identity and identity.subject,
            called=identity and identity.names[0][:MAX_NAME_LENGTH],
        )
