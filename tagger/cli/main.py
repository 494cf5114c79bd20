"""The command tree of `tagger`, and how every command ends.

Importing this imports no torch, no Celery and no SQL: commands import what they need when they run.
"""

import signal
import sys
from typing import Annotated

import typer

from tagger.cli import (
    asking,
    backfilling,
    console,
    doctor,
    following,
    judging,
    mending,
    metadata,
    moving,
    running,
    scheduling,
    serving,
    steering,
    tagging,
    upkeep,
    verdicts,
)
from tagger.errors import DatabaseLost, SystemRefused, TaggerError

app = typer.Typer(
    name="tagger",
    help="Names the landmarks in folders of photos and keeps them in a SQL database. Photos are only read, unless you ask for their metadata to be written.",
    epilog="Start with: tagger tag FOLDER, then: tagger landmarks. Settings: TAGGER_… variables or tagger.toml.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import version

    from tagger.devices import describe_device

    typer.echo(f"tagger {version('landmark-tagger')}, torch {version('torch')}, {describe_device()}")
    raise typer.Exit


@app.callback()
def _common(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors and warnings on stderr.")] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="More; -vv shows tracebacks.")
    ] = 0,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Version, torch and device."),
    ] = False,
) -> None:
    console.loudness.level = -1 if quiet else verbose


for _command, _panel in (
    (tagging.tag, "Tagging"),
    (tagging.look, "Tagging"),
    (tagging.enqueue, "Tagging"),
    (tagging.forget, "Tagging"),
    (running.worker, "Tagging"),
    (running.up, "Tagging"),
    (backfilling.backfill, "Backfills"),
    (running.beat, "Backfills"),
    (following.status, "Following"),
    (following.failures, "Following"),
    (mending.retry, "Following"),
    (steering.pause, "Following"),
    (steering.resume, "Following"),
    (steering.cancel, "Following"),
    (asking.query, "Asking"),
    (asking.landmarks, "Asking"),
    (asking.show, "Asking"),
    (judging.confirm, "Asking"),
    (judging.reject, "Asking"),
):
    app.command(rich_help_panel=_panel)(_command)
app.add_typer(verdicts.verdicts_app, name="verdicts", rich_help_panel="Asking")
app.add_typer(scheduling.schedule_app, name="schedule", rich_help_panel="Backfills")
app.add_typer(metadata.metadata_app, name="metadata", rich_help_panel="Metadata")
app.command(rich_help_panel="Upkeep")(doctor.doctor)
app.command(rich_help_panel="Upkeep")(serving.serve)
app.command("export", rich_help_panel="Upkeep")(moving.export)
app.command("import", rich_help_panel="Upkeep")(moving.import_)
app.add_typer(upkeep.model_app, name="model", rich_help_panel="Upkeep")
app.add_typer(upkeep.db_app, name="db", rich_help_panel="Upkeep")


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(args=_loudness_first(sys.argv[1:]))
    except TaggerError as error:
        console.fail(error)
    except OSError as error:
        console.fail(SystemRefused(what=error.filename or "it", reason=error.strerror or str(error)))
    except Exception as error:
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(error, SQLAlchemyError):
            raise
        console.fail(DatabaseLost(reason=str(getattr(error, "orig", None) or error).strip()))
    except SystemExit as end:
        if end.code == console.INTERRUPTED:  # what typer makes of KeyboardInterrupt
            console.say("interrupted; nothing is lost: run the same command again to go on")
        raise


def _terminate(_signum: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _loudness_first(arguments: list[str]) -> list[str]:
    """-q and -v may stand anywhere, as in `tagger tag FOLDER -q`; the parser wants them ahead of the command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    loud = [word for word in arguments[:end] if word in {"-q", "--quiet", "-v", "-vv", "--verbose"}]
    return loud + [word for word in arguments[:end] if word not in loud] + arguments[end:]
