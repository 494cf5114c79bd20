"""Command lines of `tagger` and `trainer`, run in this process: starting Python and torch takes seconds.

A command gets its own environment, folder, standard streams and log handlers. Its caller's are restored
afterwards, and so are signal handlers. Tests of signals, servers and terminals start real processes (see
support.commands).
"""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from tagger.cli import console
from tagger.model.devices import core_count

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class CommandOutput:
    """The exit code of a command, its stdout as bytes, its stderr as text."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return os.fsdecode(self.out)

    @property
    def json(self) -> Any:
        return json.loads(self.out)


CommandRunner = Callable[..., CommandOutput]  # `tagger("query", "--json")` runs that command


def run_command(
    main: Callable[[], None],
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stdin: bytes = b"",
    code: int | None = None,
) -> CommandOutput:
    """Run a console script's `main` with these arguments; by default in this environment and folder.

    Fail unless it ends with `code`; None: with any.
    """
    texts = [os.fsdecode(each) if isinstance(each, bytes) else str(each) for each in arguments]
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        stack.enter_context(environment_of(environment))
        patch.chdir(folder or Path.cwd())
        patch.setattr(sys, "argv", [main.__module__.partition(".")[0], *texts])
        patch.setattr(console, "verbosity", console.verbosity)
        stack.enter_context(_log_handlers())
        stack.enter_context(_signal_handlers())
        stack.enter_context(_torch_threads())
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin)
        files[0].seek(0)
        with _standard_streams(files):
            ended = _exit_code(main)
        for file in files[1:]:
            file.seek(0)
        output = CommandOutput(ended, files[1].read(), os.fsdecode(files[2].read()))
    assert code in (None, ended), f"{texts} ended with {ended}:\n{output.text}{output.err}"
    return output


def run_program(*command: object, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a real process, and fail unless it ends with `code`; None: with any."""
    words = [each if isinstance(each, bytes) else str(each) for each in command]
    defaults = {"stdin": subprocess.DEVNULL, "timeout": 180}
    done = subprocess.run(words, capture_output=True, text=True, check=False, **defaults | options)
    shown = f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert code in (None, done.returncode), shown
    return done


def _exit_code(main: Callable[[], None]) -> int:
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001 - a real process prints the traceback and ends with 1
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def environment_of(environment: Mapping[str, str] | None) -> Iterator[None]:
    """Replace the environment variables of this process inside the context; None keeps them."""
    before = dict(os.environ)
    try:
        if environment is not None:
            os.environ.clear()
            os.environ.update(environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _log_handlers() -> Iterator[None]:
    """Start without handlers, as a new process does; pytest's would hide what Python writes to stderr."""
    loggers = [logging.getLogger(name) for name in (None, "tagger", "trainer", "worker")]
    before = [(log, log.handlers[:], log.level, log.propagate) for log in loggers]
    loggers[0].handlers = []
    try:
        yield
    finally:
        for log, handlers, level, propagate in before:
            log.handlers, log.propagate = handlers, propagate
            log.setLevel(level)


@contextmanager
def _signal_handlers() -> Iterator[None]:
    assert threading.current_thread() is threading.main_thread(), "commands run in the main thread"
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _torch_threads() -> Iterator[None]:
    """Start with as many threads as a new process; results of seeded training depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(core_count())
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _standard_streams(files: list[IO[bytes]]) -> Iterator[None]:
    """Let descriptors 0 to 2 and Python's streams point to the files, which child processes inherit."""
    streams = sys.stdin, sys.stdout, sys.stderr
    for stream in streams[1:]:
        stream.flush()
    descriptors = [os.dup(number) for number in range(3)]
    try:
        for number, file in enumerate(files):
            file.flush()
            os.dup2(file.fileno(), number)
        sys.stdin, sys.stdout, sys.stderr = map(_text_stream, range(3))
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _text_stream(number: int) -> io.TextIOWrapper:
    """The stream that Python opens on a descriptor at its start."""
    raw = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115
    errors = "backslashreplace" if number == 2 else "surrogateescape"
    return io.TextIOWrapper(raw, "utf-8", errors, line_buffering=number == 2)
