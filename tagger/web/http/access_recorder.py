"""What the audit log and the tables of access get to know of requests: refused sign-ins, and last uses."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from tagger.database.actor import Actor
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.retry import DatabaseError
from tagger.people.grants import Grant
from tagger.people.sessions import record_use
from tagger.web.http.attempt_limiter import OtherRefusals, Refusal, RefusalBudget
from tagger.web.http.forwarded import Client

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 10.0
_PAUSE_S = 0.2
"""Before a write that failed is tried again at the end."""


class AccessRecorder:
    """Writes wrong tokens and last uses in a thread of its own: requests must not wait for the database's lock."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._budget = RefusalBudget(clock)
        self._lock = threading.Lock()
        self._waiting: dict[object, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._unwritten: OtherRefusals | None = None
        """A summary that is on its way to the database."""

    def record_refusal(
        self, client: Client, what: str = "token", account: str | None = None, **details: object
    ) -> None:
        """Log a wrong token, password or identity, for programs such as fail2ban, and record it as far as the budget allows."""
        log.warning("wrong %s from %s", what, client.address or "an unknown address")
        self._write_summary()
        identity = details.get("identity")
        refusal = Refusal(what, client.network, account, None if identity is None else str(identity))
        if self._budget.admit(refusal):
            actor = Actor("web", client.address or None)
            self._write(object(), partial(self._write_one, refusal, actor, account, details))

    def record_use(self, grant: Grant) -> None:
        """Record the last use of a token and session, unless that waits to be written already."""
        self._write_summary()
        self._write(
            (grant.token_id, grant.user_id, grant.session_id), partial(record_use, self._database, grant)
        )

    def close(self) -> None:
        """Write what waits, for at most `STOP_TIMEOUT_S`. After that, the server's log has the summary."""
        end = time.monotonic() + STOP_TIMEOUT_S
        while True:
            self._write_summary(early=True)
            if (thread := self._thread) is not None:
                thread.join(max(0.0, end - time.monotonic()))
            if self._thread is None and not self._budget.has_others:
                return
            if time.monotonic() >= end:
                break
            time.sleep(_PAUSE_S)
        others = self._unwritten or self._budget.take_others(early=True)
        lost = "what waits for the database" if others is None else others.details
        log.warning("the audit log lacks refused sign-ins: %s", lost)

    def _write(self, key: object, write: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.setdefault(key, write)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="access-recorder", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                key, write = next(iter(self._waiting.items()))
            try:
                write()
            except DatabaseError as error:
                log.warning("a sign-in or a use of the page was not recorded: %s", type(error).__name__)
            except Exception:
                # The thread goes on: what waits must not be lost.
                log.exception("unexpected error while a sign-in or a use of the page was recorded")
            with self._lock:
                del self._waiting[key]

    def _write_summary(self, *, early: bool = False) -> None:
        others = self._budget.take_others(early=early)
        if others is not None:
            self._unwritten = others
            self._write(object(), partial(self._write_others, others))

    def _write_one(
        self, refusal: Refusal, actor: Actor, account: str | None, details: Mapping[str, object]
    ) -> None:
        """Record a refusal. If that fails, the next summary counts it."""
        try:
            self._write_entry(actor, account, details)
        except DatabaseError:
            self._budget.count(refusal)
            raise

    def _write_others(self, others: OtherRefusals) -> None:
        try:
            self._write_entry(Actor("web"), None, others.details)
        except DatabaseError:
            self._budget.return_others(others)
            raise
        finally:
            self._unwritten = None

    def _write_entry(self, actor: Actor, account: str | None, details: Mapping[str, object]) -> None:
        with self._database.acting_as(actor).write() as connection:
            record_action(connection, AuditAction.SIGN_IN_REFUSED, account, **details)
