"""`trainer import`: models of other programs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tagger.cli.output.formats import write_table
from trainer.cli.options import Json, ModelFile, ModelName, print_results

import_app = typer.Typer(
    help="Make a model file of a model that another program publishes.", no_args_is_help=True
)


@import_app.command("google-landmarks")
def google_landmarks(
    *,
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="The folder of each region, with model.json and its shards. "
            "Several regions become one model.",
        ),
    ],
    labels: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE...",
            help="The names of the classes, a file for each folder, in the same order: CSV with id,name, "
            'or JSON {"name": {"0": …}}.',
        ),
    ],
    out: ModelFile,
    name: ModelName = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.99,
            help="The lowest similarity of a name. Defaults to 0.9; with --unknown, to that at which "
            "at most 1 % of them get a name.",
        ),
    ] = None,
    unknown: Annotated[
        Path | None,
        typer.Option(
            help="A folder of a few hundred ordinary photos, at any depth, that show no landmark. "
            "Sets the threshold."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import Google's on-device landmark classifiers, as published for TensorFlow.js, for `tagger model add`.

    Nothing of the files is run. Without --unknown, nothing is known of false names.

    Example: trainer import google-landmarks landmarks_europe --labels europe.json --out landmarks-europe.pt
    """
    from trainer.imports.google_landmarks import import_landmarks

    # A shell's `--labels *.json` names more files than an option takes.
    files = [*labels, *(path for path in folders if path.is_file())]
    regions = [path for path in folders if not path.is_file()]
    if len(files) != len(regions):
        raise typer.BadParameter(
            f"there are {len(files)} files for {len(regions)} folders; name one for each",
            param_hint="--labels",
        )
    result = import_landmarks(regions, files, out, name=name, threshold=threshold, unknown=unknown)
    manifest = result.manifest
    document: dict[str, object] = {
        "path": str(result.path.absolute()),
        "name": manifest.name,
        "digest": result.digest,
        "size_bytes": result.size_bytes,
        "classes": result.classes,
        "labels": len(manifest.labels),
        "threshold": manifest.threshold,
        "similarity": result.similarity,
        "calibration": manifest.calibration["method"],
        "threshold_reason": manifest.threshold_reason,
    }
    print_results(document, as_json=as_json)


@import_app.command()
def things(
    *,
    photos: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder of ordinary photos, the more the better.")
    ],
    labels: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="What they show: a CSV file with the columns file, things and not, slugs separated by `;`.",
        ),
    ],
    out: ModelFile,
    backbone: Annotated[
        str, typer.Option(help="A network with the 1,000 classes of ImageNet, of torchvision or timm.")
    ] = "timm/tf_efficientnet_lite0",
    weights: Annotated[
        Path | None, typer.Option(help="Its weights, classifier included. Defaults to the published ones.")
    ] = None,
    name: ModelName = None,
    as_json: Json = False,
) -> None:
    """Make a model of things, such as dogs, snow and kitchens, of a classifier of ImageNet.

    Of each thing, 92 % of its tags on the labelled photos must be right, or it is left out.

    Example: trainer import things photos --labels things.csv --out things.pt
    """
    from trainer.imports.things import import_things

    result = import_things(photos, labels, out, backbone=backbone, weights=weights, name=name)
    kept = [each for each in result.qualities if each.threshold is not None]
    document: dict[str, object] = {
        "path": str(result.path.absolute()),
        "name": result.manifest.name,
        "digest": result.digest,
        "size_bytes": result.size_bytes,
        "things": len(kept),
        "threshold": result.manifest.threshold,
        "left_out": [each.thing for each in result.qualities if each.threshold is None],
        "qualities": [asdict(each) for each in kept],
    }
    if as_json:
        print_results(document, as_json=True)
        return
    print_results({name: value for name, value in document.items() if name != "qualities"}, as_json=False)
    rows = ([each.thing, f"{each.threshold:.2f}", each.tagged, each.right, each.shown] for each in kept)
    write_table(("Thing", "From", "Tagged", "Right", "Shown"), rows)
