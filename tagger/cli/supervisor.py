"""The child processes of `tagger up`."""

from __future__ import annotations

import math
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tagger.cli.output import console
from tagger.errors import ProcessFailed, RedisUnavailable
from tagger.system.permissions import create_private_file, make_private_folder, require_safe
from tagger.system.stall import stalls

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tagger.cli.session import Session
    from tagger.settings import Settings

RESTART_PAUSES_S = (1.0, 2.0, 5.0, 10.0)
EARLY_EXIT_S = 20.0
"""A process that exits sooner than this, several times in a row, is not restarted again."""
CHILD_STOP_TIMEOUT_S = 60.0
KILL_TIMEOUT_S = 5.0
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
        self.worker = _Process("worker", self._settings)
        self._page: _Process | None = None
        self._processes = [self.worker, _Process("beat", self._settings)]
        if page is not None:
            command = ("serve", "--fd", str(page.fileno()))
            self._page = _Process("page", self._settings, command, (page.fileno(),))
            self._processes.append(self._page)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop the processes gracefully; a second Ctrl-C kills them."""
        try:
            for process in self._processes:
                process.terminate()
            for process in self._processes:
                process.wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third one must not leave the rest running
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for process in self._processes:
                process.kill()
            raise

    def watch(self, arguments: Sequence[str]) -> Path:
        """Keep `tagger watch` running with these arguments, too; returns its log."""
        watch = _Process("watch", self._settings, ("watch", *arguments))
        self._processes.append(watch)
        return watch.log

    def check(self) -> None:
        """Restart processes that have exited. While Redis is away, nothing is restarted: they wait for it.

        Raises:
            ProcessFailed: one keeps exiting right after its start. Without the page, the others continue.
        """
        has_exited = any(process.has_exited for process in self._processes)
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


class _Process:
    """One `tagger` command as a child process."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        command: Sequence[str] | None = None,
        file_descriptors: Sequence[int] = (),
    ) -> None:
        """`command`: the arguments of `tagger`; None: the name. `file_descriptors` stay open."""
        self.log = settings.data_folder / f"{name}.log"
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
        self._lifeline.close()
        is_early = time.monotonic() - self._started_at < EARLY_EXIT_S
        self._early_exits = self._early_exits + 1 if is_early else 1
        cause = next(iter(stalls(self.log.parent, self._command[0]).values()), None) or self._last_line()
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
        with suppress(subprocess.TimeoutExpired):  # the kernel keeps it, as long as a disk does not answer
            self._child.wait(KILL_TIMEOUT_S)
        self._lifeline.close()

    def wait(self) -> None:
        try:
            self._child.wait(CHILD_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._lifeline.close()

    def _start(self) -> None:
        self._started_at = time.monotonic()
        self._restart_at = None
        make_private_folder(self.log.parent)
        require_safe(self.log.parent)
        create_private_file(self.log)
        self._log_start = self.log.stat().st_size
        # The other end closes when this process ends, however that happens, and ends the child.
        self._lifeline, childs_end = socket.socketpair()
        with self.log.open("ab") as output, childs_end:
            # -P: import no modules from the working directory.
            # A new session: Ctrl-C reaches only the supervisor, which stops the process gracefully.
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "tagger.cli.main", "-v", *self._command],
                stdin=childs_end.fileno(),
                stdout=output,
                stderr=output,
                pass_fds=self._file_descriptors,
                start_new_session=True,
            )

    def _last_line(self) -> str:
        """What the process wrote last into its log."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else "its log is empty"
