"""The commands of `tagger`, and how each command ends.

A command is imported and built when it is used, and imports what it needs when it runs: importing all of them takes longer than
`tagger query` itself.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from tagger.cli.output import console
from tagger.composition import COMMANDS as EXTENSION_COMMANDS
from tagger.composition import ROOMS, extensions, load
from tagger.errors import DISK_FULL_ERRNOS, DatabasePermissionMissing, DiskFull, SystemRefused, TaggerError

COMMANDS_PACKAGE = "tagger.cli.commands"
EXTENSIONS = "Extensions"
"""The panel of commands that installed packages add."""


class LazyCommands(Mapping[str, Any]):
    """The commands and groups of a program, by name.

    `panels` has the places of each panel's commands in COMMANDS_PACKAGE: `jobs.retry` is a function, `database.db_app` the
    Typer of a group. Those of rooms are like `tagger.webhooks.command:webhook_app`. Each has its summary. `classes` has the places of
    command classes, by name of the command. Commands of installed packages are found by name, and not listed.
    """

    def __init__(self, panels: Mapping[str, Mapping[str, str]], classes: Mapping[str, str]) -> None:
        self._places = {_name(place): (place, panel) for panel, places in panels.items() for place in places}
        self._summaries = {_name(place): text for places in panels.values() for place, text in places.items()}
        self._classes = classes
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            place, panel = self._places.get(name, (None, EXTENSIONS))
            found = extensions(EXTENSION_COMMANDS)[name] if place is None else _load(place)
            self._built[name] = self._build(name, found, panel)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def summary(self, name: str) -> TyperCommand | None:
        """A command without options that has the name, panel and summary of the real one, which is not imported."""
        if name not in self._places:
            # Only now: looking for installed packages takes longer than the help.
            return TyperCommand(name) if name in extensions(EXTENSION_COMMANDS) else None
        return TyperCommand(name, help=self._summaries[name], rich_help_panel=self._places[name][1])

    def _build(self, name: str, found: Any, panel: str) -> Any:
        program = typer.Typer()
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
    return place.replace(":", ".").rpartition(".")[2].removesuffix("_app").rstrip("_")


def _load(place: str) -> Any:
    return load(place if ":" in place else f"{COMMANDS_PACKAGE}.{place.replace('.', ':')}")


def _reflow(text: str | None) -> str:
    """Join the lines of each paragraph, so that help fits any terminal."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


COMMANDS = {
    "Tagging": {
        "tag.tag": "Tag photos in this process, without workers or Redis.",
        "tag.watch": "Tag the new and changed photos in folders and buckets, at once and then as they come, until Ctrl-C.",
        "tag.predict": "Predict the landmarks in photos, and store nothing.",
        "tag.enqueue": "Record photos as a job for the workers, and print the number of the job.",
        "tag.forget": "Remove photos from the database. The files stay.",
        "services.worker": "Run a Celery worker that processes jobs, until Ctrl-C or SIGTERM.",
        "services.beat": "Run Celery beat, which starts scheduled backfills, until Ctrl-C or SIGTERM.",
        "services.up": "Run all services on this machine: Redis unless one is configured, a worker, beat, and the web page.",
    },
    "Jobs": {
        "status.status": "Show the progress of jobs, the workers, the lengths of the queues and, for schedules, the last tick of beat.",
        "status.failures": "List the photos that fail now: the kind of failure, what to do, and the number of attempts.",
        "jobs.retry": "Classify failed photos again, in a new job for the workers, and print the number of the job.",
        "jobs.pause": "Pause jobs. Batches that are in progress finish, and a scan continues to find photos.",
        "jobs.resume": "Resume paused jobs.",
        "jobs.cancel": "Cancel jobs permanently. Photos that are not done are cancelled; stored results stay.",
    },
    "Search": {
        "query.query": "Search photos by landmark, position, folder and date, and print their accepted tags.",
        "query.landmarks": "List the landmarks in your photos with the number of photos of each, most photos first.",
        "query.show": "Print everything about one photo: its tags, verdicts, model, job, failure and copies.",
        "query.trips": "List trips: photos that were taken away from home, grouped by time and place, newest first.",
        "similar.similar": "List the stored photos that resemble one of these most. Copies of these are left out.",
        "confirm.confirm": "Confirm that photos show a landmark. The landmark becomes an accepted tag, whatever models predict.",
        "confirm.reject": "Reject a landmark for photos. No model can give them this tag again.",
        "confirm.dismiss": "Put photos away as not a landmark: they are not unknown any more, and no model can give them a tag.",
        "verdicts.verdicts_app": "List verdicts, and copy them to another database.",
    },
    "Places": {
        "teach.teach": "Teach a landmark from a few photos, and tag every photo that shows it.",
        "teach.suggestions": "List photos that probably show a taught landmark, and have no verdict: the most probable ones first.",
        "locate.locate": "Estimate where photos without GPS were taken, and count where positions come from.",
        "landmark.landmark_app": "Add landmarks of your own, and change, name, merge and remove landmarks.",
        "locate.track_app": "List and remove the GPS tracks of `tagger locate --gpx`.",
    },
    "Backfills": {
        "backfill.backfill": "Classify photos in the database again, in one job for the workers, and print the number of the job.",
        "schedule.schedule_app": "Run backfills at set times. They need `tagger beat` and a worker, or `tagger up`.",
    },
    "Metadata": {
        "metadata.metadata_app": "Write tags to the metadata of photos, so that other programs see them. Only these commands and --write change metadata.",
    },
    "Models": {
        "model.model_app": "Register models, and select the model in use.",
    },
    "Maintenance": {
        "doctor.doctor": "Check settings, disk, database, model, device, sandbox, Redis, workers, jobs, folders and photos, and suggest remedies.",
        "serve.serve": "Serve the web page and the JSON API, until Ctrl-C or SIGTERM.",
        "token.audit": "List who signed in and who changed what, newest first.",
        "database.export": "Export the whole database as lines of JSON: one consistent snapshot, while workers continue.",
        "database.import_": "Import a file of `tagger export` into an empty database: all of it, or nothing.",
        "share.share_app": "Share photos by links that need no sign-in, and revoke them.",
        "token.token_app": "Give access to the page by named tokens, and revoke them.",
        "user.user_app": "Let people sign in to the page by name and password, each with a role.",
        "database.db_app": "Upgrade, check, count and prune the database.",
    },
}
"""The panels of the help: the places of their commands in order, each with the first paragraph of its own help."""
CLASSES = {"teach": "teach.TeachCommand"}


def _with_rooms(panels: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """The panels with the commands of rooms that can be carried out."""
    joined = {panel: dict(places) for panel, places in panels.items()}
    for room in ROOMS:
        for panel, places in room.commands.items():
            joined[panel].update(places)
    return joined


commands = LazyCommands(_with_rooms(COMMANDS), CLASSES)


class PanelGroup(TyperGroup):
    """Lists the commands in the order of COMMANDS, by their summaries, and imports only the one that runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Any]", commands)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's would build them all
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Typer's signature
        return commands.summary(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, arguments = super().resolve_command(ctx, args)
        return name, name and self.commands[name], arguments


app = typer.Typer(
    name="tagger",
    cls=PanelGroup,
    help="Recognise landmarks in photos and store them as tags in a SQL database. The photos are not changed, unless you write tags to their metadata.",
    epilog="To start: tagger tag FOLDER, then tagger landmarks. Settings: TAGGER_… environment variables or tagger.toml.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if not requested:
        return
    from importlib.metadata import version

    # Of the installed package: importing torch takes seconds. `tagger doctor` names the device.
    typer.echo(f"tagger {version('landmark-tagger')}, torch {version('torch')}")
    raise typer.Exit


@app.callback()
def _common(
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print only warnings and errors on stderr.")
    ] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Print more. -vv prints tracebacks.")
    ] = 0,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the versions of tagger and torch, and exit.",
        ),
    ] = False,
) -> None:
    console.verbosity.level = -1 if quiet else verbose


def run() -> None:
    """Run the command of the command line, and turn errors into messages and exit codes."""
    try:
        app(args=_verbosity_first(sys.argv[1:]))
    except TaggerError as error:
        console.fail(error)
    except OSError as error:
        console.drop_unwritable_results()
        what = error.filename or "a file or standard output"
        if error.errno in DISK_FULL_ERRNOS:
            console.fail(DiskFull(what=what, reason=error.strerror))
        console.fail(SystemRefused(what=what, reason=error.strerror or str(error)))
    except Exception as error:
        from tagger.database.retry import DatabaseError, is_permission_missing, outage, reason_of

        if not isinstance(error, DatabaseError):
            raise
        if is_permission_missing(error):
            console.fail(DatabasePermissionMissing(reason=reason_of(error)))
        console.fail(outage(error, reason_of(error)))
    finally:
        _close_sessions()


def _close_sessions() -> None:
    """Close what the command opened. The help opens nothing, and has not imported what could."""
    if "tagger.cli.session" in sys.modules:
        from tagger.cli.session import close_sessions

        close_sessions()


def _verbosity_first(arguments: list[str]) -> list[str]:
    """Move -q and -v to the front, so that they work after the command too: `tagger tag FOLDER -q`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = [word for word in arguments[:end] if word in {"-q", "--quiet", "-v", "-vv", "--verbose"}]
    return flags + [word for word in arguments[:end] if word not in flags] + arguments[end:]
