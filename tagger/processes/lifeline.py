"""Programs of this package as child processes that end with their parent, however it ends.

Parent and child are connected by a pair of sockets, the lifeline: the child's standard input. When the parent
closes its end, or the system does because the parent was killed, the child stops as after SIGTERM.
"""

import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

KILL_TIMEOUT_S = 5.0


class LifelineProcess:
    """The parent's side of `python -m module arguments`.

    In a session of its own, it gets no signals of the terminal. In that of its parent, Ctrl-Z stops both, but
    it does not get Ctrl-C: the parent decides what follows.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        is_own_session: bool = False,
        output: int | None = None,
        errors: int | None = None,
        file_descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`output` and `errors`: the file descriptors of its streams, by default this process's.

        `file_descriptors` stay open.
        """
        self._is_ready = False
        self._lifeline, childs_end = socket.socketpair()
        ignored = set() if is_own_session else {signal.SIGINT}
        with childs_end:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, ignored)  # which the child inherits
            try:
                # -P: import no modules from the working directory.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, *arguments],
                    stdin=childs_end.fileno(),
                    stdout=output,
                    stderr=errors,
                    pass_fds=file_descriptors,
                    env=environment,
                    start_new_session=is_own_session,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; negative after a signal, None while the process runs."""
        return self._process.poll()

    @property
    def is_ready(self) -> bool:
        """Whether the process has called `report_ready`."""
        if not self._is_ready:
            with suppress(OSError):  # nothing yet, or never, as it has ended
                self._is_ready = bool(self._lifeline.recv(1, socket.MSG_DONTWAIT))
        return self._is_ready

    def send(self, data: bytes) -> None:
        """Write to its standard input, unless it has ended."""
        with suppress(OSError):
            self._lifeline.sendall(data)

    def stop(self) -> None:
        """Let the process stop, by closing the lifeline."""
        self._lifeline.close()

    def wait(self, timeout_s: float) -> None:
        """Wait until the process ends, and kill it after `timeout_s`."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._lifeline.close()

    def kill(self) -> None:
        """Kill the process, and wait for its end."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # the kernel keeps it, as long as a disk does not answer
            self._process.wait(KILL_TIMEOUT_S)
        self._lifeline.close()


def end_text(code: int) -> str:
    """How a process ended: `was ended by signal 9`, `exited with code 75`."""
    return f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
