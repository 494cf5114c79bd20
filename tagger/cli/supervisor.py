"""The child processes of `tagger up`."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

from tagger.cli.output import console
from tagger.errors import ProcessFailed, RedisUnavailable
from tagger.system.permissions import create_private_file, make_private_folder, require_safe

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from tagger.cli.session import Session

RESTART_PAUSES_S = (1.0, 2.0, 5.0, 10.0)
EARLY_EXIT_S = 20.0
"""A process that exits sooner than this, several times in a row, is not restarted again."""
CHILD_STOP_TIMEOUT_S = 60.0
REDIS_CHECK_S = 5.0
_ERROR_LINE = re.compile(
    r"^error: (.*)|^\S+ \S+ (?:ERROR|CRITICAL) (.*)|\"(?:error|critical)\".*\"message\": \"([^\"]*)"
)
"""An error of a command, or in the formats of worker.logs."""


class Supervisor:
    """Keeps a worker, beat, the web page and the embedded Redis running. Stops all but Redis at the end."""

    def __init__(self, session: Session, page: socket.socket | None) -> None:
        """`page` is the listening socket of the web page; it stays open across restarts, so that no connection is refused."""
        self._settings, folder = session.settings, session.settings.data_folder
        self._ledger_id = session.database.ledger_id
        self._redis_checked_at = -math.inf
        self._redis_answers = True
        self._listener = page
        self.worker = _Process("worker", folder)
        self._processes = [self.worker, _Process("beat", folder)]
        self._page = (
            _Process("page", folder, ("serve", "--fd", str(page.fileno())), (page.fileno(),))
            if page
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop the processes gracefully; a second Ctrl-C kills them."""
        processes = [*self._processes, *([self._page] if self._page else ())]
        try:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third one must not leave the rest running
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for process in processes:
                process.kill()
            raise

    def watch(self, arguments: Sequence[str]) -> Path:
        """Keep `tagger watch` running with these arguments, too; returns its log."""
        watch = _Process("watch", self._settings.data_folder, ("watch", *arguments))
        self._processes.append(watch)
        return watch.log

    def check(self) -> None:
        """Restart processes that have exited. If the web page keeps exiting, continue without it.

        While Redis is away, nothing is restarted: the processes wait for it.

        Raises:
            ProcessFailed: the worker or beat keeps exiting right after its start.
        """
        self._check_page()
        has_exited = any(process.has_exited for process in self._processes)
        if has_exited or time.monotonic() - self._redis_checked_at > REDIS_CHECK_S:
            self._check_redis()
        if self._redis_answers:
            for process in self._processes:
                process.check()

    def _check_redis(self) -> None:
        """Check that Redis answers, and start the embedded one if it does not run. Prints what has changed."""
        from worker.broker import check_broker, find_broker

        answered = self._redis_answers
        try:
            check_broker(find_broker(self._settings, self._ledger_id, start=True))
        except RedisUnavailable as error:
            self._redis_answers = False
            if answered:
                console.warning(
                    f"{error} Waiting for it; to tag photos without Redis, press Ctrl-C and use: tagger tag"
                )
        else:
            self._redis_answers = True
            if not answered:
                console.info("Redis answers again")
        self._redis_checked_at = time.monotonic()

    def _check_page(self) -> None:
        if self._page is None or self._listener is None:
            return
        try:
            self._page.check()
        except ProcessFailed as error:
            console.warning(f"{error} The web page is no longer served; the other services continue.")
            self._page = None
            self._listener.close()


class _Process:
    """One `tagger` command as a child process."""

    def __init__(
        self,
        name: str,
        folder: Path,
        command: Sequence[str] | None = None,
        file_descriptors: Sequence[int] = (),
    ) -> None:
        """`command`: the arguments of `tagger`; None: the name alone. `file_descriptors` stay open in the process."""
        self.log = folder / f"{name}.log"
        self._name = name
        self._command = command or (name,)
        self._file_descriptors = file_descriptors
        self._early_exits = 0
        self._restart_at: float | None = None
        self._start()

    @property
    def has_exited(self) -> bool:
        return self._child.poll() is not None

    def check(self) -> None:
        """Restart the process if it has exited, after a pause."""
        if self._restart_at is not None:
            if time.monotonic() >= self._restart_at:
                self._start()
            return
        code = self._child.poll()
        if code is None:
            return
        self._close_stdin()
        is_early = time.monotonic() - self._started_at < EARLY_EXIT_S
        self._early_exits = self._early_exits + 1 if is_early else 1
        cause = _exit_cause(self.log, self._log_start)
        if self._early_exits > len(RESTART_PAUSES_S):
            raise ProcessFailed(name=self._name, log=self.log, reason=cause)
        pause_s = RESTART_PAUSES_S[self._early_exits - 1]
        end = f"was ended by signal {-code}" if code < 0 else f"exited with code {code} ({cause})"
        console.warning(f"the {self._name} process {end}; restarting it in {pause_s:.0f} s")
        self._restart_at = time.monotonic() + pause_s

    def terminate(self) -> None:
        self._child.terminate()

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()
        self._close_stdin()

    def wait(self) -> None:
        try:
            self._child.wait(CHILD_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close_stdin()

    def _close_stdin(self) -> None:
        if self._child.stdin is not None:
            self._child.stdin.close()

    def _start(self) -> None:
        self._started_at, self._restart_at = time.monotonic(), None
        make_private_folder(self.log.parent)
        require_safe(self.log.parent)
        create_private_file(self.log)
        self._log_start = self.log.stat().st_size
        with self.log.open("ab") as output:
            # -P: import no modules from the working directory.
            # A new session: Ctrl-C reaches only the supervisor, which stops the process gracefully.
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "tagger.cli.main", "-v", *self._command],
                stdin=subprocess.PIPE,  # it closes when this process ends, however that happens, and ends the child
                stdout=output,
                stderr=output,
                pass_fds=self._file_descriptors,
                start_new_session=True,
            )


def _exit_cause(log: Path, start: int) -> str:
    """The last line of the log after byte `start` that names an error; the last one if none does, as of a traceback."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").strip().splitlines()
    errors = [match[match.lastindex or 0] for match in map(_ERROR_LINE.search, lines) if match]
    return [*(lines[-1:] or ["its log is empty"]), *errors][-1]
