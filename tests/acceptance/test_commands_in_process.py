"""Commands that run in the test process leave it as it was, so that no test depends on the one before."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

import torch
from support.command_line import SIGNALS, CommandRunner
from support.commands import draw_many

from tagger.cli.output import console


def state() -> dict[str, object]:
    """What a command could leave changed in its process."""
    loggers = [logging.getLogger(name) for name in (None, "tagger", "worker", "trainer")]
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "arguments": sys.argv[:],
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "signals": [signal.getsignal(number) for number in SIGNALS],
        "logging": [(log.handlers[:], log.level, log.propagate) for log in loggers],
        "verbosity": console.verbosity,
        "torch threads": torch.get_num_threads(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "files": sorted(_open_files()),
    }


def _open_files() -> list[str]:
    """The files that descriptors of this process point to, without the folder of descriptors itself, and kombu's few pollers."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [name for name in (str(link.readlink()) for link in links) if "eventpoll" not in name]


def test_commands_that_succeed_fail_and_are_misspelt_leave_nothing_behind(
    tagger_with_redis: CommandRunner, tmp_path: Path
) -> None:
    draw_many(tmp_path / "photos", 10)
    # The first commands make what a process has once: torch's threads.
    assert tagger_with_redis("tag", "photos").code == 0
    assert tagger_with_redis("enqueue", "photos", "--again").code == 0
    before = state()
    assert tagger_with_redis("-vv", "tag", "photos", "--again").code == 0
    assert tagger_with_redis("enqueue", "photos", "--again").code == 0
    assert tagger_with_redis("query", "--landmark", "no such landmark").code == 1
    assert tagger_with_redis("-q", "query", "--no-such-option").code == 2
    assert state() == before
