"""How commands end: exit codes, and what stderr says, when a pipe is closed, a file is missing or the usage is wrong."""

import os
import subprocess

import pytest
from support.commands import BIN, Terminal, draw


def run_with_closed_pipe(terminal: Terminal, program: str, *arguments: str) -> tuple[int, str]:
    """Run a command whose stdout nobody reads; returns the exit code and stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [BIN / program, *arguments],
        cwd=terminal.folder,
        env=terminal.environment,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=180,
        check=False,
    )
    os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "tagger query --format paths",
        *(
            pytest.param(command, marks=pytest.mark.slow)
            for command in (
                "tagger query --json",
                "tagger show photos/a.jpg",
                "tagger landmark list --all",
                "tagger job show 1",
                "tagger status",
                "tagger status --watch",
                "tagger trips",
                "tagger db export -",
                "tagger doctor --quick",
                "tagger predict photos/a.jpg",
                "tagger tag photos --again",
                "tagger --help",
                "tagger help query",
                "tagger --version",
                "trainer --help",
                "trainer data inspect data",
            )
        ),
    ],
)
def test_a_closed_pipe_is_no_failure(terminal: Terminal, command: str) -> None:
    draw(terminal.folder / "photos" / "a.jpg", 0)
    draw(terminal.folder / "data" / "train" / "barn" / "a.jpg", 0)
    terminal.run("tag", "photos")
    code, messages = run_with_closed_pipe(terminal, *command.split())
    assert (code, "Traceback" in messages, "error" in messages) == (0, False, False), messages


MISSING = "photos/missing.jpg"


@pytest.mark.parametrize(
    "command",
    [
        f"tag {MISSING}",
        f"watch {MISSING} --no-wait",
        f"up --once {MISSING}",
        f"backfill all --scan {MISSING}",
        f"similar photos/a.jpg {MISSING}",
        f"teach Barn photos/a.jpg {MISSING}",
        f"query --under {MISSING}",
        f"metadata show {MISSING}",
        f"metadata write {MISSING} --to sidecar",
        f"metadata undo {MISSING}",
        f"people share add --under {MISSING}",
        f"model add {MISSING}",
        f"model verify {MISSING}",
        f"pack add {MISSING}",
        f"review import {MISSING}",
        f"db import {MISSING}",
    ],
)
def test_a_missing_file_is_named(terminal: Terminal, command: str) -> None:
    draw(terminal.folder / "photos" / "a.jpg", 0)
    terminal.environment["TAGGER_MODEL"] = "none"  # the tiny one gives no embeddings
    done = terminal.run(*command.split(), code=1)
    *others, last = done.stderr.splitlines()
    assert last.startswith("error: There is no file or folder at")
    assert last.endswith("photos/missing.jpg. Check the name and that its disk or share is mounted.")
    assert (len(others) <= 1, done.stdout) == (True, "")


def test_wrong_usage_is_an_error_like_others(terminal: Terminal) -> None:
    for command in ("query --limit x", "query --bogus", "tagg", "job show", "job show x"):
        lines = terminal.run(*command.split(), code=2).stderr.splitlines()
        assert [line.split()[0] for line in lines if line.lower().startswith("error")] == ["error:"], command
