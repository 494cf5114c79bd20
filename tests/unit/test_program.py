"""The commands of `tagger` are found by name and imported when they are used."""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from tagger.cli import commands as package
from tagger.cli.program import COMMANDS, commands
from tagger.composition import ROOMS, load


def test_every_command_is_found_under_its_name_and_has_a_help() -> None:
    for name, command in commands.items():
        assert command.name == name
        assert command.help or command.commands, name
        for inner, nested in getattr(command, "commands", {}).items():
            assert nested.help, (name, inner)


def test_the_list_of_commands_shows_the_first_paragraph_of_each_help() -> None:
    for name, command in commands.items():
        summary = commands.summary(name)
        assert summary is not None
        assert (summary.name, summary.rich_help_panel) == (name, command.rich_help_panel)
        assert summary.help == command.help.partition("\n\n")[0]


def test_every_module_of_commands_is_in_the_table() -> None:
    named = {place.partition(".")[0] for places in COMMANDS.values() for place in places}
    assert named == {module.name for module in pkgutil.iter_modules(package.__path__)}


@pytest.mark.parametrize(
    ("words", "module", "most"),
    [
        ("query", "query", 81),
        ("--help", None, 12),
        *(
            pytest.param(words, module, 100, marks=pytest.mark.slow)
            for words, module in (
                ("db stats", "database"),
                ("query --help", "query"),
                ("landmarks", "query"),
                ("trips", "trips"),
                ("audit", "audit"),
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
    """Neither imports pixels, models, queues or metadata, nor more modules than it needs."""
    program = "import sys, tagger.cli.main\ntry: tagger.cli.main.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split()],
        env={**os.environ, "TAGGER_DATA_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    prefix = f"{package.__name__}."
    modules = done.stderr.split()
    imported = [name for name in modules if name.startswith(prefix)]
    assert imported == ([prefix + module] if module else []), done.stderr
    assert {"numpy", "PIL", "torch", "celery", "lxml"}.isdisjoint(modules)
    assert len([name for name in modules if name.partition(".")[0] == "tagger"]) <= most


def test_every_place_of_a_room_exists() -> None:
    for room in ROOMS:
        values = [value for value in vars(room).values() if isinstance(value, str) and ":" in value]
        for place in (*values, *(place for places in room.commands.values() for place in places)):
            assert callable(load(place)), place
