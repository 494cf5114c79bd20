"""`trainer train`: every recipe as a command."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from trainer.cli.options import DeviceName, Json

BackboneName = Literal["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "resnet18", "resnet50"]

train_app = typer.Typer(
    help="Train a classifier. `transfer` starts from a network that has learned from a million photos already.",
    no_args_is_help=True,
)


def _size(value: int) -> int:
    if value % 32:
        raise typer.BadParameter(f"{value} is not a multiple of 32")
    return value


@train_app.command()
def transfer(
    *,
    data: Annotated[
        Path,
        typer.Option(
            help="The folder with train/LABEL/photo.jpg, and val/ if you have chosen one. Without, a fifth of train/ is held out, near-duplicates together."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The run's folder: checkpoint, curves, metrics, log. Run again with the same folder to reuse the features."
        ),
    ],
    unknown: Annotated[
        Path | None,
        typer.Option(
            help="A folder of ordinary photos, at any depth, to learn what is none of the landmarks. Greatly improves rejection."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The backbone's weights (safetensors, by torchvision's names; those of mobilenet_v2 as TensorFlow trained them). Without, torchvision's are fetched."
        ),
    ] = None,
    backbone: Annotated[BackboneName, typer.Option(help="The pretrained network.")] = "mobilenet_v2",
    epochs: Annotated[int, typer.Option(min=1, help="Times through the photos.")] = 12,
    size: Annotated[
        int,
        typer.Option(
            min=32,
            max=1024,
            callback=_size,
            help="Side of the images that the model sees, in pixels; a multiple of 32.",
        ),
    ] = 224,
    device: Annotated[DeviceName, typer.Option(envvar="TAGGER_DEVICE", help="Where to compute.")] = "auto",
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed and photos make the same split and the same model.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Learn a linear layer on the features of a pretrained network: minutes on a laptop, good from 20 photos a label on."""
    from trainer.recipes.transfer import Options, train_transfer
    from trainer.runs import LOG, METRICS, open_run_folder

    open_run_folder(out)
    options = Options(
        data=data,
        unknown=unknown,
        out=out,
        weights=weights,
        backbone=backbone,
        epochs=epochs,
        size=size,
        device=device,
        seed=seed,
    )
    with _logged_to(out / LOG):
        record = train_transfer(options).record
    if as_json:
        typer.echo((out / METRICS).read_text(), nl=False)
        return
    for name, value in record.metrics.items():
        typer.echo(f"{name}\t{value:.4g}")
    typer.echo(f"threshold\t{record.threshold:.4g}")


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Keep what is said meanwhile in a file too."""
    log = logging.getLogger("trainer")
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
