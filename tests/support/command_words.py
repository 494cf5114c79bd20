"""Words of commands that texts name, and words of the inside that they must not."""

import builtins
import inspect
import re
from collections.abc import Sequence
from typing import Any

import typer

import trainer
from tagger import errors
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


INTERNAL = re.compile(
    r"\b(chunks?|sweeps?|sweeper|pydantic|psycopg|sqlalchemy|kombu|traceback)\b", re.IGNORECASE
)
CLASSES = {
    name
    for module in (errors, trainer, builtins)
    for name, each in inspect.getmembers(module, inspect.isclass)
    if issubclass(each, BaseException)
}


def internal_words(text: str) -> set[str]:
    return {*INTERNAL.findall(text), *(CLASSES & set(re.findall(r"\w+", text)))}
