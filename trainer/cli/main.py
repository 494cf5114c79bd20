"""The command tree of `trainer`, and how every command ends. Importing this imports no torch."""

import logging
import signal
import sys
import traceback
from typing import Annotated

import typer

from tagger.devices import quiet_threads
from tagger.errors import TaggerError
from trainer.cli.comparing import comparing_app
from trainer.cli.data import data_app
from trainer.cli.models import models_app
from trainer.cli.training import train_app

FAILED, INTERRUPTED = 1, 130

app = typer.Typer(
    name="trainer",
    help="Makes the classifier that `tagger` runs: trains it on folders of photos, measures it, exports it to one file.",
    epilog="Photos lie in F/train/LABEL/photo.jpg; F/val and F/test are optional, and so is F/landmarks.csv, which gives "
    "labels their names and places. Start with: trainer train transfer --data F --out RUN, then: trainer export RUN "
    "--out MODEL.pt, then: trainer evaluate MODEL.pt --data F --out REPORT.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(comparing_app)
app.add_typer(data_app, name="data")
app.add_typer(models_app)
app.add_typer(train_app, name="train")


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import version

    from tagger.devices import describe_device

    typer.echo(f"trainer {version('landmark-tagger')}, torch {version('torch')}, {describe_device()}")
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
    log = logging.getLogger("trainer")
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    log.handlers = [_Stderr()]
    log.propagate = False


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminate)
    quiet_threads()
    try:
        app(args=_loudness_first(sys.argv[1:]))
    except TaggerError as error:
        if "-vv" in sys.argv:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(FAILED)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("interrupted; what was finished is kept", file=sys.stderr)  # noqa: T201
        raise


def _terminate(_signum: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _loudness_first(arguments: list[str]) -> list[str]:
    """-q and -v may stand anywhere; the parser wants them ahead of the command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    loud = [word for word in arguments[:end] if word in {"-q", "--quiet", "-v", "-vv", "--verbose"}]
    return loud + [word for word in arguments[:end] if word not in loud] + arguments[end:]


class _Stderr(logging.Handler):
    """Messages for people; asks for stderr each time, so that a progress bar can put them above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        print(prefix + record.getMessage(), file=sys.stderr)  # noqa: T201
