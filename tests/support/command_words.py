"""Command lines of `tagger` that other programs start: parsed as the command would, without running it."""

from collections.abc import Sequence
from typing import Any

import typer

from tagger.cli.program import app


def check_command(words: Sequence[str]) -> None:
    """Check that there is such a command with these options.

    Raises:
        KeyError: there is no such command.
        click.UsageError: it has no such option, or takes no such argument.
    """
    command: Any = typer.main.get_command(app)
    arguments = list(words)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    command.make_context(command.name, arguments)
