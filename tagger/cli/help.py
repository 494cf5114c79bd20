"""The help of commands: plain text in panels, without types, at most 80 columns wide.

`--help-all` adds the panel Advanced. `help COMMAND` and `--help-all` are no options of the parser: the words
of a command line are prepared for it. Wrong usage is reported here, too.
"""

from __future__ import annotations

import inspect
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import wraps
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tagger.cli import console
from tagger.processes import drop_unwritable_results, has_closed_reader

# Panels of options, for `rich_help_panel`. Options without one are in the panel Options.
PHOTOS, FILTER, METADATA, OUTPUT, ADVANCED = (
    "Photos",
    "Filter",
    "Metadata",
    "Output",
    "Advanced",
)
# In the order of help.
_PANELS = ("Arguments", PHOTOS, "Options", FILTER, METADATA, OUTPUT, ADVANCED)
# The name of the command that a `DefaultCommandGroup` is itself.
DEFAULT = "_"
_LONGEST_TERM = 27
HELP_ALL = "--help-all"
_UsageError: Any = typer.BadParameter.__base__  # Typer has no public name for it
_VERBOSITY = {"-q", "--quiet", "-v", "-vv", "--verbose"}


def option(
    name: str, metavar: str, text: str, panel: str | None = None, **others: Any
) -> Any:
    """An option with a value, for `Annotated`: its name, what its value is called, and its help."""
    return typer.Option(
        name, metavar=metavar, help=text, rich_help_panel=panel, **others
    )


def flag(name: str, text: str, panel: str | None = None, **others: Any) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel, **others)


def argument(metavar: str, text: str, panel: str | None = None, **others: Any) -> Any:
    return typer.Argument(metavar=metavar, help=text, rich_help_panel=panel, **others)


def prepare_arguments(words: list[str]) -> tuple[list[str], bool]:
    """Return the words that the parser understands, and whether all options are to be shown in help.

    -q and -v come first, so that they work after the command too: `tagger tag FOLDER -q`. Words after `--`
    stay as they are.
    """
    if words[:1] == ["help"]:
        return [*(word for word in words[1:] if word != "all"), "--help"], words[
            1:2
        ] == ["all"]
    end = words.index("--") if "--" in words else len(words)
    flags = [word for word in words[:end] if word in _VERBOSITY]
    others = [
        "--help" if word == HELP_ALL else word
        for word in words[:end]
        if word not in _VERBOSITY
    ]
    return [*flags, *others, *words[end:]], HELP_ALL in words[:end]


# Commands and options of version 2 that are gone, and what to do instead. Version 4 drops this
# table.
FORMER_COMMANDS = {
    "tagger people share": "download photos as a ZIP archive from the page, and send that",
    "tagger people audit": "read the table audit_log in SQL",
    "tagger people": (
        "TAGGER_WEB_TOKEN may do everything, TAGGER_WEB_VIEW_TOKEN may look, and a proxy can name people "
        '(see "Who may use the page" in the documentation)'
    ),
    "--keep-shares": "there are no shares any more",
    "trainer data combine": "copy the photos of all collections into one folder, train/LABEL/photo.jpg",
    "--multiply-adds": "name a smaller network with --backbone",
    "--teacher": "go on from the model with --weights MODEL.pt",
}

# What people who know other programs try, and the command that they want.
OTHER_WORDS = {
    **dict.fromkeys(
        ("list", "ls", "jobs", "landmarks", "photos"),
        "to list photos, run: tagger query; landmarks: tagger landmark list; jobs: tagger job list",
    ),
    **dict.fromkeys(("search", "find"), "to search photos, run: tagger query TEXT"),
    **dict.fromkeys(
        ("scan", "add", "index", "import", "run"),
        "to tag photos, run: tagger tag FOLDER",
    ),
    **dict.fromkeys(
        ("delete", "remove", "rm"),
        "to remove photos from the database, run: tagger forget PATH; the files stay",
    ),
    "undo": (
        "to undo metadata, run: tagger metadata undo; "
        "a verdict: tagger confirm --withdraw or tagger reject --withdraw"
    ),
    "export": (
        "to export tags, run: tagger query --format csv (or json, geojson); verdicts: tagger review export"
    ),
    "train": "to train a model, run: trainer train transfer",
}


def refuse_former_command(program: str, arguments: list[str]) -> None:
    """Say what replaces the command of these arguments if it is gone, and exit."""
    words = [program, *(word for word in arguments if not word.startswith("-"))]
    for name, instead in FORMER_COMMANDS.items():
        if words[: len(name.split())] == name.split() or name in arguments:
            typer.echo(f"error: `{name}` is gone: {instead}.", err=True)
            sys.exit(console.WRONG_USAGE)


def reflow(text: str | None) -> str:
    """Join the lines of each paragraph, so that help fits any terminal."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


class Command(TyperCommand):
    def format_help(self, ctx: Any, formatter: Any) -> None:
        write_head(self, ctx, formatter)
        write_panels(self, ctx, formatter)
        group = ctx.parent.command if ctx.parent else None
        if isinstance(group, DefaultCommandGroup) and ctx.info_name == DEFAULT:
            write_commands(
                "Commands",
                (
                    (name, each)
                    for name, each in group.commands.items()
                    if name != DEFAULT
                ),
                formatter,
            )


class CommandGroup(TyperGroup):
    """A group whose commands end with 0 when the reader of their results has gone, as after `| head`.

    Wrong usage is reported as other errors are, after `error: `.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        write_head(self, ctx, formatter)
        write_commands("Commands", self.commands.items(), formatter)
        write_panels(self, ctx, formatter)
        self.format_epilog(ctx, formatter)

    def make_context(self, *values: Any, **options: Any) -> Any:
        with _ends():
            return super().make_context(*values, **options)

    def invoke(self, ctx: Any) -> Any:
        with _ends():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextmanager
def _ends() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        if not has_closed_reader(sys.stdout.fileno()):
            raise
        drop_unwritable_results()
        raise typer.Exit(0) from None
    except _UsageError as error:
        from tagger.texts.text_format import invalid_text  # the help needs it not

        # An error about an unknown option proposes none that the help does not list.
        if getattr(error, "possibilities", None):
            params = error.ctx.command.params
            hidden = {name for each in params if each.hidden for name in each.opts}
            error.possibilities = [
                name for name in error.possibilities if name not in hidden
            ]
        text = io.StringIO()
        error.message = invalid_text(error.message)
        error.show(text)
        usage, error_word, message = text.getvalue().partition(
            "Error: "
        )  # a group alone has only its help
        message = message.replace("\n\t", " ")  # the choices of a missing option
        if type(error) is typer.BadParameter:  # who gave a value knows the option
            usage = ""
        typer.echo(
            f"{_without_internals(usage)}{error_word.lower()}{message}",
            err=True,
            nl=False,
        )
        raise typer.Exit(error.exit_code) from None


class DefaultCommandGroup(CommandGroup):
    """A group that is a command too: the one that is called DEFAULT runs, unless another one is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the default command, where no other one is named."""
        return super().parse_args(
            ctx, args if args and args[0] in self.commands else [DEFAULT, *args]
        )


def use_help_classes(group: typer.Typer) -> None:
    group.info.cls = group.info.cls or CommandGroup
    for command in group.registered_commands:
        command.cls = Command if command.cls is TyperCommand else command.cls
    for inner in group.registered_groups:
        if inner.typer_instance:
            use_help_classes(inner.typer_instance)


def write_commands(
    heading: str, commands: Iterable[tuple[str, Any]], formatter: Any
) -> None:
    rows = []
    for name, command in commands:
        if not command.hidden:
            paragraph = reflow(command.help).split("\n\n")[0]
            rows.append((name, paragraph.split(". ")[0].removesuffix(".")))
    with formatter.section(heading):
        formatter.write_dl(rows)


def write_head(command: Any, ctx: Any, formatter: Any) -> None:
    pieces = " ".join(command.collect_usage_pieces(ctx))
    formatter.write_usage(
        _without_internals(ctx.command_path), _without_internals(pieces)
    )
    # Between paragraphs are empty lines. Examples are indented, below each other.
    before_example = False
    for paragraph in reflow(command.help).split("\n\n"):
        is_example = paragraph.startswith(("tagger ", "trainer "))
        if not (is_example and before_example):
            formatter.write_text("")
        formatter.write_text(f"    {paragraph}" if is_example else f"  {paragraph}")
        before_example = is_example or paragraph.endswith("example:")


def _without_internals(usage: str) -> str:
    # A usage without the name of a group's default command, and without Typer's braces around arguments.
    return re.sub(rf"[{{}}]| {DEFAULT}\b", "", usage)


def write_panels(command: Any, ctx: Any, formatter: Any) -> None:
    shows_all = ctx.find_root().obj == HELP_ALL
    panels: dict[str, list[tuple[str, str]]] = {panel: [] for panel in _PANELS}
    for param in command.get_params(ctx):
        if not param.hidden and (shows_all or _panel(param) != ADVANCED):
            panels[_panel(param)].append((_term(param), _text(param)))
    if not shows_all and any(_panel(param) == ADVANCED for param in command.params):
        panels[OUTPUT].append((HELP_ALL, "Show all options."))
    width = min(
        _LONGEST_TERM, max(len(term) for rows in panels.values() for term, _ in rows)
    )
    for panel, rows in panels.items():
        if rows:
            with formatter.section(panel):
                formatter.write_dl(
                    [(term.ljust(width), text) for term, text in rows], col_max=width
                )


def _panel(param: Any) -> str:
    if (param.name or "").endswith("_completion"):  # Typer's own
        return ADVANCED
    if param.rich_help_panel:
        return str(param.rich_help_panel)
    if param.param_type_name == "argument":
        return "Arguments"
    return OUTPUT if "--help" in param.opts else "Options"


def _term(param: Any) -> str:
    # `-q, --quiet`, `--limit N` or `PATH...`.
    if param.param_type_name == "argument":
        name = param.metavar or param.name.upper()
        return f"{name}..." if param.nargs != 1 else name
    names = ", ".join(sorted([*param.opts, *param.secondary_opts], key=len))
    value = param.metavar or param.name.rpartition("_")[2].upper()
    return names if param.is_flag or param.count else f"{names} {value}"


def _text(param: Any) -> str:
    default = (
        param.show_default if isinstance(param.show_default, str) else param.default
    )
    if param.required and param.param_type_name == "option":
        return f"{param.help} (required)"
    is_shown = (
        param.show_default
        and default not in (None, False, (), 0)
        and not callable(default)
    )
    return f"{param.help} (default: {default})" if is_shown else param.help or ""


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of a command whose type is a group of options by the group's options."""
    parameters = inspect.signature(command, eval_str=True).parameters
    groups = {
        name: (
            parameter.annotation,
            inspect.signature(parameter.annotation, eval_str=True).parameters,
        )
        for name, parameter in parameters.items()
        if isinstance(parameter.annotation, type)
        if is_dataclass(parameter.annotation)
        or "__signature__" in vars(parameter.annotation)
    }

    @wraps(command)
    def run(**values: Any) -> None:
        for name, (group, fields) in groups.items():
            values[name] = group(**{field: values.pop(field) for field in fields})
        command(**values)

    expanded: list[inspect.Parameter] = []
    for name, parameter in parameters.items():
        expanded += groups[name][1].values() if name in groups else [parameter]
    keyword_only = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in expanded
    ]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]  # Typer reads it
    run.__annotations__ = {}
    return run
