"""`trainer data` and `trainer import`: photos for training, and models of other programs.

Has the options and output of all commands, too. Does not import torch.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from tagger.cli.console import write_json, write_table
from tagger.settings import load_settings
from trainer.data import find_labelled_photos
from trainer.data.sources import (
    URL,
    collect_corrections,
    fetch_udacity,
    write_corrections,
)
from trainer.data.split import (
    plan_split,
    require_free_folder,
    require_outside,
    split_document,
    write_split,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        help="The model's name in `tagger model list`. Defaults to the file name."
    ),
]
ModelFile = Annotated[Path, typer.Option(help="The model file to write, MODEL.pt.")]


def print_results(
    document: dict[str, object],
    columns: Collection[str] = (),
    *,
    as_json: bool,
) -> None:
    """Print `document` as JSON, or as one tab-separated line per entry, or per entry of `columns`."""
    if as_json:
        write_json(document)
        return
    for name in columns or document:
        value = document[name]
        typer.echo(
            f"{name}\t{value:.4g}" if isinstance(value, float) else f"{name}\t{value}"
        )


# `trainer data`: prepare folders of photos for training. Does not import torch.

data_app = typer.Typer(
    help="Prepare training data: download, inspect and split photos, or export them from verdicts.",
    no_args_is_help=True,
)

# The most labels or photos named in one message; --json lists all of them.
LISTED = 10

log = logging.getLogger("trainer")

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show what the command would do, and change nothing."
    ),
]
NewFolder = Annotated[
    Path, typer.Option(help="The folder to create. It must be empty or missing.")
]


@data_app.command("inspect")
def inspect_(
    *,
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder with LABEL/photo.jpg, or {train,val,test}/LABEL."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder for report.md, sheet.png and inspection.json. "
            "Defaults to NAME-inspection in the working directory; never inside the photo folder."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every photo: counts per label, unreadable photos, duplicates, and photos in several splits.

    Example: trainer data inspect landmarks
    """
    from trainer.data.inspection import (
        REPORT,
        findings,
        inspect_folder,
        write_inspection,
    )

    name = f"{folder.resolve().name or 'photos'}-inspection"
    # The working directory may be in the photo folder, which is never written to.
    inside = Path.cwd().is_relative_to(folder.resolve())
    report = out or (folder.resolve().parent / name if inside else Path(name))
    require_outside(report, folder)
    inspection = inspect_folder(folder)
    sheets = write_inspection(inspection, report)
    if as_json:
        print_results(inspection.document, as_json=True)
        return
    document: dict[str, object] = {
        "photos": inspection.document["photos"],
        "labels": len(inspection.document["labels"]),
        **{title.lower(): len(lines) for title, lines in findings(inspection).items()},
        **(
            {"landmarks.csv": "none"}
            if inspection.document["landmarks"] is None
            else {}
        ),
        "report": str(report / REPORT),
        "sheet": " ".join(map(str, sheets)),
    }
    print_results(document, as_json=False)
    if inspection.leaks:
        log.warning(
            "leaks make test figures too good; to split the photos again, "
            "run: trainer data split %s --out NEW-FOLDER",
            shlex.quote(str(folder)),
        )


@data_app.command()
def split(
    *,
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder with LABEL/photo.jpg. Existing splits are pooled."
        ),
    ],
    out: NewFolder,
    val: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, help="The share of photos for validation."),
    ] = 0.2,
    test: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="The share of photos for testing.")
    ] = 0.2,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed and photos give the same splits.")
    ] = 0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Split a folder into train/, val/ and test/ per label, keeping photos of one scene together.

    Photos are copied, never moved or changed. split.json records the split of each photo.

    Example: trainer data split photos --out landmarks --val 0.2 --test 0.2
    """
    if val + test > 0.95:
        raise typer.BadParameter(
            "with --val, too few photos remain for training", param_hint="--test"
        )
    require_free_folder(out, folder)
    plan = plan_split(folder, {"test": test, "val": val}, seed=seed)
    if plan.dataset.splits:
        log.info("the existing splits (%s) are pooled", ", ".join(plan.dataset.splits))
    if plan.unreadable:
        log.warning(
            "%d photos cannot be read and are skipped; `trainer data inspect` lists them",
            len(plan.unreadable),
        )
    for name, labels in plan.missing.items():
        if labels:
            log.warning("too few scenes for a photo in %s/: %s", name, _join(labels))
    if not dry_run:
        write_split(plan, out)
    document = split_document(plan) | {"out": str(out), "dry_run": dry_run}
    columns = ("photos", "labels", "train", "val", "test", "groups_kept_together")
    print_results(document, columns, as_json=as_json)


def _join(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


@data_app.command()
def download(
    *,
    dataset: Annotated[
        Literal["udacity"],
        typer.Argument(
            help="udacity: 6,000 photos of 50 landmarks, from Udacity's course."
        ),
    ],
    out: NewFolder,
    url: Annotated[
        str | None, typer.Option(help="Another URL of the same archive.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a set of photos, ready for training, with its landmarks.csv.

    Example: trainer data download udacity --out landmarks
    """
    fetched = fetch_udacity(out, url or URL)
    if not fetched:
        log.info("the folder is already complete; nothing was downloaded")
    train, test = (
        find_labelled_photos(out / "train"),
        find_labelled_photos(out / "test"),
    )
    document: dict[str, object] = {
        "set": dataset,
        "train": len(train),
        "test": len(test),
        "labels": len({photo.label for photo in (*train, *test)}),
        "fetched": fetched,
        "out": str(out),
    }
    print_results(document, as_json=as_json)


@data_app.command("from-verdicts")
def from_verdicts(
    *,
    out: NewFolder,
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--with",
            help="An earlier training folder. Its photos are copied too, corrected by the verdicts.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Create a training folder from verdicts: confirmed photos in train/LABEL, rejected ones in unknown/.

    Reads the database that `tagger` uses. Photos are copied, never moved or changed.

    Example: trainer data from-verdicts --with landmarks --out landmarks-2
    """
    require_free_folder(out, earlier)
    corrections = collect_corrections(load_settings(), earlier)
    for reason, count in sorted(corrections.skipped.items()):
        text = _REASONS[reason].replace("%s", _join(corrections.conflicts))
        log.warning("%d images skipped: %s", count, text)
    for reason, count in sorted(corrections.left_out.items()):
        log.info("%d photos left out: %s", count, reason)
    if unreadable := corrections.unreadable:
        log.warning(
            "%d earlier photos cannot be read and are skipped: %s",
            len(unreadable),
            _join(unreadable),
        )
    if len(corrections.labels) < 2:
        log.warning(
            "training needs at least two labels; add an earlier folder with --with"
        )
    if not dry_run:
        write_corrections(corrections, out)
    document = corrections.document | {"out": str(out), "dry_run": dry_run}
    columns = (
        "confirmed",
        "ordinary",
        "labels",
        "earlier",
        "known_already",
        "relabelled",
    )
    print_results(document, columns, as_json=as_json)


_REASONS = {
    "several-confirmed": "several landmarks are confirmed; reject all but one: %s",
    "still-tagged": "one landmark is rejected and another has no verdict; confirm or reject that one",
    "gone": "the photo no longer exists",
    "unavailable": "the folder or bucket is unavailable; mount its disk or share, or check the bucket, "
    "and run this again",
    "changed": "the file now shows something else; tag it again",
}


# `trainer import`: models of other programs.

import_app = typer.Typer(
    help="Make a model file of a model that another program publishes.",
    no_args_is_help=True,
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
    result = import_landmarks(
        regions, files, out, name=name, threshold=threshold, unknown=unknown
    )
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
        Path,
        typer.Argument(
            metavar="FOLDER", help="A folder of ordinary photos, the more the better."
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="What they show: a CSV file with the columns file, things and not, slugs separated by `;`, "
            "and source: photos of one look alike. Defaults to the folder of a photo.",
        ),
    ],
    out: ModelFile,
    trunk: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A model of landmarks whose first layers it has too, so that one pass is enough for both. "
            "Its --backbone is timm/mobilenet_edgetpu_100.",
        ),
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            help="A network with the 1,000 classes of ImageNet, of torchvision or timm."
        ),
    ] = "efficientnet_b0",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Its weights, classifier included. Defaults to the published ones."
        ),
    ] = None,
    name: ModelName = None,
    as_json: Json = False,
) -> None:
    """Make a model of things, such as dogs, snow and kitchens, of a classifier of ImageNet.

    Of each thing, 90 % of its tags on labelled photos of other sources must be right, or it is left out.

    Example: trainer import things photos --labels things.csv --out things.pt
    """
    from trainer.imports.things import import_things

    result = import_things(
        photos,
        labels,
        out,
        trunk=trunk,
        backbone=backbone,
        weights=weights,
        name=name,
    )
    kept = [quality for quality in result.qualities if quality.threshold is not None]
    document: dict[str, object] = {
        "path": str(result.path.absolute()),
        "name": result.manifest.name,
        "digest": result.digest,
        "size_bytes": result.size_bytes,
        "things": len(kept),
        "threshold": result.manifest.threshold,
        "left_out": [
            quality.thing for quality in result.qualities if quality.threshold is None
        ],
        "qualities": [asdict(quality) for quality in kept],
        "confusions": result.confusions,
    }
    if as_json:
        print_results(document, as_json=True)
        return
    tables = "qualities", "confusions"
    print_results(
        {name: value for name, value in document.items() if name not in tables},
        as_json=False,
    )
    rows = (
        [
            quality.thing,
            quality.tagged,
            quality.right,
            quality.shown,
        ]
        for quality in kept
    )
    write_table(("Thing", "Tagged", "Right", "Shown"), rows)
    write_table(("Wrong tag", "Shown instead", "Tags"), result.confusions[:LISTED])
