"""What a program sets for its process: streams, signals, garbage collection, threads of engines, imports.

Ctrl-C and SIGTERM end a program in order if that takes at most END_S, and at once on a second signal. A
locked database, a forward pass or a disk that hangs may keep the main thread, which handles signals, so
another thread ends the process when the time is over. That is safe at any moment: results are stored in
transactions, and files are replaced by renaming.

This module imports little, so that a program can be interrupted from its start.
"""

import gc
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed, as in `tagger query >&-`.

    Python's stream is None then, and the next file that is opened would get its descriptor.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - it stays open, as other streams


def drop_unwritable_results() -> None:
    """Drop what stdout does not take: the interpreter would try again, and print a second error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def has_closed_reader(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


EXIT_CODE = 130
# How long a program may take to end after the first signal.
END_S = 2.0
STDERR = 2
# Shows the cursor, which progress bars hide, and clears the line.
SHOW_CURSOR = "\r\x1b[K\x1b[?25h"
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def run_interruptible(program: Callable[[], None], advice: str) -> None:
    """Run a program, which ends by returning or by SystemExit. A signal raises KeyboardInterrupt in it.

    An interrupted program prints `advice` about how to continue, and exits with EXIT_CODE.
    """
    global _current  # noqa: PLW0603 - a process runs one program, and signals are those of the process
    _current = _Interruption(f"interrupted; {advice}")
    try:
        _current.run(program)
    finally:
        _current.close()
        _current = None


def set_message(message: str) -> None:
    """Replace what the running program prints when it is interrupted; empty: nothing."""
    if _current is not None:
        _current.message = message


def handle_own_signals() -> None:
    """Leave signals to the running program: a service, which may take longer to end."""
    if _current is not None:
        _current.stop_watching()


class _Interruption:
    def __init__(self, message: str) -> None:
        self.message = message
        self._is_watching = True
        self._is_interrupted = False
        self._announcements = threading.Semaphore(1)
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._former_writer = signal.set_wakeup_fd(
            self._writer, warn_on_full_buffer=False
        )
        self._thread = threading.Thread(
            target=self._watch, name="interruption", daemon=True
        )
        self._thread.start()
        for number in _SIGNALS:
            if (
                signal.getsignal(number) != signal.SIG_IGN
            ):  # nohup, or a background job of a script
                signal.signal(number, self._interrupt)

    def run(self, program: Callable[[], None]) -> None:
        try:
            program()
        except KeyboardInterrupt:
            self._exit()
        except SystemExit as end:
            if end.code == EXIT_CODE:  # Typer has caught the KeyboardInterrupt
                self._exit()
            raise

    def stop_watching(self) -> None:
        if self._is_watching:
            self._is_watching = False
            signal.set_wakeup_fd(self._former_writer)

    def close(self) -> None:
        for number in _SIGNALS:
            if signal.getsignal(number) == self._interrupt:
                signal.signal(number, signal.SIG_DFL)
        self.stop_watching()
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_interrupted and self._is_watching:
            return  # the other thread ends the process
        self._is_interrupted = True
        raise KeyboardInterrupt

    def _exit(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        self._announce()
        if self._is_interrupted and self._is_watching:
            os._exit(EXIT_CODE)  # a normal exit would wait for threads that hang
        sys.exit(EXIT_CODE)

    def _announce(self, before: str = "") -> None:
        # Print the message, unless the other thread does.
        if self.message and self._announcements.acquire(blocking=False):
            with suppress(OSError):
                # Not to sys.stderr, which a progress bar may have replaced.
                os.write(STDERR, f"{before}{self.message}\n".encode())

    # --- The other thread ---

    def _watch(self) -> None:
        signals, end_at = 0, math.inf
        while signals < 2 and time.monotonic() < end_at:
            timeout_s = (
                None if math.isinf(end_at) else max(0.0, end_at - time.monotonic())
            )
            if select.select([self._reader], [], [], timeout_s)[0]:
                numbers = os.read(self._reader, 16)
                if not numbers:
                    return  # the program has ended
                signals += sum(number in _SIGNALS for number in numbers)
                if signals and math.isinf(end_at):
                    end_at = time.monotonic() + END_S
        self._announce(SHOW_CURSOR if os.isatty(STDERR) else "")
        os._exit(EXIT_CODE)


_current: _Interruption | None = None


# New objects after which the garbage collector looks at them: Python 3.13's default.
THRESHOLD = 2000


def postpone_collection() -> None:
    """Collect hardly anything while a program starts: imports make no cycles."""
    gc.set_threshold(100 * THRESHOLD)


def resume_collection() -> None:
    """Collect as usual from now on: processes that run long would keep the pixels of failed photos."""
    gc.freeze()
    gc.set_threshold(THRESHOLD)


def quiet_threads() -> None:
    """Let no thread spin while it waits for work. Call it before numpy or torch is imported.

    OpenBLAS gets no further thread: its threads spin for a tenth of a second after each product.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


# `import torch` runs the code of a `libcuda.so.1` in the working directory, which may be a stranger's.

# The flag of unshare(2) for the working directory.
_CLONE_FS = 0x200


def protect_imports() -> None:
    """Keep torch from reading the working directory when it is imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def root_folder() -> Iterator[None]:
    here = os.open(".", os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", 0))
    try:
        os.chdir("/")
        yield
    finally:
        os.fchdir(here)
        os.close(here)


class _Finder(MetaPathFinder):
    # Finds torch where Python finds it, and protects its import.
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname == "torch":
            spec = PathFinder.find_spec(fullname, path, target)
            if spec is not None and spec.origin is not None:
                _load_cusparselt(packages=Path(spec.origin).parents[1])
        return None  # other finders find it


def _load_cusparselt(packages: Path) -> None:
    # Load cuSPARSELt from where torch finds it, if it has CUDA. It is not loaded a second time.
    libraries = sorted(
        (packages / "nvidia" / "cusparselt" / "lib").glob("libcusparseLt.so*")
    )
    if libraries:
        import ctypes

        _run_in_root_folder(
            lambda: [ctypes.CDLL(str(library)) for library in libraries]
        )


def _run_in_root_folder(work: Callable[[], object]) -> None:
    # Run `work` in a thread whose working directory is `/`, or in a process if a container forbids that.
    from concurrent.futures import ThreadPoolExecutor

    def run() -> None:
        if _has_own_folder():
            os.chdir("/")
            work()
        else:
            with root_folder():
                work()

    with ThreadPoolExecutor(1, thread_name_prefix="root-folder") as pool:
        pool.submit(run).result()


def _has_own_folder() -> bool:
    # Give this thread a working directory of its own. False if the system cannot.
    import ctypes

    libc = ctypes.CDLL(None)
    return hasattr(libc, "unshare") and libc.unshare(_CLONE_FS) == 0
