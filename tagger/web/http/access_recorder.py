"""What the audit log and the tables of access get to know of requests: refused sign-ins, and last uses."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from tagger.access.grants import Grant
from tagger.access.sessions import record_use
from tagger.database.actor import Actor
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.errors import DatabaseError
from tagger.web.http.forwarded import Client
from tagger.web.http.refusal_budget import Refusal, RefusalBudget

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 10.0


class AccessRecorder:
    """Writes wrong tokens and last uses in a thread of its own: requests must not wait for the database's lock."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._budget = RefusalBudget(clock)
        self._lock = threading.Lock()
        self._waiting: dict[object, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None

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
            self._write(object(), partial(self._write_refusal, actor, account, details))

    def record_use(self, grant: Grant) -> None:
        """Record the last use of a token and session, unless that waits to be written already."""
        self._write_summary()
        self._write(
            (grant.token_id, grant.user_id, grant.session_id), partial(record_use, self._database, grant)
        )

    def close(self) -> None:
        """Write what waits, for at most `STOP_TIMEOUT_S`."""
        self._write_summary(early=True)
        thread = self._thread
        if thread is not None:
            thread.join(STOP_TIMEOUT_S)

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
                log.warning("the use of a token was not recorded: %s", type(error).__name__)
            except Exception:
                # The thread goes on: what waits must not be lost.
                log.exception("unexpected error while the use of a token was recorded")
            with self._lock:
                del self._waiting[key]

    def _write_summary(self, *, early: bool = False) -> None:
        details = self._budget.take_summary(early=early)
        if details is not None:
            self._write(object(), partial(self._write_refusal, Actor("web"), None, details))

    def _write_refusal(self, actor: Actor, account: str | None, details: Mapping[str, object]) -> None:
        with self._database.acting_as(actor).write() as connection:
            record_action(connection, AuditAction.SIGN_IN_REFUSED, account, **details)
