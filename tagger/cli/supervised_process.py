"""One command of `tagger` as a child process that is restarted when it exits."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tagger.cli.output import console
from tagger.errors import ProcessFailed
from tagger.processes.lifeline import LifelineProcess, end_text
from tagger.processes.permissions import create_private_file, make_private_folder, require_safe
from tagger.processes.stall import stalls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

RESTART_PAUSES_S = (1.0, 2.0, 5.0, 10.0)
# A process that exits sooner than this, several times in a row, is not restarted again.
EARLY_EXIT_S = 20.0
# The exit code of a process that cannot start.
REFUSED = 1


def stop_processes(processes: Sequence[SupervisedProcess], timeout_s: float) -> None:
    """Stop processes gracefully, as after SIGTERM, and kill those that have not ended after `timeout_s`.

    Raises:
        KeyboardInterrupt: a second signal; all are killed. A third one does not leave any running.
    """
    children = [process.child for process in processes]
    try:
        for child in children:
            child.stop()
        until = time.monotonic() + timeout_s
        for child in children:
            child.wait(max(0.0, until - time.monotonic()))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for child in children:
            child.kill()
        raise


class SupervisedProcess:
    """The process of one command. `check` restarts it: then `child` is another one."""

    def __init__(
        self,
        name: str,
        data_folder: Path,
        command: Sequence[str],
        *,
        is_logged: bool = True,
        stall_name: str | None = None,
        file_descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        warn: Callable[[str], None] = console.warning,
    ) -> None:
        """`command`: the arguments of `tagger`. `file_descriptors` stay open.

        It has a log file in the data folder and a session of its own, or without `is_logged`, the streams and
        the terminal of this process. `stall_name`: how its stall reports are called, if not like the command.
        """
        self.log = data_folder / f"{name}.log"
        self._is_logged = is_logged
        self._name = name
        self._command = command
        self._stall_name = stall_name or command[0]
        self._file_descriptors = file_descriptors
        self._environment = environment
        self._warn = warn
        self._early_exits = 0
        self._restart_at: float | None = None
        self._start()

    def check(self) -> None:
        """Restart the process if it has exited, after a pause.

        Raises:
            ProcessFailed: it exits right after each start.
        """
        if self._restart_at is not None:
            if time.monotonic() >= self._restart_at:
                self._start()
            return
        code = self.child.exit_code
        if code is None:
            return
        self.child.stop()
        is_early = time.monotonic() - self._started_at < EARLY_EXIT_S
        self._early_exits = self._early_exits + 1 if is_early else 1
        if self._early_exits > len(RESTART_PAUSES_S):
            raise self.failure(code)
        pause_s = RESTART_PAUSES_S[self._early_exits - 1]
        cause = self._cause()
        end = end_text(code) if code < 0 or not cause else f"{end_text(code)} ({cause})"
        self._warn(f"the {self._name} process {end}; restarting it in {pause_s:.0f} s")
        self._restart_at = time.monotonic() + pause_s

    def failure(self, code: int) -> ProcessFailed:
        """Return the error that it has exited with `code` right after its start, and why."""
        log = self.log if self._is_logged else "above"
        return ProcessFailed(name=self._name, log=log, reason=self._cause() or f"it {end_text(code)}.")

    def _cause(self) -> str:
        """What stood still, or what the process wrote last."""
        return next(iter(stalls(self.log.parent, self._stall_name).values()), None) or self._last_line()

    def _start(self) -> None:
        self._started_at = time.monotonic()
        self._restart_at = None
        if not self._is_logged:
            self.child = LifelineProcess("tagger.cli.main", self._command, environment=self._environment)
            return
        make_private_folder(self.log.parent)
        require_safe(self.log.parent)
        create_private_file(self.log)
        self._log_start = self.log.stat().st_size
        with self.log.open("ab") as output:
            self.child = LifelineProcess(
                "tagger.cli.main",
                ["-v", *self._command],
                is_own_session=True,
                output=output.fileno(),
                errors=output.fileno(),
                file_descriptors=self._file_descriptors,
            )

    def _last_line(self) -> str:
        """What the process wrote last into its log; empty without one."""
        if not self._is_logged:
            return ""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else "its log is empty"
