"""The commands of `tagger`, and how each command ends.

This module imports no command: a command is imported when it is used, and imports what it needs when it runs.
"""

import sys
from collections.abc import MutableMapping
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from tagger.cli.lazy_commands import LazyCommands
from tagger.cli.output import console
from tagger.cli.session import close_sessions
from tagger.errors import DatabaseConnectionLost, DatabasePermissionMissing, SystemRefused, TaggerError

COMMANDS = {
    "Tagging": (
        "tag.tag",
        "tag.watch",
        "tag.predict",
        "tag.enqueue",
        "tag.forget",
        "services.worker",
        "services.beat",
        "services.up",
    ),
    "Jobs": (
        "status.status",
        "status.failures",
        "jobs.retry",
        "jobs.pause",
        "jobs.resume",
        "jobs.cancel",
    ),
    "Search": (
        "query.query",
        "query.landmarks",
        "query.show",
        "trips.trips",
        "similar.similar",
        "confirm.confirm",
        "confirm.reject",
        "dismiss.dismiss",
        "verdicts.verdicts_app",
    ),
    "Places": (
        "teach.teach",
        "teach.suggestions",
        "locate.locate",
        "landmark.landmark_app",
        "track.track_app",
    ),
    "Backfills": (
        "backfill.backfill",
        "schedule.schedule_app",
    ),
    "Metadata": ("metadata.metadata_app",),
    "Models": ("model.model_app",),
    "Maintenance": (
        "doctor.doctor",
        "serve.serve",
        "audit.audit",
        "database.export",
        "database.import_",
        "share.share_app",
        "token.token_app",
        "user.user_app",
        "webhook.webhook_app",
        "database.db_app",
    ),
}
"""The panels of the help, and the places of their commands in order."""
CLASSES = {"teach": "teach.TeachCommand"}
commands = LazyCommands(COMMANDS, CLASSES)


class PanelGroup(TyperGroup):
    """Has the commands in the order of COMMANDS, and imports only those that are asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Any]", commands)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's would build them all
        return list(self.commands)


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

    from tagger.inference.devices import describe_device

    typer.echo(f"tagger {version('landmark-tagger')}, torch {version('torch')}, {describe_device()}")
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
            help="Print version, torch and device, and exit.",
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
        console.fail(SystemRefused(what=what, reason=error.strerror or str(error)))
    except Exception as error:
        from tagger.database.errors import DatabaseError, is_permission_missing

        if not isinstance(error, DatabaseError):
            raise
        reason = str(getattr(error, "orig", None) or error).strip()
        kind = DatabasePermissionMissing if is_permission_missing(error) else DatabaseConnectionLost
        console.fail(kind(reason=reason))
    finally:
        close_sessions()


def _verbosity_first(arguments: list[str]) -> list[str]:
    """Move -q and -v to the front, so that they work after the command too: `tagger tag FOLDER -q`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = [word for word in arguments[:end] if word in {"-q", "--quiet", "-v", "-vv", "--verbose"}]
    return flags + [word for word in arguments[:end] if word not in flags] + arguments[end:]
