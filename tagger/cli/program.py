"""The commands of `tagger`, and how each command ends.

A command is imported and built when it is used: importing all takes longer than `tagger query`.
"""

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand

from tagger.cli import console
from tagger.cli.help import (
    HELP_ALL,
    OTHER_WORDS,
    Command,
    EndingGroup,
    flag,
    prepare_arguments,
    refuse_former_command,
    use_help_classes,
    write_commands,
    write_head,
    write_panels,
)
from tagger.errors import (
    DISK_FULL_ERRNOS,
    UNREACHABLE_ERRNOS,
    ArgumentInvalid,
    DiskFull,
    PathNotFound,
    PathUnreachable,
    SystemRefused,
    TaggerError,
)
from tagger.extensions import COMMANDS as EXTENSION_COMMANDS
from tagger.extensions import extensions, load
from tagger.processes import drop_unwritable_results

COMMANDS_PACKAGE = "tagger.cli.commands"
# The panel of commands that the help only names.
MORE = "More"


class LazyCommands(Mapping[str, Any]):
    """The commands and groups of a program, by name.

    `panels` has the places of each panel's commands in COMMANDS_PACKAGE: `query.query` is a function,
    `database.db_app` the Typer of a group. Each has its summary. `classes` has the places of command classes,
    by name of the command. Commands of installed packages are found by name, and not listed.
    """

    def __init__(
        self, panels: Mapping[str, Mapping[str, str]], classes: Mapping[str, str]
    ) -> None:
        self.panels = {
            panel: tuple(map(_name, places)) for panel, places in panels.items()
        }
        self._places = {
            _name(place): place for places in panels.values() for place in places
        }
        self._summaries = {
            _name(place): text
            for places in panels.values()
            for place, text in places.items()
        }
        self._classes = classes
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            found = (
                _load(self._places[name])
                if name in self._places
                else extensions(EXTENSION_COMMANDS)[name]
            )
            self._built[name] = self._build(name, found)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def summary(self, name: str) -> TyperCommand | None:
        """A command without options that has the name and summary of the real one, which is not imported."""
        if name not in self._places:
            # Only now: looking for installed packages takes longer than the help.
            return (
                TyperCommand(name) if name in extensions(EXTENSION_COMMANDS) else None
            )
        return TyperCommand(name, help=self._summaries[name])

    def _build(self, name: str, found: Any) -> Any:
        program = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            use_help_classes(found)
            program.add_typer(found, name=name)
        else:
            command_class = (
                _load(self._classes[name]) if name in self._classes else Command
            )
            program.command(name, cls=command_class)(found)
        return typer.main.get_group(program).commands[name]


def _name(place: str) -> str:
    # The command's name: functions that are named like a keyword of Python end in an underscore.
    return place.rpartition(".")[2].removesuffix("_app").rstrip("_")


def _load(place: str) -> Any:
    return load(f"{COMMANDS_PACKAGE}.{place.replace('.', ':')}")


# The panels of the help: the places of their commands in order, each with its summary.
COMMANDS = {
    "Start": {
        "tag.tag": "Tag photos, without a server.",
        "tag.watch": "Tag new and changed photos in folders as they come.",
        "services.up": "Run Redis, a worker, schedules and the web page.",
        "tag.predict": "Predict the landmarks in photos, and store nothing.",
    },
    "Find": {
        "query.query": "Search photos by landmark, place, folder and date.",
        "query.show": "Show everything about one photo.",
        "query.trips": "List trips, grouped by time and place.",
        "query.similar": "List the photos that resemble these most.",
    },
    "Correct": {
        "review.confirm": "Confirm that photos show a landmark.",
        "review.reject": "Reject a landmark for photos.",
        "teach.teach": "Teach a landmark from a few photos of it.",
        "review.review_app": "List photos that probably show a landmark.",
        "metadata.metadata_app": "Write tags to the metadata of photos, and undo it.",
    },
    "Operate": {
        "tag.enqueue": "Record photos as a job for workers.",
        "backfill.backfill": "Classify photos in the database again.",
        "jobs.job_app": "List, retry, pause and cancel jobs.",
        "jobs.status": "Show jobs, workers and queues.",
        "doctor.doctor": "Check the installation, and suggest remedies.",
    },
    MORE: {
        "services.worker": "Run a Celery worker that processes jobs.",
        "services.beat": "Run Celery beat, which starts schedules.",
        "backfill.schedule_app": "Run backfills at set times.",
        "services.serve": "Serve the web page and the JSON API.",
        "locate.locate_app": "Estimate where photos without GPS were taken.",
        "landmark.landmark_app": "List and change landmarks.",
        "model.model_app": "Register models, and select the one in use.",
        "tag.forget": "Remove photos from the database. The files stay.",
        "database.db_app": "Upgrade, check and copy the database.",
    },
}
CLASSES = {"teach": "teach.TeachCommand"}

commands = LazyCommands(COMMANDS, CLASSES)


class RootGroup(EndingGroup):
    """Lists commands by their summaries in the panels of COMMANDS, and imports only the one that runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Any]", commands)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's would build them all
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Typer's signature
        return commands.summary(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in OTHER_WORDS and commands.summary(args[0]) is None:
            ctx.fail(f"There is no command '{args[0]}': {OTHER_WORDS[args[0]]}")
        name, _, arguments = super().resolve_command(ctx, args)
        return name, name and self.commands[name], arguments

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the commands of all panels; of the last, only the names are written without --help-all."""
        shows_all = ctx.find_root().obj == HELP_ALL
        write_head(self, ctx, formatter)
        for panel, names in commands.panels.items():
            if shows_all or panel != MORE:
                write_commands(
                    panel, ((name, commands.summary(name)) for name in names), formatter
                )
        write_panels(self, ctx, formatter)
        if not shows_all:
            formatter.write_paragraph()
            formatter.write_text(f"More: {', '.join(sorted(commands.panels[MORE]))}")
            formatter.write_text(
                "`tagger help all` describes them, `tagger help COMMAND` one command."
            )


app = typer.Typer(
    name="tagger",
    cls=RootGroup,
    help=(
        "Recognise landmarks in photos, and store them as tags in a SQL database. "
        "Photos are never changed, unless you write tags to their metadata."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if not requested:
        return
    from importlib.metadata import version

    from tagger.model.devices import engine_versions

    # Of the installed packages: importing torch takes seconds. `tagger doctor` names the device.
    typer.echo(", ".join([f"tagger {version('landmark-tagger')}", *engine_versions()]))
    raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", help="Print only results, warnings and errors."),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "-v", "--verbose", count=True, help="Print more. -vv prints tracebacks."
        ),
    ] = 0,
    _version: Annotated[
        bool,
        flag(
            "--version",
            "Print the versions of tagger, torch and OpenVINO, and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    context.call_on_close(_learn_from_decisions)
    console.command = context.invoked_subcommand or ""
    console.verbosity = -1 if quiet else verbose


def _learn_from_decisions() -> None:
    # Bring up to date what follows from the verdicts that the command has changed, when it ends.
    if "tagger.cli.session" in sys.modules:
        from tagger.cli.session import learn_from_decisions

        learn_from_decisions()


def run() -> None:
    """Run the command of the command line, and turn errors into messages and exit codes."""
    try:
        arguments, shows_all = prepare_arguments(sys.argv[1:])
        refuse_former_command("tagger", arguments)
        app(args=arguments, obj=HELP_ALL if shows_all else None)
    except TaggerError as error:
        console.fail(error)
    except OSError as error:
        drop_unwritable_results()
        console.fail(stated_os_error(error))
    except Exception as error:
        _fail_of_database(error)
        raise
    finally:
        if (
            "tagger.cli.session" in sys.modules
        ):  # the help opens nothing, and has not imported what could
            from tagger.cli.session import close_sessions

            close_sessions()


def stated_os_error(error: OSError) -> TaggerError:
    """The text about an error of the system, for a command that ends because of it."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return PathNotFound(path=error.filename)
    what = error.filename or "a file or standard output"
    if error.errno in UNREACHABLE_ERRNOS and error.filename:
        return PathUnreachable(path=error.filename, reason=error.strerror)
    if error.errno in DISK_FULL_ERRNOS:
        return DiskFull(what=what, reason=error.strerror)
    return SystemRefused(what=what, reason=error.strerror or str(error))


def _fail_of_database(error: Exception) -> None:
    # End the command if the database has raised the error; say it if a row may be the cause.
    from tagger.database.engine import (
        DAMAGED_ROWS,
        DatabaseError,
        reason_of,
        stated_error,
    )

    if (
        isinstance(error, UnicodeEncodeError)
        and error.reason == "surrogates not allowed"
    ):
        console.fail(
            ArgumentInvalid(
                argument=ascii(error.object),
                reason="it is not UTF-8; only paths may have other bytes",
            )
        )
    if isinstance(error, DatabaseError):
        stated = stated_error(error, reason_of(error))
        stated.__cause__ = error  # for the traceback of -vv
        console.fail(stated)
    elif "tagger.cli.session" in sys.modules:
        console.warning(DAMAGED_ROWS)
