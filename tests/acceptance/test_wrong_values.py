"""A value that an option cannot have is wrong usage, in every command: one line says what is possible."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run_command
from support.commands import Terminal, draw

from tagger.cli.help import DEFAULT
from tagger.cli.main import main
from tagger.cli.program import commands

HUGE = "9" * 25
WRONG = {
    "CAMERA=±HH:MM": ("x", "Canon=+999999:00", "Canon=-500000:00"),
    "CRON": ("x", "0 0 31 2 *"),
    "DATE": ("yesterday", "0000-01-01", "2024-06-01T12:00Z"),
    "DEVICE": ("gpu",),
    "FORMAT": ("xml",),
    "HH:MM": ("x", "25:00"),
    "JOB": ("x", "0", HUGE),
    "KIND": ("x",),
    "KM": ("x", "nan", "-1"),
    "LANGUAGE": ("!",),
    "LAT,LON": ("x", "91,0"),
    "MINUTES": ("x", "0"),
    "MM-DD": ("x", "13-01", "02-30"),
    "MONTH": ("x", "13"),
    "N": ("x", "-1", HUGE),
    "OPTIONS": ("x", "nothing=1"),
    "ORDER": ("x",),
    "PLACE": ("91,0", "Nowherestadt"),
    "PRIORITY": ("x",),
    "QUEUES": ("x",),
    "S,W,N,E": ("x", "1,2,3"),
    "SCORE": ("x", "nan", "2"),
    "SHAPE": ("x",),
    "SLUG": ("A b",),
    "SOURCE": ("x",),
    "TIME": ("soon",),
    "VERDICT": ("x",),
    "WHERE": ("x",),
    "YEAR": ("x", "0", "99999"),
    "ZONE": ("Nowhere/x",),
    "sidecar|embed": ("x",),
}
"""Impossible values, by what options call theirs."""
FREE = {"FILE", "FOLDER", "HOST", "LANDMARK", "MODEL", "NAME", "PATTERN", "PHOTO...", "TRIP"}
"""Any text is a value, which may name nothing."""
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
OPTIONS = {"CRON": "0 3 * * *", "LANGUAGE": "de", "sidecar|embed": "sidecar"}
"""Values of options that a command needs."""


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
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    terminal = Terminal(tmp_path_factory.mktemp("terminal"), {"COLUMNS": "200"})
    draw(terminal.folder / "photos" / "a.jpg", 0)
    terminal.run("tag", "photos")
    return terminal


@pytest.fixture(scope="module")
def every_option() -> list[tuple[tuple[str, ...], str, str]]:
    return list(options())


def test_it_is_known_of_each_option_which_values_it_has(
    every_option: list[tuple[tuple[str, ...], str, str]],
) -> None:
    assert {name for _, _, name in every_option} == WRONG.keys() | FREE


@pytest.mark.parametrize("name", WRONG)
def test_an_impossible_value_is_wrong_usage(
    terminal: Terminal, every_option: list[tuple[tuple[str, ...], str, str]], name: str
) -> None:
    for words, option, _ in (each for each in every_option if each[2] == name):
        for value in WRONG[name]:
            done = run_command(
                main, *words, f"{option}={value}", environment=terminal.environment, folder=terminal.folder
            )
            assert (done.code, done.out) == (2, b""), (words, option, value, done.err)
            (line,) = done.err.splitlines()
            assert line.startswith("error: Invalid"), line


@pytest.mark.parametrize(
    ("name", "value"), [("DEVICE", "gpu"), ("TOP_K", "0"), ("THRESHOLD", "2"), ("BATCH_SIZE", HUGE)]
)
def test_the_same_value_of_the_environment_or_the_file_is_no_wrong_usage(
    terminal: Terminal, tmp_path: Path, name: str, value: str
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(f"{name.lower()} = {value!r}\n")
    for variable, text in ((f"TAGGER_{name}", value), ("TAGGER_CONFIG", str(config))):
        environment = terminal.environment | {variable: text}
        if variable == "TAGGER_CONFIG":
            environment.pop("TAGGER_DEVICE", None)
        done = run_command(main, "query", environment=environment, folder=terminal.folder)
        assert (done.code, f"TAGGER_{name}" in done.err) == (1, True)
