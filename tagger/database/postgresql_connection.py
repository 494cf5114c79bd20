"""A connection to PostgreSQL that does not wait for ever on a half-open TCP connection.

A firewall, a failover or a frozen proxy can leave a connection that acknowledges what is sent and answers nothing. TCP
does not end such a wait, nor does a time limit of the server; a time limit of the client would end long statements too.
So when a statement is silent, the server is asked about it, over a new connection.
"""

import time
from contextlib import closing
from enum import Enum
from typing import Any, Self
from uuid import uuid4

import psycopg
from psycopg.abc import RV, PQGen

SILENCE_S = 10.0
"""How long a statement is silent before the server is asked about it, and between two questions."""
CONFIRM_S = 2.0
"""The pause before a bad answer is confirmed by a second one: the result of the statement may be on its way."""
LOGIN_S = 10
"""Time limit for the question's connection."""
ANSWER_S = 5.0
"""Time limit for the question itself."""
PREFIX_LENGTH = 40
"""PostgreSQL cuts the names of applications at 63 characters."""

# A pooler that does not pass names on cannot be asked. A session that waits for its client has nothing left to do.
_QUESTION = """
    SELECT starts_with(current_setting('application_name'), %(question)s),
           EXISTS (SELECT FROM pg_stat_activity
                   WHERE starts_with(application_name, %(name)s) AND wait_event_type IS DISTINCT FROM 'Client')"""
_END_TRANSACTION = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE starts_with(application_name, %(name)s) AND wait_event_type = 'Client' AND xact_start IS NOT NULL"""


class _Answer(Enum):
    """What is known about a silent statement."""

    WORKING = "the server works on the statement"
    NOT_WORKING = "the server does not work on the statement"
    NO_LOGIN = "the server does not accept connections"
    UNKNOWN = "the server cannot tell"


class WatchedConnection(psycopg.Connection[Any]):
    """Closes itself and raises OperationalError when its statement will not be answered.

    The server recognises it by `application_name`, which is different for each connection. A process number would not
    do: poolers do not pass it on.
    """

    name: str
    parameters: dict[str, Any]

    @classmethod
    def open(cls, parameters: dict[str, Any]) -> Self:
        """Connect with these parameters of `psycopg.connect`."""
        name = _unique_name(parameters)
        connection = cls.connect(**{**parameters, "application_name": name})
        connection.name, connection.parameters = name, parameters
        return connection

    def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        """Wait for the server. psycopg calls this for whatever it sends and receives after the login."""
        return super().wait(self._watched(gen), *args, **options)

    def _watched(self, gen: PQGen[RV]) -> PQGen[RV]:
        """The same generator, which psycopg resumes whenever the socket is ready, and every 0.1 s if it is not."""
        failures = 0
        next_question = time.monotonic() + SILENCE_S
        try:
            state = next(gen)
            while True:
                ready = yield state
                if ready:
                    failures = 0
                    next_question = time.monotonic() + SILENCE_S
                elif time.monotonic() > next_question:
                    answer = self._ask(is_last=failures > 0)
                    failures = failures + 1 if answer in {_Answer.NOT_WORKING, _Answer.NO_LOGIN} else 0
                    if failures > 1:
                        self.close()
                        raise psycopg.OperationalError(f"the connection is lost: {answer.value}")
                    next_question = time.monotonic() + (CONFIRM_S if failures else SILENCE_S)
                state = gen.send(ready)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _ask(self, *, is_last: bool) -> _Answer:
        """Ask the server, the same one if there are several, whether it works on the statement of this connection.

        If it does not, the last question ends the transaction, whose locks it would keep.
        """
        keys = [key for key in ("host", "hostaddr", "port") if key in self.parameters]
        name = _unique_name(self.parameters)
        parameters: dict[str, Any] = self.parameters | {key: getattr(self.info, key) for key in keys}
        parameters |= {"application_name": name, "connect_timeout": LOGIN_S, "autocommit": True}
        values = {"question": name, "name": self.name}
        try:
            with closing(_BriefConnection.connect(**parameters)) as connection:
                ((passes_names_on, is_working),) = connection.execute(_QUESTION, values).fetchall()
                if not passes_names_on:
                    return _Answer.UNKNOWN
                if is_last and not is_working:
                    connection.execute(_END_TRANSACTION, values)
        except psycopg.errors.ConnectionTimeout:
            return _Answer.NO_LOGIN
        except psycopg.Error:  # starting up, too many connections, a full pool
            return _Answer.UNKNOWN
        return _Answer.WORKING if is_working else _Answer.NOT_WORKING


class _BriefConnection(psycopg.Connection[Any]):
    """A connection whose statements have ANSWER_S."""

    def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        return super().wait(_limited(gen), *args, **options)


def _limited(gen: PQGen[RV]) -> PQGen[RV]:
    """The same generator, for ANSWER_S."""
    deadline = time.monotonic() + ANSWER_S
    try:
        state = next(gen)
        while time.monotonic() < deadline:
            state = gen.send((yield state))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise psycopg.OperationalError("the server does not answer")


def _unique_name(parameters: dict[str, Any]) -> str:
    prefix = str(parameters.get("application_name") or "tagger")[:PREFIX_LENGTH]
    return f"{prefix}-{uuid4().hex[:16]}"
