"""`tagger watch` as a real process, and what it would tag in this one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.commands import Process, Terminal

from tagger.jobs.enqueue.selection import Selection


@contextmanager
def started(terminal: Terminal, *arguments: str) -> Iterator[Process]:
    process = terminal.start(*arguments)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        log = terminal.log.read_text()
        assert "Traceback" not in log
        assert log.splitlines()[-1].startswith("stopped; ")
    finally:
        process.kill()
        process.wait()


def outcomes(terminal: Terminal) -> dict[str, str]:
    if not (terminal.data / "tagger.sqlite").exists():
        return {}
    found = terminal.json("query") + terminal.json("query", "--unknown")
    return {Path(each["path"]).name: each["outcome"] for each in found}


class Tagged(list[set[str]]):
    """The names of the photos that jobs were asked for."""

    def tag(self, selection: Selection) -> int:
        self.append({file.name for file in selection.files})
        return 1
