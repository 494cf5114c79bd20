"""`trainer train`: one command per recipe."""

import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tagger.cli.help import with_option_groups
from tagger.processes.interruption import set_advice
from trainer.cli.options import Json
from trainer.options import RecipeOptions, TransferOptions

if TYPE_CHECKING:
    from trainer.export.run import FinishedRun

train_app = typer.Typer(
    help="Train a classifier: `transfer` fine-tunes a pretrained network, "
    "`scratch` trains one from random weights.",
    no_args_is_help=True,
)


@train_app.command()
@with_option_groups
def transfer(*, options: TransferOptions, as_json: Json = False) -> None:
    """Fine-tune a pretrained network, or learn few landmarks on the shipped model's network.

    Few are fewer than 30 landmarks, or 30 photos of each: that takes a minute. Fine-tuning takes minutes on a
    GPU, about an hour on two CPU cores.

    Example: trainer train transfer --data landmarks --unknown ordinary --out runs/landmarks
    """
    from trainer.recipes.transfer import train_transfer

    _train(lambda: train_transfer(options), options.out, as_json=as_json)


@train_app.command()
@with_option_groups
def scratch(*, options: RecipeOptions, as_json: Json = False) -> None:
    """Train our own convolutional network from random weights.

    Needs a few thousand photos, and an hour or more on a CPU.

    Example: trainer train scratch --data landmarks --out runs/scratch
    """
    from trainer.recipes.scratch import train_scratch

    _train(lambda: train_scratch(options), options.out, as_json=as_json)


def _train(recipe: Callable[[], "FinishedRun"], run: Path, *, as_json: bool) -> None:
    """Run the recipe with its log messages in the run's log file, and print how good the model is."""
    from trainer.export.run import LOG, METRICS, assess_run, create_run_folder

    create_run_folder(run)
    set_advice("repeat the command with --resume to continue after the last finished epoch")
    log = logging.getLogger("trainer")
    handler = logging.FileHandler(run / LOG, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        record = recipe().record
    finally:
        log.removeHandler(handler)
        handler.close()
    if as_json:
        typer.echo((run / METRICS).read_text(), nl=False)
        return
    for line in assess_run(record).lines(f"trainer export {shlex.quote(str(run))} --out MODEL.pt"):
        typer.echo(line)
