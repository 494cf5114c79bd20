"""The commands of `tagger` are found by name, completed in shells, and imported when they are used."""

import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tagger.cli import commands as package
from tagger.cli.help import DEFAULT
from tagger.cli.program import COMMANDS, commands, run

PROJECT = Path(__file__).parents[2]
COMPLETION = (
    "import sys\n"
    "sys.argv = [{program!r}]\n"
    "from {program}.cli.main import main\n"
    "try: main()\n"
    "finally: assert {unneeded!r} not in sys.modules"
)


def test_every_command_is_found_under_its_name_and_has_a_help() -> None:
    for name, command in commands.items():
        assert command.name == name
        assert command.help or command.commands, name
        for inner, nested in getattr(command, "commands", {}).items():
            assert nested.help, (name, inner)


def helps() -> Iterator[str]:
    """The words before --help of all commands and groups."""

    def below(words: str, command: Any) -> Iterator[str]:
        yield words
        for name, inner in getattr(command, "commands", {}).items():
            if name != DEFAULT:
                yield from below(f"{words} {name}", inner)

    for name, command in commands.items():
        yield from below(name, command)


def help_of(words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["tagger", *words.split()])
    with pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_a_help_has_at_most_sixty_lines_of_eighty_columns_and_no_types(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in helps():
        lines = help_of(f"{words} --help", capsys, monkeypatch)
        assert 5 < len(lines) <= 60, words
        assert max(map(len, lines)) <= 80, words
        assert not re.search(r"<[a-z]|range|…$|\.\.\.$", "\n".join(lines[1:])), words


def test_the_help_of_the_program_has_four_groups_and_names_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = help_of("--help", capsys, monkeypatch)
    assert len(lines) <= 45
    assert [line for line in lines if line.endswith(":")] == [
        "Start:",
        "Find:",
        "Correct:",
        "Operate:",
        "Options:",
        "Output:",
    ]
    text = " ".join(lines)
    assert all(name in text for name in commands)
    assert "  worker " in "\n".join(help_of("help all", capsys, monkeypatch))
    assert help_of("help tag", capsys, monkeypatch) == help_of("tag --help", capsys, monkeypatch)


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        ("locate photos", "tagger locate"),
        ("review --nothing", "tagger review"),
        ("landmark merge", "tagger landmark merge"),
        ("teach", "tagger teach"),
    ],
)
def test_wrong_usage_names_commands_and_arguments_as_their_help_does(
    words: str, usage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["tagger", *words.split()])
    with pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 2
    wrong = capsys.readouterr().err.splitlines()
    assert wrong[:2] == [
        help_of(f"{usage[7:]} --help", capsys, monkeypatch)[0],
        f"Try '{usage} -h' for help.",
    ]


def test_help_all_adds_the_options_that_few_need(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(help_of("tag --help", capsys, monkeypatch))
    assert "--batch-size" not in text
    assert "--help-all" in text
    assert "--batch-size" in "\n".join(help_of("tag --help-all", capsys, monkeypatch))


def test_every_module_of_commands_is_in_the_table() -> None:
    named = {place.partition(".")[0] for places in COMMANDS.values() for place in places}
    assert named == {module.name for module in pkgutil.iter_modules(package.__path__)}


@pytest.mark.parametrize(
    ("words", "module", "most"),
    [
        ("query", "query", 81),
        ("--help", None, 15),
        *(
            pytest.param(words, module, 100, marks=pytest.mark.slow)
            for words, module in (
                ("db stats", "database"),
                ("query --help", "query"),
                ("landmark list", "landmark"),
                ("trips", "query"),
                ("job list", "jobs"),
                ("--version", None),
                ("", None),
                ("jobz", None),
            )
        ),
    ],
)
def test_a_quick_command_imports_no_other_and_help_none(
    words: str, module: str | None, most: int, tmp_path: Path
) -> None:
    """Neither imports pixels, models, queues, metadata or the stall watch, nor more modules than it needs."""
    run = "try: tagger.cli.main.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    program = f"import sys, tagger.cli.main\n{run}"
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split()],
        env={**os.environ, "TAGGER_DATA_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    prefix = f"{package.__name__}."
    modules = done.stderr.splitlines()[-1].split()
    imported = [name for name in modules if name.startswith(prefix)]
    assert imported == ([prefix + module] if module else []), done.stderr
    assert {"numpy", "PIL", "torch", "celery", "lxml", "tagger.processes.stall"}.isdisjoint(modules)
    assert len([name for name in modules if name.partition(".")[0] == "tagger"]) <= most


def test_commands_that_messages_name_exist() -> None:
    sources = "".join(
        file.read_text()
        for folder in ("tagger", "trainer", "worker")
        for file in (PROJECT / folder).rglob("*.py")
    )
    named = set(re.findall(r"(?:`tagger|[Rr]un tagger|\{tagger\}) ([a-z][a-z-]*) ?([a-zA-Z-]*)", sources))
    named = {words for words in named if words[0] not in {"as", "help"}}  # "run tagger as that user"
    assert len(named) > 50
    for name, inner in named:
        assert name in commands, f"tagger {name}"
        nested = getattr(commands[name], "commands", {})
        assert not nested or DEFAULT in nested or not inner or inner in nested, f"tagger {name} {inner}"


@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [("tagger", "tagger query --format ", "geojson"), ("trainer", "trainer train tr", "transfer")],
)
def test_completion_is_quick_because_it_does_not_import_torch(
    program: str, words: str, expected: str
) -> None:
    done = _complete(program, words, unneeded="torch")
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout.split()


def test_completing_the_name_of_a_command_imports_no_command() -> None:
    done = _complete("tagger", "tagger metad", unneeded="tagger.cli.commands")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["metadata"]


def _complete(program: str, words: str, *, unneeded: str) -> subprocess.CompletedProcess[str]:
    environment = {
        f"_{program.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    return subprocess.run(
        [sys.executable, "-c", COMPLETION.format(program=program, unneeded=unneeded)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
