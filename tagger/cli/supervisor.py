"""The child processes of `tagger up`."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Self

from tagger.cli.output import console
from tagger.cli.supervised_process import SupervisedProcess, stop_processes
from tagger.errors import ProcessFailed, RedisUnavailable

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from tagger.cli.session import Session

CHILD_STOP_TIMEOUT_S = 60.0
REDIS_CHECK_S = 5.0


class Supervisor:
    """Keeps a worker, beat, the web page and the embedded Redis running. Stops all but Redis at the end."""

    def __init__(self, session: Session, page: socket.socket | None) -> None:
        """`page`: the listening socket of the web page, which stays open across restarts."""
        self._settings = session.settings
        self._ledger_id = session.database.ledger_id
        self._redis_checked_at = -math.inf
        self._redis_answers = True
        self._listener = page
        folder = self._settings.data_folder
        self.worker = SupervisedProcess("worker", folder, ("worker",))
        self._page: SupervisedProcess | None = None
        self._processes = [self.worker, SupervisedProcess("beat", folder, ("beat",))]
        if page is not None:
            listener = page.fileno()
            command = ("serve", "--fd", str(listener))
            self._page = SupervisedProcess("page", folder, command, file_descriptors=(listener,))
            self._processes.append(self._page)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop the processes gracefully; a second Ctrl-C kills them."""
        stop_processes(self._processes, CHILD_STOP_TIMEOUT_S)

    def watch(self, arguments: Sequence[str]) -> Path:
        """Keep `tagger watch` running with these arguments, too; returns its log."""
        watch = SupervisedProcess("watch", self._settings.data_folder, ("watch", *arguments))
        self._processes.append(watch)
        return watch.log

    def check(self) -> None:
        """Restart processes that have exited. While Redis is away, nothing is restarted: they wait for it.

        Raises:
            ProcessFailed: one exits right after each start. Without the page, the others continue.
        """
        has_exited = any(process.child.exit_code is not None for process in self._processes)
        if has_exited or time.monotonic() - self._redis_checked_at > REDIS_CHECK_S:
            self._check_redis()
        if self._redis_answers:
            for process in [*self._processes]:
                try:
                    process.check()
                except ProcessFailed as error:
                    if process is not self._page or self._listener is None:
                        raise
                    console.warning(f"{error} The web page is no longer served; the other services continue.")
                    self._processes.remove(process)
                    self._listener.close()

    def _check_redis(self) -> None:
        """Check that Redis answers, and start the embedded one if it does not run. Print what has changed."""
        from worker.broker import check_broker, find_broker

        answered = self._redis_answers
        try:
            check_broker(find_broker(self._settings, self._ledger_id, start=True))
        except RedisUnavailable as error:
            self._redis_answers = False
            if answered:
                remedy = "to tag photos without Redis, press Ctrl-C and use: tagger tag"
                console.warning(f"{error} Waiting for it; {remedy}")
        else:
            self._redis_answers = True
            if not answered:
                console.info("Redis answers again")
        self._redis_checked_at = time.monotonic()
