"""`trainer train`: one command per recipe."""

import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.system.interruption import set_advice
from trainer.cli.options import DeviceName, ImageSize, Json
from trainer.recipes.options import PRECISION

if TYPE_CHECKING:
    from trainer.export.run import FinishedRun

train_app = typer.Typer(
    help="Train a classifier: `transfer` fine-tunes a pretrained network, `scratch` trains one from random weights.",
    no_args_is_help=True,
)

Data = Annotated[
    Path,
    typer.Option(
        help="The folder with train/LABEL/photo.jpg and, optionally, val/. Without val/, a seventh of the photos is held out, near-duplicates together."
    ),
]
Out = Annotated[
    Path, typer.Option(help="The run folder: checkpoint, learning curves, figures, metrics and log.")
]
Unknown = Annotated[
    Path | None,
    typer.Option(
        help="A folder of ordinary photos, at any depth, that show none of the landmarks. Greatly improves rejection."
    ),
]
Others = Annotated[
    Path | None,
    typer.Option(
        help="A folder with LANDMARK/photo.jpg of other landmarks. The model learns to call them unknown; those with a label are left out."
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="The folder for decoded photos. Runs may share it; delete it only when none is running. Defaults to the run folder."
    ),
]
BatchSize = Annotated[int, typer.Option(min=2, help="Photos per step. Fewer need less device memory.")]
LearningRate = Annotated[
    float | None,
    typer.Option(
        min=1e-9,
        help="The highest learning rate. Defaults to the recipe's. Lower it if training does not converge.",
    ),
]
Device = Annotated[DeviceName, typer.Option(envvar="TAGGER_DEVICE", help="The device for training.")]
Seed = Annotated[
    int, typer.Option(min=0, help="The same seed and photos give the same split and the same model.")
]
Precision = Annotated[
    float,
    typer.Option(
        min=0.5,
        max=0.999,
        help="The share of accepted landmarks that should be right. Sets the threshold, using validation photos.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue after the run's last finished epoch. The result equals that of an uninterrupted run.",
    ),
]


@train_app.command()
def transfer(
    *,
    data: Data,
    out: Out,
    unknown: Unknown = None,
    others: Others = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The backbone's weights: a safetensors file with torchvision's or timm's names, or a .pth file of torchvision. Downloaded if omitted."
        ),
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            help="The pretrained network: a torchvision classification network, or timm/NAME (needs the timm extra)."
        ),
    ] = "mobilenet_v2",
    cache: Cache = None,
    epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Epochs of fine-tuning. With 0, only a linear layer is trained on the features of the frozen backbone; that takes a minute.",
        ),
    ] = 30,
    size: ImageSize = 224,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = None,
    device: Device = "auto",
    seed: Seed = 0,
    precision: Precision = PRECISION,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a pretrained network. Recommended from 20 photos per label.

    Takes minutes on a GPU, about an hour on two CPU cores.

    Example: trainer train transfer --data landmarks --unknown ordinary --out runs/landmarks
    """
    from trainer.recipes.options import TransferOptions
    from trainer.recipes.transfer import train_transfer

    options = TransferOptions(
        data,
        unknown,
        others,
        out,
        cache,
        epochs,
        size,
        batch_size,
        learning_rate,
        device,
        seed,
        precision,
        resume,
        backbone,
        weights,
    )
    _train(lambda: train_transfer(options), out, as_json=as_json)


@train_app.command()
def scratch(
    *,
    data: Data,
    out: Out,
    unknown: Unknown = None,
    others: Others = None,
    cache: Cache = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 100,
    size: ImageSize = 160,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = None,
    device: Device = "auto",
    seed: Seed = 0,
    precision: Precision = PRECISION,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Train our own convolutional network from random weights.

    Needs a few thousand photos, and an hour or more on a CPU.

    Example: trainer train scratch --data landmarks --out runs/scratch
    """
    from trainer.recipes.options import RecipeOptions
    from trainer.recipes.scratch import train_scratch

    options = RecipeOptions(
        data,
        unknown,
        others,
        out,
        cache,
        epochs,
        size,
        batch_size,
        learning_rate,
        device,
        seed,
        precision,
        resume,
    )
    _train(lambda: train_scratch(options), out, as_json=as_json)


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
