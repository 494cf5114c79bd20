"""Processes that stand still: a thread that keeps the interpreter's lock for good.

No Python runs in them any more: no heartbeat, no handler of a signal. Each is ended, restarted where it has a
supervisor, and reported. So is one that was stopped for longer than the limit.
"""

import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from support.commands import BIN, Process, Terminal, draw_many, stop

PHOTOS = 40
LIMIT_S = 10


@pytest.fixture
def terminal(tmp_path, redis_server) -> Terminal:
    """Processes with the shortest limit, which freeze on demand, and photos for them."""
    settings = {
        "TAGGER_REDIS_URL": redis_server.url,
        "TAGGER_DATABASE_URL": f"sqlite:///{tmp_path / 'database' / 'tagger.sqlite'}",
        "TAGGER_STALL_TIMEOUT_S": str(LIMIT_S),
        "TAGGER_BATCH_SIZE": "4",
    }
    terminal = Terminal(tmp_path / "terminal", settings)
    draw_many(terminal.folder / "photos", PHOTOS)
    return terminal


def freezing(terminal: Terminal, *commands: str) -> dict[str, Path]:
    """The files that freeze the commands once they exist."""
    terminal.inject(freeze=" ".join(commands), freeze_when=terminal.folder / "freeze")
    return {command: terminal.folder / f"freeze.{command}" for command in commands}


SERVICES = {
    "watch": ("watch", "photos"),
    "worker": ("worker",),
    "beat": ("beat",),
    "serve": ("serve", "--port", "0"),
}


def start_services(terminal: Terminal) -> dict[str, Process]:
    processes = {name: terminal.start(*arguments) for name, arguments in SERVICES.items()}
    terminal.wait_until(terminal.active_workers)
    terminal.wait_until(lambda: "the web page is at" in terminal.log.read_text())
    terminal.wait_until(lambda: "beat is running" in terminal.log.read_text())
    time.sleep(3)  # beat connects
    return processes


def assert_ended(process: Process, terminal: Terminal) -> None:
    """The C thread has ended the process. It says so with exit code 1 and in a report."""
    assert process.wait(timeout=60) == 1, terminal.log.read_text()[-2000:]


def test_programs_end_when_a_thread_keeps_the_interpreters_lock(terminal):
    terminal.run("db", "upgrade")
    files = freezing(terminal, *SERVICES)
    processes = start_services(terminal)
    for file in files.values():
        file.touch()
    for process in processes.values():
        assert_ended(process, terminal)
    for name in SERVICES:
        assert "most recent call first" in (terminal.data / f"stalled-{name}.log").read_text()


STARTS = {
    "tagger": [*SERVICES.values(), ("tag", "photos"), ("up", "--port", "0")],
    "celery": [("-A", "worker.app", "worker"), ("-A", "worker.app", "beat")],
}


@pytest.mark.parametrize(
    ("program", "module"),
    [("tagger", "tagger.cli.program"), pytest.param("celery", "sqlalchemy", marks=pytest.mark.slow)],
)
def test_programs_end_when_an_import_of_their_start_keeps_the_lock(terminal, program, module):
    commands = [next(word for word in words if word.isalpha()) for words in STARTS[program]]
    terminal.inject(freeze_on_import=module)
    for file in freezing(terminal, *commands).values():
        file.touch()
    processes = [terminal.start(*words, program=program) for words in STARTS[program]]
    try:
        for process in processes:
            assert_ended(process, terminal)
    finally:
        for process in processes:
            process.kill()
    assert "most recent call first" in terminal.log.read_text()


@pytest.mark.parametrize(
    "how", ["frozen", pytest.param("stopped for longer than the limit", marks=pytest.mark.slow)]
)
def test_tag_that_stands_still_loses_and_repeats_nothing(terminal, how):
    """Stopped: by Ctrl-Z, with a container, or by a debugger. Its next run tells of it."""
    file = freezing(terminal, "tag")["tag"]
    terminal.inject(slow_pass_s="0.3")
    tag = terminal.start("tag", "photos")
    terminal.wait_until(lambda: any(job.tagged for job in terminal.jobs()))
    if how == "frozen":
        file.touch()
    else:
        with terminal.frozen([tag]):
            time.sleep(LIMIT_S + 2)
    assert_ended(tag, terminal)
    terminal.injected.clear()
    done = terminal.run_process("tag", "photos")
    report = next(terminal.data.glob("stalled-tag.*.log"))
    assert "tagger tag made no progress and was ended on" in done.stderr
    assert str(report) in done.stderr
    assert "most recent call first" in report.read_text()
    assert len(terminal.json("query")) == PHOTOS * 4 // 5
    assert len(terminal.json("query", "--unknown")) == PHOTOS // 5
    terminal.assert_consistent()
    assert "stalled" not in terminal.run_process("tag", "photos").stderr


def test_up_restarts_services_that_freeze(terminal):
    files = freezing(terminal, "worker", "beat")
    up = terminal.start("up", "--port", "0")
    try:
        terminal.wait_until(terminal.active_workers)
        services = {_command(child): child for child in psutil.Process(up.pid).children()}
        for file in files.values():
            file.touch()
        terminal.wait_until(lambda: not any(services[name].is_running() for name in files))
        log = terminal.log.read_text
        terminal.wait_until(
            lambda: "the worker process exited with code 1 (tagger worker made no progress" in log()
        )
        terminal.wait_until(
            lambda: "the beat process exited with code 1 (tagger beat made no progress" in log()
        )
        job = int(terminal.run("enqueue", "photos").stdout)
        terminal.wait_until(lambda: terminal.progress(job).is_over)
        terminal.wait_until(lambda: len(psutil.Process(up.pid).children()) == len(services))
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(timeout=90)


@pytest.mark.slow
def test_up_itself_ends_with_its_services_when_it_freezes(terminal):
    file = freezing(terminal, "up")["up"]
    up = terminal.start("up", "--port", "0")
    terminal.wait_until(terminal.active_workers)
    services = psutil.Process(up.pid).children()
    file.touch()
    assert_ended(up, terminal)
    _, alive = psutil.wait_procs(services, timeout=60)
    assert alive == []


@pytest.mark.slow
def test_a_command_whose_output_is_not_read_for_longer_than_the_limit_continues(terminal):
    """As by a pager, or after Ctrl-S."""
    terminal.environment["TAGGER_READ_TIMEOUT_S"] = "1"
    draw_many(terminal.folder / "photos", 3 * PHOTOS)  # whose lines fill the pipe
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with open(reader, "rb") as output, terminal.log.open("ab") as log:  # noqa: PTH123 - a pipe
        command = [BIN / "tagger", "tag", "photos"]
        environment = terminal.environment
        tag = subprocess.Popen(
            command, cwd=terminal.folder, env=environment, stdout=writer, stderr=log, stdin=subprocess.DEVNULL
        )
        os.close(writer)
        terminal.wait_until(lambda: any(job.tagged for job in terminal.jobs()))
        with pytest.raises(subprocess.TimeoutExpired):
            tag.wait(timeout=LIMIT_S + 10)
        assert output.read().count(b".jpg") == 3 * PHOTOS
    assert tag.wait(timeout=60) == 0, terminal.log.read_text()[-2000:]


def _command(child: psutil.Process) -> str:
    return next(word for word in child.cmdline() if word in {"worker", "beat", "serve"})


@pytest.mark.parametrize("server", ["postgres", pytest.param("redis_server", marks=pytest.mark.slow)])
def test_programs_wait_for_a_server_that_is_stopped_for_longer_than_the_limit(
    terminal, postgres, request, server
):
    terminal.environment["TAGGER_DATABASE_URL"] = postgres.url
    draw_many(terminal.folder / "there", PHOTOS)
    terminal.inject(slow_pass_s="0.5")
    commands = [("up", "--port", "0"), ("watch", "photos")]
    programs = {words[0]: terminal.start(*words) for words in commands}
    try:
        terminal.wait_until(terminal.active_workers)
        job = int(terminal.run("enqueue", "there").stdout)
        terminal.wait_until(lambda: all(each.tagged for each in terminal.jobs()[:2]))
        frozen = request.getfixturevalue(server)
        frozen.pause()
        time.sleep(2 * LIMIT_S)
        frozen.resume()
        terminal.wait_until(lambda: terminal.progress(job).is_over)
        terminal.wait_until(lambda: all(each.is_over for each in terminal.jobs()))
        assert [name for name, program in programs.items() if program.poll() is not None] == []
        assert "process exited" not in terminal.log.read_text()  # the worker, beat, the page
        assert not any(file.stat().st_size for file in terminal.data.glob("stalled-*.log"))
        terminal.assert_consistent()
    finally:
        for program in programs.values():
            stop(program)


@pytest.mark.parametrize("moment", ["in its start", pytest.param("later", marks=pytest.mark.slow)])
def test_a_process_of_tag_that_freezes_is_replaced(terminal, moment):
    terminal.environment |= {"TAGGER_PROCESSES": "2"}
    draw_many(terminal.folder / "photos", 3 * PHOTOS)  # enough for both
    file = freezing(terminal, "worker")["worker"]
    terminal.inject(slow_pass_s="0.5")
    if moment == "in its start":
        terminal.inject(freeze_on_import="tagger.cli.options")
        file.touch()
    tag = terminal.start("tag", "photos")
    terminal.wait_until(lambda: any(job.tagged for job in terminal.jobs()))
    if moment == "later":
        file.touch()
    assert tag.wait(120) == 0
    text = terminal.log.read_text()
    assert text.count("process exited with code 1 (") == 1
    if moment == "later":
        assert "tagger job made no progress and was ended on" in text
    assert len(terminal.json("query")) == 3 * PHOTOS * 4 // 5
    assert len(terminal.json("query", "--unknown")) == 3 * PHOTOS // 5
