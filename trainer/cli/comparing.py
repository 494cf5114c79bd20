"""`trainer compare`: backbones side by side on a person's own photos."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import DeviceName, ImageSize, Json, print_results

SOME_FAILED = 3

comparing_app = typer.Typer()


@comparing_app.command()
def compare(
    *,
    data: Annotated[
        Path, typer.Option(help="The folder with train/LABEL/photo.jpg, as for `trainer train`.")
    ],
    backbones: Annotated[
        str,
        typer.Option(
            help="Networks, a comma between them: any of torchvision's classification networks, or timm/NAME for one of timm's."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The folder for comparison.md, .json and .png, and a run for each backbone. With the same folder again, what is done is not done again."
        ),
    ],
    unknown: Annotated[
        Path | None,
        typer.Option(help="A folder of ordinary photos that show none of the landmarks, to learn from too."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="The file with the weights of one backbone, for as many as you like. Without, the published ones are fetched.",
        ),
    ] = None,
    size: ImageSize = 224,
    device: Annotated[
        DeviceName, typer.Option(envvar="TAGGER_DEVICE", help="Where to compute, and to measure speed.")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Compare pretrained networks on your photos: accuracy, parameters, file size, photos/s, and which one to take.

    Exits with 3 if some of them could not be compared.
    """
    names = _names(backbones)
    files = _files(weights or [], names)
    from trainer.comparison import Plan, compare_backbones, figures_of, text_table, write_comparison

    comparison = compare_backbones(Plan(data, unknown, out, names, files, size, device))
    write_comparison(comparison)
    if as_json:
        print_results(figures_of(comparison), as_json=True)
    else:
        typer.echo(text_table(comparison))
    if any(row.reason for row in comparison.rows):
        raise typer.Exit(SOME_FAILED)


def _names(backbones: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in backbones.split(",") if name.strip()))
    if not names:
        raise typer.BadParameter("name at least one", param_hint="--backbones")
    return names


def _files(weights: list[str], names: tuple[str, ...]) -> dict[str, Path]:
    files = {}
    for entry in weights:
        name, equals, path = entry.partition("=")
        if not equals or name not in names:
            raise typer.BadParameter(
                f"{entry}: write NAME=FILE, with one of {', '.join(names)}", param_hint="--weights"
            )
        files[name] = Path(path)
    return files
