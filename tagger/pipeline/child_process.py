"""Child processes for work on one photo that may crash: the parent survives, sees how the child died, and starts another.

Knows nothing of how parent and child talk (see running_child), nor of what the child does with a photo.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tagger.errors import FailureKind, PhotoFailed
from tagger.pipeline.requests import decoding_timeout_text
from tagger.pipeline.running_child import ChildDied, ChildTimedOut, InvalidReply, ParentStopping, RunningChild
from tagger.system.process import FAULTS

START_S = 30.0
"""Added to the timeout of a child's first reply, because Python starts and imports first."""
_PASSED_ON = ("LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
"""Variables that Python may need to start."""

T = TypeVar("T")


def minimal_environment() -> dict[str, str]:
    """The environment of a child without secrets: it imports the same code as this process, and uses one thread."""
    passed_on = {name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None}
    # This program's own folder first: it is not always in a path, as in an installation for development.
    folders = [
        str(Path(__file__).parents[2]),
        *(path for path in sys.path if Path(path).is_absolute()),
    ]
    return passed_on | {
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUTF8": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


class ChildKilled(PhotoFailed):
    """The child that had the photo was killed twice. An operator or the OOM killer may have done it, so the photo may be fine."""


class ChildProcess:
    """A child process that runs `module`, started on demand and restarted after it died or was given up.

    `config` is the child's first line; it may hold secrets, so it is not an argument. `must_stop` ends each wait.
    """

    def __init__(
        self,
        module: str,
        config: Mapping[str, object],
        timeout_s: float,
        *,
        environment: Callable[[], Mapping[str, str]],
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._module = module
        self._config = config
        self._timeout_s = timeout_s
        self._environment = environment
        self._must_stop = must_stop
        self._lock = threading.Lock()
        """Held during a call: a read that was given up may still wait for the child when the next one begins."""
        self._process: RunningChild | None = None
        self._closed = False

    @property
    def photo(self) -> object:
        """What identifies the photo that the child has open; None if there is none."""
        process = self._process
        return process and process.photo

    @property
    def is_started(self) -> bool:
        return self._process is not None

    def close(self) -> None:
        """End the child. A call in progress in another thread fails."""
        self._closed = True  # that call must not start another child
        self._end()

    def run(self, work: Callable[[RunningChild], T]) -> T:
        """Call `work` with the running child, and once more with another one if the child dies of it.

        Raises:
            PhotoFailed: the child reports it, or took too long, or both children crashed, or the reply is invalid.
            ChildKilled: both children died, and at least one was killed.
            ParentStopping: `must_stop` became true.
        """
        deaths: list[int | None] = []
        with self._lock:
            if self._process is not None and self._process.is_retired:
                self._end()
            while True:
                try:
                    return work(self._running())
                except ChildDied as died:
                    self._end()
                    if died.code == -signal.SIGXCPU:
                        raise self._late() from died
                    deaths.append(died.code)
                    if len(deaths) > 1:
                        raise _failure_of(deaths) from died
                except ChildTimedOut:
                    self._end()
                    raise self._late() from None
                except InvalidReply as invalid:
                    self._end()
                    text = f"an error in this program (the process that reads photos sent {invalid}); please report it"
                    raise PhotoFailed(FailureKind.INTERNAL, text) from invalid
                except ParentStopping:
                    self._end()
                    raise

    def survives(self, for_s: float) -> bool:
        """Whether a child that has nothing to do lives this long. If not, something outside kills the children."""
        with self._lock:
            try:
                return self._running().is_alive_after(for_s)
            except ChildDied:
                self._end()
                return False

    def _running(self) -> RunningChild:
        if self._closed:
            raise RuntimeError("the child process is closed")
        if self._process is None:
            self._process = RunningChild(
                self._module,
                self._config,
                self._environment(),
                timeout_s=self._timeout_s,
                start_s=START_S,
                must_stop=self._must_stop,
            )
        return self._process

    def _late(self) -> PhotoFailed:
        return PhotoFailed(FailureKind.TIMED_OUT, decoding_timeout_text(self._timeout_s))

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


def _failure_of(deaths: list[int | None]) -> PhotoFailed:
    """What the exit codes of the children prove about the photo."""
    code = deaths[-1]
    if code is None or code >= 0:
        text = f"an error in this program (the process that reads photos ended with code {code}); please report it"
        return PhotoFailed(FailureKind.INTERNAL, text)
    text = (
        f"Reading it crashes the process that reads photos ({_signal_name(-code)}). The photo is damaged in a way that "
        "crashes a decoder, or needs more memory than there is. Restore it from a backup or save it again."
    )
    are_faults = all(code is not None and -code in FAULTS for code in deaths)
    return (PhotoFailed if are_faults else ChildKilled)(FailureKind.CRASHED, text)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"
