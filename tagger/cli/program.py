"""The commands of `tagger`, and how each command ends.

This module imports no torch, Celery or SQLAlchemy: each command imports what it needs when it runs.
"""

import inspect
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tagger.cli.commands import (
    audit,
    backfill,
    confirm,
    database,
    dismiss,
    doctor,
    jobs,
    landmark,
    locate,
    metadata,
    model,
    query,
    schedule,
    serve,
    services,
    share,
    similar,
    status,
    tag,
    teach,
    token,
    track,
    trips,
    user,
    verdicts,
    webhook,
)
from tagger.cli.output import console
from tagger.cli.session import close_sessions
from tagger.errors import DatabaseConnectionLost, DatabasePermissionMissing, SystemRefused, TaggerError

PANELS = ("Tagging", "Jobs", "Search", "Places", "Backfills", "Metadata", "Models", "Maintenance")


class PanelGroup(TyperGroup):
    """Lists the commands in the order of PANELS. Typer would list groups such as `model` last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=self._panel_position)

    def _panel_position(self, name: str) -> int:
        return PANELS.index(str(getattr(self.commands[name], "rich_help_panel", PANELS[-1])))


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


COMMANDS = {
    "Tagging": (
        tag.tag,
        tag.watch,
        tag.predict,
        tag.enqueue,
        tag.forget,
        services.worker,
        services.beat,
        services.up,
    ),
    "Jobs": (status.status, status.failures, jobs.retry, jobs.pause, jobs.resume, jobs.cancel),
    "Places": (teach.teach, teach.suggestions, locate.locate),
    "Search": (
        query.query,
        query.landmarks,
        query.show,
        trips.trips,
        similar.similar,
        confirm.confirm,
        confirm.reject,
        dismiss.dismiss,
    ),
    "Backfills": (backfill.backfill,),
    "Maintenance": (doctor.doctor, serve.serve, audit.audit, database.export, database.import_),
}
GROUPS = {
    "landmark": (landmark.landmark_app, "Places"),
    "track": (track.track_app, "Places"),
    "verdicts": (verdicts.verdicts_app, "Search"),
    "schedule": (schedule.schedule_app, "Backfills"),
    "metadata": (metadata.metadata_app, "Metadata"),
    "model": (model.model_app, "Models"),
    "share": (share.share_app, "Maintenance"),
    "token": (token.token_app, "Maintenance"),
    "user": (user.user_app, "Maintenance"),
    "webhook": (webhook.webhook_app, "Maintenance"),
    "db": (database.db_app, "Maintenance"),
}


_COMMAND_CLASSES = {"teach": teach.TeachCommand}


def _reflow(text: str | None) -> str:
    """Join the lines of each paragraph, so that help fits any terminal."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


for _panel, _commands in COMMANDS.items():
    for _command in _commands:
        _name = _command.__name__.rstrip("_")
        app.command(
            _name, cls=_COMMAND_CLASSES.get(_name), rich_help_panel=_panel, help=_reflow(_command.__doc__)
        )(_command)
for _name, (_group, _panel) in GROUPS.items():
    for _registered in _group.registered_commands:
        _registered.help = _reflow(_registered.callback and _registered.callback.__doc__)
    app.add_typer(_group, name=_name, rich_help_panel=_panel)


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
