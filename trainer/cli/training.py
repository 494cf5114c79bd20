"""`trainer train`: every recipe as a command."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.options import DeviceName, ImageSize, Json
from trainer.recipes.options import PRECISION

if TYPE_CHECKING:
    from trainer.model.runs import RunRecord

train_app = typer.Typer(
    help="Train a classifier. `transfer` starts from a network that has learned from a million photos already; `scratch` from nothing.",
    no_args_is_help=True,
)

Data = Annotated[
    Path,
    typer.Option(
        help="The folder with train/LABEL/photo.jpg, and val/ if you have chosen one. Without, a seventh of train/ is held out, near-duplicates together."
    ),
]
Out = Annotated[
    Path,
    typer.Option(help="The run's folder: checkpoint, curves and other drawings (PNG), metrics (JSON), log."),
]
Unknown = Annotated[
    Path | None,
    typer.Option(
        help="A folder of ordinary photos, at any depth, to learn what is none of the landmarks. Greatly improves rejection."
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Where decoded photos are kept, which several runs may share and you may delete; in the run's folder, if not given."
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=2, help="Photos of one step. Fewer need less of the device's memory.")
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        min=1e-9,
        help="The highest learning rate; the recipe's own, if not given. Less where training fails to converge.",
    ),
]
Device = Annotated[DeviceName, typer.Option(envvar="TAGGER_DEVICE", help="Where to compute.")]
Seed = Annotated[
    int, typer.Option(min=0, help="The same seed and photos make the same split and the same model.")
]
Precision = Annotated[
    float,
    typer.Option(
        min=0.5,
        max=0.999,
        help="How many of the accepted landmarks should be right: the threshold is chosen for it, on photos held out.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on from the run's last epoch, where there is one; it ends as if it had not been broken off.",
    ),
]
TensorBoard = Annotated[
    Path | None,
    typer.Option(
        help="A folder to write events for TensorBoard to, which is an extra: landmark-tagger[tensorboard]."
    ),
]


@train_app.command()
def scratch(
    *,
    data: Data,
    out: Out,
    unknown: Unknown = None,
    cache: Cache = None,
    epochs: Annotated[int, typer.Option(min=1, help="Times through the photos.")] = 100,
    size: ImageSize = 160,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = None,
    device: Device = "auto",
    seed: Seed = 0,
    precision: Precision = PRECISION,
    resume: Resume = False,
    tensorboard: TensorBoard = None,
    as_json: Json = False,
) -> None:
    """Learn a convolutional network of our own from random weights: an hour or more on a CPU, from some thousand photos on.

    Example: trainer train scratch --data landmarks --out runs/scratch
    """
    from trainer.learning.events import watching
    from trainer.recipes.options import Options
    from trainer.recipes.scratch import train_scratch

    options = Options(
        data, unknown, out, cache, epochs, size, batch_size, learning_rate, device, seed, precision, resume
    )
    with _logged_in(out), watching(tensorboard) as watch:
        record = train_scratch(options, watch).record
    _print(record, out, as_json=as_json)


@train_app.command()
def transfer(
    *,
    data: Data,
    out: Out,
    unknown: Unknown = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The backbone's weights: a safetensors file by torchvision's names (by timm's for timm/NAME; those of mobilenet_v2 as TensorFlow trained them), or torchvision's own .pth. Without, the published ones are fetched."
        ),
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            help="The pretrained network: any of torchvision's classification networks, or timm/NAME for one of timm's, which is an extra."
        ),
    ] = "mobilenet_v2",
    cache: Cache = None,
    epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Times through the photos in fine-tuning. 0: the backbone is kept as it is, and a linear layer learned on its features, in a minute.",
        ),
    ] = 30,
    size: ImageSize = 224,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = None,
    device: Device = "auto",
    seed: Seed = 0,
    precision: Precision = PRECISION,
    resume: Resume = False,
    tensorboard: TensorBoard = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a pretrained network: the best there is from 20 photos a label on, minutes on a GPU, an hour on two cores.

    Example: trainer train transfer --data landmarks --unknown ordinary --out runs/landmarks
    """
    from trainer.learning.events import watching
    from trainer.recipes.transfer import TransferOptions, train_transfer

    options = TransferOptions(
        data,
        unknown,
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
    with _logged_in(out), watching(tensorboard) as watch:
        record = train_transfer(options, watch).record
    _print(record, out, as_json=as_json)


@contextmanager
def _logged_in(run: Path) -> Iterator[None]:
    """Keep what is said meanwhile in the run's log too."""
    from trainer.model.runs import LOG, open_run_folder

    open_run_folder(run)
    log = logging.getLogger("trainer")
    handler = logging.FileHandler(run / LOG, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    except KeyboardInterrupt:
        log.info("with --resume, the same command goes on from the last epoch that ended")
        raise
    finally:
        log.removeHandler(handler)
        handler.close()


def _print(record: "RunRecord", run: Path, *, as_json: bool) -> None:
    from trainer.model.runs import METRICS

    if as_json:
        typer.echo((run / METRICS).read_text(), nl=False)
        return
    for name, value in record.metrics.items():
        typer.echo(f"{name}\t{value:.4g}")
    typer.echo(f"threshold\t{record.threshold:.4g}")
