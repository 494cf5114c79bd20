"""How commands end: exit codes, and what stderr says of a closed pipe, a missing file or wrong usage."""

import os
import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from rig.servers import RedisServer
from support.camera_photos import draw_shot
from support.command_line import CommandRunner, run_command
from support.command_words import internal_words
from support.commands import BIN, Screen, Terminal, draw, stop

from tagger.cli.main import main
from tagger.database.connection import Database


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
                "tagger status",
                "tagger status --watch",
                "tagger doctor --quick",
                "tagger predict photos/a.jpg",
                "tagger tag photos --again",
                "tagger --help",
                "tagger --version",
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
        f"model add {MISSING}",
        f"model verify {MISSING}",
        f"review import {MISSING}",
    ],
)
def test_a_missing_file_is_named(terminal: Terminal, command: str) -> None:
    draw(terminal.folder / "photos" / "a.jpg", 0)
    terminal.environment["TAGGER_MODEL"] = "none"  # the tiny one gives no embeddings
    done = terminal.run(*command.split(), code=1)
    *others, last = done.stderr.splitlines()
    assert last.startswith("error: There is no file or folder at")
    assert last.endswith("photos/missing.jpg. Check the name, and that its disk, share or bucket is there.")
    assert (len(others) <= 1, done.stdout) == (True, "")


@pytest.mark.postgresql
@pytest.mark.parametrize("words", ["query --landmark", "schedule pause", "landmark remove"])
def test_a_name_that_is_not_utf_8_is_refused(terminal: Terminal, database_url: str, words: str) -> None:
    terminal.environment["TAGGER_DATABASE_URL"] = database_url
    done = terminal.run(*words.split(), b"\xffa", code=2)
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert re.search(r"'\\udcffa':? (it )?is not UTF-8; only paths may have other bytes", done.stderr)


def make_unreadable_folder(folder: Path) -> None:
    """Make a folder in `folder` whose path is too long to be listed, also by root."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)


@pytest.fixture
def photos(terminal: Terminal) -> Path:
    """A folder with a photo, and a folder in it that cannot be read."""
    make_unreadable_folder(terminal.folder / "photos")
    draw(terminal.folder / "photos" / "a.jpg", 0)
    return terminal.folder / "photos"


UNREAD = "1 folder could not be read"


@pytest.mark.parametrize(
    "command", ["tag photos", "backfill all --scan photos", "backfill untagged --scan photos --local"]
)
def test_a_folder_that_cannot_be_read_is_no_success(terminal: Terminal, photos: Path, command: str) -> None:
    done = terminal.run(*command.split(), code=3)
    assert "The folder cannot be read" in done.stderr
    assert UNREAD in done.stderr
    assert terminal.json(*command.split(), code=3)["skipped_folders"] == 1
    assert UNREAD in terminal.run("job", "show", "1").stdout
    assert terminal.json("status")["jobs"][0]["skipped_folders"] == 1
    shutil.rmtree(photos / ("d" * 250))
    assert terminal.json(*command.split())["skipped_folders"] == 0


def test_workers_cannot_hide_a_folder_that_cannot_be_read(
    terminal: Terminal, photos: Path, redis_server: RedisServer
) -> None:
    terminal.environment["TAGGER_REDIS_URL"] = redis_server.url
    assert terminal.json("enqueue", str(photos), code=3)["skipped_folders"] == 1
    with terminal.processing_jobs():
        assert UNREAD in terminal.run("enqueue", str(photos), "--wait", code=3).stderr


@pytest.mark.slow
def test_watching_mentions_a_folder_that_cannot_be_read_once(terminal: Terminal, photos: Path) -> None:
    watching = terminal.start("watch", str(photos))
    terminal.wait_until(lambda: terminal.log.exists() and "1 tagged" in terminal.log.read_text())
    draw(photos / "b.jpg", 1)
    terminal.wait_until(lambda: terminal.log.read_text().count("1 tagged") == 2)
    assert stop(watching) == 130
    assert terminal.log.read_text().count(f"1 folder in {photos} could not be read") == 1


@pytest.mark.parametrize(
    "command", ["tagger status", "tagger worker", "tagger beat", "celery -A worker.app worker"]
)
def test_an_invalid_setting_is_one_sentence(terminal: Terminal, command: str) -> None:
    program, *arguments = command.split()
    done = subprocess.run(
        [BIN / program, *arguments],
        env=terminal.environment | {"TAGGER_REDIS_URL": "localhost:6379"},
        cwd=terminal.folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith(
        "error: Invalid setting: redis_url (TAGGER_REDIS_URL): it is not an address like"
    )


FAILING = [
    "query --country Atlantis",
    "query --landmark atlantis",
    "tag",
    "tag photos --model photos/a.jpg",
    "tag photos --write embed --gps-estimated --max-error-km x",
    "backfill everything",
    "forget photos",
    "job show 99",
    "job retry 99",
    "show photos/b.jpg",
    "confirm atlantis photos/a.jpg",
    "teach Barn photos/text.txt",
    "model add photos/text.txt",
    "model use atlantis",
    "review import photos/text.txt",
    "metadata show photos",
    "metadata write photos",
    "landmark edit atlantis --country X",
    "serve --host 192.0.2.1",
]


@pytest.mark.parametrize("command", FAILING)
def test_a_command_that_fails_says_so_in_plain_words(terminal: Terminal, command: str) -> None:
    draw(terminal.folder / "photos" / "a.jpg", 0)
    (terminal.folder / "photos" / "text.txt").write_text("text")
    done = run_command(main, *command.split(), environment=terminal.environment, folder=terminal.folder)
    assert done.code in {1, 2, 3}
    assert (done.err.count("error: "), internal_words(done.err)) == (1, set()), done.err
    assert "\t" not in done.err


@pytest.mark.parametrize("group", ["", "job", "landmark"])
def test_a_group_without_a_command_prints_its_commands_and_no_error(terminal: Terminal, group: str) -> None:
    done = run_command(main, *group.split(), environment=terminal.environment, folder=terminal.folder)
    assert (done.code, "Usage: " in done.err, "error:" in done.err) == (2, True, False)


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_shown_as_it_was_written(terminal: Terminal) -> None:
    terminal.environment["TAGGER_DATABASE_URL"] = "postgresql://127.0.0.1:1/tagger"
    for command in ("status", "query", "worker"):
        message = terminal.run_process(command, code=1).stderr
        assert "postgresql://127.0.0.1:1/tagger" in message
        assert internal_words(message) == set()


def test_a_search_on_a_terminal_ends_with_the_number_of_photos(terminal: Terminal) -> None:
    draw_shot(terminal.folder / "photos" / "tower.jpg", 0, gps=(48.8584, 2.2945), label=0)
    draw_shot(terminal.folder / "photos" / "street.jpg", 1, gps=(48.8585, 2.2946))
    terminal.run("tag", "photos")
    with closing(Screen(terminal, "query", "--near", "48.858,2.294", "--radius-km", "1")) as screen:
        screen.read_until(b"2 photos, 1 of them by position alone")
        assert b"\nphotos/tower.jpg " in screen.written
    assert terminal.run("query").stderr == ""


@pytest.mark.parametrize(
    ("words", "former"),
    [
        ("help people", "tagger people"),
        ("-q people user add ada --json", "tagger people"),
        ("people share add --trip 7", "tagger people share"),
        ("serve --keep-shares", "--keep-shares"),
    ],
)
def test_a_former_command_says_what_replaces_it(terminal: Terminal, words: str, former: str) -> None:
    done = terminal.run(*words.split(), code=2)
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)
    assert done.stderr.startswith(f"error: `{former}` is gone: ")


@pytest.mark.parametrize(
    ("word", "command"),
    [
        ("list", "tagger query"),
        ("search", "tagger query TEXT"),
        ("undo", "tagger metadata undo"),
        ("export", "tagger query --format csv"),
    ],
)
def test_words_of_other_programs_lead_to_the_command(terminal: Terminal, word: str, command: str) -> None:
    assert f"There is no command '{word}': " in (said := terminal.run(word, code=2).stderr)
    assert command in said


def test_a_statement_that_the_database_refuses_is_called_a_defect(
    tagger: CommandRunner, sqlite_database: Database
) -> None:
    refuse = "CREATE TRIGGER refused BEFORE INSERT ON landmarks BEGIN SELECT RAISE(ABORT, 'no row'); END"
    with sqlite_database.write() as connection:
        connection.exec_driver_sql(refuse)
    done = tagger("landmark", "add", "Old Tower")
    assert (done.code, done.err.partition(". ")[0]) == (
        1,
        "error: The database refuses a statement of this program: no row",
    )
    assert "IntegrityError" in tagger("-vv", "landmark", "add", "Old Tower").err
