"""Commands that are imported and built when they are used: for all of them, that takes longer than `tagger query` itself."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import typer

COMMANDS_PACKAGE = "tagger.cli.commands"


class LazyCommands(Mapping[str, Any]):
    """The commands and groups of a program, by name.

    `panels` has the places of each panel's commands in COMMANDS_PACKAGE: `jobs.retry` is a function, `database.db_app` the
    Typer of a group. `classes` has the places of command classes, by name of the command.
    """

    def __init__(self, panels: Mapping[str, Sequence[str]], classes: Mapping[str, str]) -> None:
        self._places = {_name(place): (place, panel) for panel, places in panels.items() for place in places}
        self._classes = classes
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            self._built[name] = self._build(name, *self._places[name])
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _build(self, name: str, place: str, panel: str) -> Any:
        found, program = _load(place), typer.Typer()
        if isinstance(found, typer.Typer):
            for command in found.registered_commands:
                command.help = _reflow(command.callback and command.callback.__doc__)
            program.add_typer(found, name=name, rich_help_panel=panel)
        else:
            command_class = _load(self._classes[name]) if name in self._classes else None
            add = program.command(name, cls=command_class, rich_help_panel=panel, help=_reflow(found.__doc__))
            add(found)
        return typer.main.get_group(program).commands[name]


def _name(place: str) -> str:
    """The command's name: functions that are named like a keyword of Python end in an underscore."""
    return place.partition(".")[2].removesuffix("_app").rstrip("_")


def _load(place: str) -> Any:
    module, _, attribute = place.partition(".")
    return getattr(import_module(f"{COMMANDS_PACKAGE}.{module}"), attribute)


def _reflow(text: str | None) -> str:
    """Join the lines of each paragraph, so that help fits any terminal."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)
