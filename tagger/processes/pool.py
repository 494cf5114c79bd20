"""Child processes: commands of this program that end with their parent, and are restarted when they exit.

Parent and child are connected by a pair of sockets, the lifeline: the child's standard input. The child may
say once that it is ready. When the parent closes its end, or the system does because the parent was killed,
the child stops as after SIGTERM. A child that cannot start exits with REFUSED, and says why in its last line.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self

from tagger.errors import ProcessFailed
from tagger.processes.permissions import (
    create_private_file,
    make_private_folder,
    require_safe,
)
from tagger.processes.stall import stalls

STDIN = 0
# The exit code of a process that cannot start.
REFUSED = 1
# A poisoned photo ends a process five times until it fails: twice with others, three times alone.
RESTART_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 10.0)
# A process that exits sooner than this, more often in a row than there are pauses, is not restarted again.
EARLY_EXIT_S = 20.0
KILL_TIMEOUT_S = 5.0
ERROR = "error: "


def follow_parent() -> None:
    """Stop this process, by SIGTERM, when its parent ends or closes the lifeline."""
    threading.Thread(target=_follow_parent, name="parent", daemon=True).start()


def _follow_parent() -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(STDIN)) as parent:
        parent.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def report_ready() -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(STDIN)) as parent:
        parent.send(b"\n")


class Child:
    """The parent's side of `tagger` with some arguments. `Pool.check` starts it again after its exit."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        stall_name: str,
        log: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        file_descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`stall_name`: how its stall reports are called. `file_descriptors` stay open.

        With a log, it writes there, and has a session of its own: it gets no signals of the terminal.
        Without, Ctrl-Z stops parent and child, but the child does not get Ctrl-C: the parent decides what
        follows. What it writes then goes to `on_line`, or to the streams of the parent.
        """
        self.name = name
        self.stall_name = stall_name
        self.log = log
        self._arguments = arguments
        self._on_line = on_line
        self._file_descriptors = file_descriptors
        self._environment = environment
        self._is_ready = False
        self._reader: threading.Thread | None = None
        self.early_exits = 0
        # When it is started again; None: it runs, or its exit was not seen yet.
        self.restart_at: float | None = None
        self.start()

    def start(self) -> None:
        """Start the process.

        Raises:
            OSError, PermissionsUnsafe: its log cannot be written.
        """
        self.started_at = time.monotonic()
        self.restart_at = None
        self._last_line = ""
        ignored = {signal.SIGINT} if self.log is None else set()
        with ExitStack() as stack:
            self._lifeline, childs_end = socket.socketpair()
            stack.enter_context(childs_end)
            output = None if self._on_line is None else subprocess.PIPE
            if self.log is not None:
                make_private_folder(self.log.parent)
                require_safe(self.log.parent)
                create_private_file(self.log)
                output = stack.enter_context(self.log.open("ab")).fileno()
                self._log_start = self.log.stat().st_size
            # The child inherits the mask.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, ignored)
            stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
            # -P: import no modules from the working directory.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tagger.cli.main", *self._arguments],
                stdin=childs_end.fileno(),
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                pass_fds=self._file_descriptors,
                env=self._environment,
                start_new_session=self.log is not None,
            )
        self.pid = self._process.pid
        if self._process.stdout is not None:
            lines = self._process.stdout
            self._reader = threading.Thread(
                target=self._read, args=(lines,), name="child", daemon=True
            )
            self._reader.start()

    def _read(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                self._last_line = line.decode(errors="replace").rstrip()
                if self._on_line is not None and not self._last_line.startswith(ERROR):
                    self._on_line(self._last_line)

    @property
    def exit_code(self) -> int | None:
        """The exit code; negative after a signal, None while the process runs."""
        return self._process.poll()

    @property
    def is_ready(self) -> bool:
        if not self._is_ready:
            with suppress(OSError):  # nothing yet, or never, as it has ended
                self._is_ready = bool(self._lifeline.recv(1, socket.MSG_DONTWAIT))
        return self._is_ready

    @property
    def end(self) -> str:
        """How the process ended: `was ended by signal 9`, `exited with code 75`."""
        code = self.exit_code or 0
        return (
            f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
        )

    def last_line(self) -> str:
        """What the process wrote last, as far as its parent knows."""
        if self._reader is not None:
            self._reader.join(KILL_TIMEOUT_S)
        if self.log is None:
            return self._last_line
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty"

    def stop(self) -> None:
        """Let the process stop, by closing the lifeline."""
        self._lifeline.close()

    def wait(self, timeout_s: float) -> None:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        # The kernel keeps it, as long as a disk does not answer.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_TIMEOUT_S)
        self._lifeline.close()


class Pool:
    """Keeps child processes running, and stops them at its end, gracefully if they need at most `stop_s`."""

    def __init__(
        self, data_folder: Path, warn: Callable[[str], None], stop_s: float
    ) -> None:
        """`data_folder` has the logs and stall reports."""
        self.children: list[Child] = []
        self._data_folder = data_folder
        self.warn = warn
        self._stop_s = stop_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(
        self, name: str, *arguments: str, file_descriptors: Sequence[int] = ()
    ) -> Child:
        """Start a service, `tagger` with these arguments, and keep it running. It has a log file."""
        child = Child(
            name,
            ["-v", *arguments],
            stall_name=arguments[0],
            log=self._data_folder / f"{name}.log",
            file_descriptors=file_descriptors,
        )
        self.children.append(child)
        return child

    def check(self) -> None:
        """Restart the processes that have exited, each after a pause.

        Raises:
            ProcessFailed: one exits right after each start.
        """
        for child in [*self.children]:
            if child.restart_at is not None:
                if time.monotonic() >= child.restart_at:
                    child.start()
            elif child.exit_code is not None:
                child.stop()
                if self.is_needed(child):
                    self._plan_restart(child)
                else:
                    self.children.remove(child)

    def is_needed(self, child: Child) -> bool:  # noqa: ARG002 - pools of processes that may end decide
        return True

    def _plan_restart(self, child: Child) -> None:
        is_early = time.monotonic() - child.started_at < EARLY_EXIT_S
        child.early_exits = child.early_exits + 1 if is_early else 1
        if child.early_exits > len(RESTART_PAUSES_S):
            raise self.failure(child)
        pause_s = RESTART_PAUSES_S[child.early_exits - 1]
        cause = "" if (child.exit_code or 0) < 0 else self._cause(child)
        end = f"{child.end} ({cause})" if cause else child.end
        self.warn(f"the {child.name} process {end}; restarting it in {pause_s:.0f} s")
        child.restart_at = time.monotonic() + pause_s

    def failure(self, child: Child) -> ProcessFailed:
        reason = self._cause(child) or f"it {child.end}."
        return ProcessFailed(name=child.name, log=child.log or "above", reason=reason)

    def _cause(self, child: Child) -> str:
        # What stood still, or what the process wrote last.
        reports = list(stalls(self._data_folder, child.stall_name).values())
        return reports[0] if reports else child.last_line().removeprefix(ERROR)

    def stop(self) -> None:
        """Stop all processes as after SIGTERM, and kill those that have not ended in time.

        Raises:
            KeyboardInterrupt: a second signal; all are killed. A third one does not leave any running.
        """
        try:
            for child in self.children:
                child.stop()
            until = time.monotonic() + self._stop_s
            for child in self.children:
                child.wait(max(0.0, until - time.monotonic()))
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for child in self.children:
                child.kill()
            raise
        finally:
            self.children.clear()
