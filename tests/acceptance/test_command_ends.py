"""How commands end: exit codes, and what stderr says of wrong usage, missing files and impossible values."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.camera_photos import draw_shot
from support.command_line import run_command
from support.command_words import internal_words
from support.commands import BIN, Screen, Terminal, draw

from tagger.cli.help import DEFAULT
from tagger.cli.main import main
from tagger.cli.program import commands


@pytest.mark.parametrize(
    "command",
    [
        "tagger query --format paths",
        *(
            pytest.param(command, marks=pytest.mark.slow)
            for command in (
                "tagger query --json", "tagger show photos/a.jpg", "tagger status",
                "tagger status --watch", "tagger doctor --quick", "tagger predict photos/a.jpg",
                "tagger tag photos --again", "tagger --help", "tagger --version",
                "trainer data inspect data",
            )
        ),
    ],
)  # fmt: skip
def test_a_closed_pipe_is_no_failure(terminal, command):
    draw(terminal.folder / "photos" / "a.jpg", 0)
    draw(terminal.folder / "data" / "train" / "barn" / "a.jpg", 0)
    terminal.run("tag", "photos")
    reader, writer = os.pipe()
    os.close(reader)
    program, *arguments = command.split()
    done = subprocess.run(
        [BIN / program, *arguments],
        cwd=terminal.folder,
        env=terminal.environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=180,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, re.findall("Traceback|error", done.stderr)) == (0, []), done.stderr


MISSING = "photos/missing.jpg"


NAMING_IT = (
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
)


def test_what_cannot_be_done_is_said_in_plain_words(terminal):
    draw(terminal.folder / "photos" / "a.jpg", 0)
    terminal.environment["TAGGER_MODEL"] = "none"  # the tiny one gives no embeddings
    for command in NAMING_IT:
        done = terminal.run(*command.split(), code=1)
        *others, last = done.stderr.splitlines()
        assert last.startswith("error: There is no file or folder at")
        assert last.endswith(
            "photos/missing.jpg. Check the name, and that its disk, share or bucket is there."
        )
        assert (len(others) <= 1, done.stdout) == (True, ""), command
    (terminal.folder / "photos" / "text.txt").write_text("text")
    for command in FAILING:
        done = run_command(main, *command.split(), environment=terminal.environment, folder=terminal.folder)
        assert done.code in {1, 2, 3}, command
        assert (done.err.count("error: "), internal_words(done.err)) == (1, set()), done.err
        assert "\t" not in done.err, command


@pytest.mark.postgresql
@pytest.mark.parametrize("words", ["query --landmark", "schedule pause", "landmark remove"])
def test_a_name_that_is_not_utf_8_is_refused(terminal, database_url, words):
    terminal.environment["TAGGER_DATABASE_URL"] = database_url
    done = terminal.run(*words.split(), b"\xffa", code=2)
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert re.search(r"'\\udcffa':? (it )?is not UTF-8; only paths may have other bytes", done.stderr)


@pytest.fixture
def photos(terminal) -> Path:
    """A folder with a photo, and a folder in it whose path is too long to be listed, also by root."""
    folder = terminal.folder / "photos"
    draw(folder / "a.jpg", 0)
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    return folder


UNREAD = "1 folder could not be read"


@pytest.mark.parametrize(
    "command", ["tag photos", "backfill all --scan photos", "backfill untagged --scan photos --local"]
)
def test_a_folder_that_cannot_be_read_is_no_success(terminal, photos, command):
    done = terminal.run(*command.split(), code=3)
    assert "The folder cannot be read" in done.stderr
    assert UNREAD in done.stderr
    assert terminal.json(*command.split(), code=3)["skipped_folders"] == 1
    assert UNREAD in terminal.run("job", "show", "1").stdout
    assert terminal.json("status")["jobs"][0]["skipped_folders"] == 1
    shutil.rmtree(photos / ("d" * 250))
    assert terminal.json(*command.split())["skipped_folders"] == 0


def test_workers_cannot_hide_a_folder_that_cannot_be_read(terminal, photos, redis_server):
    terminal.environment["TAGGER_REDIS_URL"] = redis_server.url
    assert terminal.json("enqueue", str(photos), code=3)["skipped_folders"] == 1
    with terminal.processing_jobs():
        assert UNREAD in terminal.run("enqueue", str(photos), "--wait", code=3).stderr


@pytest.mark.parametrize(
    "command",
    [
        "tagger worker",
        "celery -A worker.app worker",
        *(pytest.param(command, marks=pytest.mark.slow) for command in ("tagger status", "tagger beat")),
    ],
)
def test_an_invalid_setting_is_one_sentence(terminal, command):
    program, *arguments = command.split()
    terminal.environment["TAGGER_REDIS_URL"] = "localhost:6379"
    (line,) = terminal.run_process(*arguments, program=program, code=1).stderr.splitlines()
    assert line.startswith("error: Invalid setting: redis_url (TAGGER_REDIS_URL): it is not an address like")


FAILING = [
    "query --country Atlantis", "query --landmark atlantis", "tag",
    "tag photos --model photos/a.jpg",
    "tag photos --write embed --gps-estimated --max-error-km x", "backfill everything",
    "forget photos", "job show 99", "job retry 99", "show photos/b.jpg",
    "confirm atlantis photos/a.jpg", "teach Barn photos/text.txt", "model add photos/text.txt",
    "model use atlantis", "review import photos/text.txt", "metadata show photos",
    "metadata write photos", "landmark edit atlantis --country X", "serve --host 192.0.2.1",
]  # fmt: skip


def test_a_group_without_a_command_prints_its_commands_and_no_error(tagger):
    for done in (tagger(), tagger("job")):
        assert (done.code, "Usage: " in done.err, "error:" in done.err) == (2, True, False)


def test_a_search_on_a_terminal_ends_with_the_number_of_photos(terminal):
    draw_shot(terminal.folder / "photos" / "tower.jpg", 0, gps=(48.8584, 2.2945), label=0)
    draw_shot(terminal.folder / "photos" / "street.jpg", 1, gps=(48.8585, 2.2946))
    terminal.run("tag", "photos")
    with closing(Screen(terminal, "query", "--near", "48.858,2.294", "--radius-km", "1")) as screen:
        screen.read_until(b"2 photos, 1 of them by position alone")
        assert b"\nphotos/tower.jpg " in screen.written
    with closing(Screen(terminal, "query", "--under", "photos")) as screen:
        screen.read_until(f"1 photo in {terminal.folder}/photos".encode())
        assert b"\ntower.jpg " in screen.written
    assert terminal.run("query").stderr == ""


def test_former_commands_and_words_of_other_programs_lead_to_the_command(tagger):
    for words, former in (
        ("help people", "tagger people"),
        ("-q people user add ada --json", "tagger people"),
        ("people share add --trip 7", "tagger people share"),
        ("serve --keep-shares", "--keep-shares"),
    ):
        output = tagger(*words.split())
        assert (output.code, output.text, output.err.count("\n")) == (2, "", 1)
        assert output.err.startswith(f"error: `{former}` is gone: ")
    for word, command in (("search", "tagger query TEXT"), ("undo", "tagger metadata undo")):
        said = tagger(word).err
        assert (f"There is no command '{word}': " in said, command in said) == (True, True)


def test_a_statement_that_the_database_refuses_is_called_a_defect(tagger, sqlite_database):
    refuse = "CREATE TRIGGER refused BEFORE INSERT ON landmarks BEGIN SELECT RAISE(ABORT, 'no row'); END"
    with sqlite_database.write() as connection:
        connection.exec_driver_sql(refuse)
    done = tagger("landmark", "add", "Old Tower", code=1)
    assert done.err.startswith("error: The database refuses a statement of this program: no row. ")
    assert "IntegrityError" in tagger("-vv", "landmark", "add", "Old Tower").err


HUGE = "9" * 25
# Impossible values, by what options call theirs.
WRONG = {
    "CAMERA=±HH:MM": ("x", "Canon=+999999:00", "Canon=-500000:00"),
    "CRON": ("x", "0 0 31 2 *"),
    "DATE": ("yesterday", "0000-01-01", "2024-06-01T12:00Z"),
    "DEVICE": ("gpu",),
    "FORMAT": ("xml",),
    "HH:MM": ("x", "25:00"),
    "JOB": ("x", "0", HUGE),
    "KM": ("x", "nan", "-1"),
    "LANGUAGE": ("!",),
    "LAT,LON": ("x", "91,0"),
    "MINUTES": ("x", "0"),
    "MM-DD": ("x", "13-01", "02-30"),
    "MONTH": ("x", "13"),
    "N": ("x", "-1", HUGE),
    "OPTIONS": ("x", "nothing=1"),
    "PLACE": ("91,0", "Nowherestadt"),
    "S,W,N,E": ("x", "1,2,3"),
    "SCORE": ("x", "nan", "2"),
    "SLUG": ("A b",),
    "TIME": ("soon",),
    "YEAR": ("x", "0", "99999"),
    "ZONE": ("Nowhere/x",),
    **dict.fromkeys(("KIND", "ORDER", "PRIORITY", "QUEUES", "SHAPE", "SOURCE", "VERDICT", "WHERE"), ("x",)),
    "sidecar|embed": ("x",),
}
# Any text is a value, which may name nothing.
FREE = {"FILE", "FOLDER", "HOST", "LANDMARK", "MODEL", "NAME", "PATTERN", "PHOTO", "PHOTO...", "TRIP"}
ARGUMENTS = {
    "FILE": "photos/a.jpg",
    "FOLDER": "photos",
    "JOB": "1",
    "LANDMARK": "eiffel-tower",
    "PATH": "photos",
    "PHOTO": "photos/a.jpg",
    "URL": "sqlite:///copy.sqlite",
    "WHAT": "all",
}
# Values of options that a command needs.
OPTIONS = {"CRON": "0 3 * * *", "LANGUAGE": "de", "sidecar|embed": "sidecar"}


def commands_in(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, each in getattr(command, "commands", {}).items():
        yield from commands_in(each, words if name == DEFAULT else (*words, name))
    if not getattr(command, "commands", {}):
        yield words, command


def options() -> Iterator[tuple[tuple[str, ...], str, str]]:
    """A command line, an option with a value, and what its value is called; each declaration once."""
    seen = set()
    for name in commands:
        for words, command in commands_in(commands[name], (name,)):
            required = [each for each in command.params if each.required]
            arguments = tuple(
                ARGUMENTS.get((each.metavar or "").strip("[]."), "x")
                for each in required
                if each.param_type_name == "argument"
            )
            for option in command.params:
                if option.param_type_name == "argument" or option.is_flag or option.count:
                    continue
                declaration = (option.opts[0], option.metavar, option.help)
                if declaration not in seen:
                    seen.add(declaration)
                    others = [each for each in required if each.metavar in OPTIONS and each is not option]
                    needed = (word for each in others for word in (each.opts[0], OPTIONS[each.metavar]))
                    yield (*words, *arguments, *needed), option.opts[0], option.metavar or ""


@pytest.fixture(scope="module")
def tagged(tmp_path_factory) -> Terminal:
    terminal = Terminal(tmp_path_factory.mktemp("terminal"), {"COLUMNS": "200"})
    draw(terminal.folder / "photos" / "a.jpg", 0)
    terminal.run("tag", "photos")
    return terminal


def test_an_impossible_value_is_wrong_usage(tagged):
    names = set()
    for words, option, name in options():
        names.add(name)
        for value in WRONG.get(name, ()):
            done = tagged.run(*words, f"{option}={value}", code=2)
            assert done.stdout == ""
            (line,) = done.stderr.splitlines()
            assert line.startswith("error: Invalid"), line
    assert names == WRONG.keys() | FREE


def test_the_same_value_of_the_environment_or_the_file_is_no_wrong_usage(tagger, tmp_path, monkeypatch):
    monkeypatch.setenv("TAGGER_TOP_K", "0")
    of_environment = tagger("query")
    monkeypatch.delenv("TAGGER_TOP_K")
    monkeypatch.setenv("TAGGER_CONFIG", "mine.toml")
    (tmp_path / "mine.toml").write_text("top_k = 0\n")
    for refused in (of_environment, tagger("query")):
        assert (refused.code, "TAGGER_TOP_K" in refused.err) == (1, True)
