"""Commands that are imported and built when they are used: for all of them, that takes longer than `tagger query` itself."""

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

COMMANDS_PACKAGE = "tagger.cli.commands"


class LazyCommands(Mapping[str, Any]):
    """The commands and groups of a program, by name.

    `panels` has the places of each panel's commands in COMMANDS_PACKAGE: `jobs.retry` is a function, `database.db_app` the
    Typer of a group. Each has its summary. `classes` has the places of command classes, by name of the command.
    """

    def __init__(self, panels: Mapping[str, Mapping[str, str]], classes: Mapping[str, str]) -> None:
        self._places = {_name(place): (place, panel) for panel, places in panels.items() for place in places}
        self._summaries = {_name(place): text for places in panels.values() for place, text in places.items()}
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

    def summary(self, name: str) -> TyperCommand | None:
        """A command without options that has the name, panel and summary of the real one, which is not imported."""
        if name not in self._places:
            return None
        return TyperCommand(name, help=self._summaries[name], rich_help_panel=self._places[name][1])

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
