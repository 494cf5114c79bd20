"""`trainer data`: prepare folders of photos for training. Does not import torch."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from tagger.settings import load_settings
from trainer.cli.options import Json, print_results
from trainer.data.corrections import collect_corrections, write_corrections
from trainer.data.folders import find_labelled_photos
from trainer.data.output_folder import require_free_folder, require_outside
from trainer.data.split import plan_split, split_document, write_split
from trainer.data.udacity import URL, fetch_udacity

data_app = typer.Typer(
    help="Prepare training data: download, inspect and split photos, or export them from verdicts.",
    no_args_is_help=True,
)

# The most labels or photos named in one message; --json lists all of them.
LISTED = 10

log = logging.getLogger("trainer")

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what the command would do, and change nothing.")
]
NewFolder = Annotated[Path, typer.Option(help="The folder to create. It must be empty or missing.")]


@data_app.command("inspect")
def inspect_(
    *,
    folder: Annotated[
        Path, typer.Argument(help="The folder with LABEL/photo.jpg, or {train,val,test}/LABEL.")
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
    from trainer.data.inspection import REPORT, findings, inspect_folder, write_inspection

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
        **({"landmarks.csv": "none"} if inspection.document["landmarks"] is None else {}),
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
        Path, typer.Argument(help="The folder with LABEL/photo.jpg. Existing splits are pooled.")
    ],
    out: NewFolder,
    val: Annotated[float, typer.Option(min=0.0, max=0.9, help="The share of photos for validation.")] = 0.2,
    test: Annotated[float, typer.Option(min=0.0, max=0.9, help="The share of photos for testing.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and photos give the same splits.")] = 0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Split a folder into train/, val/ and test/ per label, keeping photos of one scene together.

    Photos are copied, never moved or changed. split.json records the split of each photo.

    Example: trainer data split photos --out landmarks --val 0.2 --test 0.2
    """
    if val + test > 0.95:
        raise typer.BadParameter("with --val, too few photos remain for training", param_hint="--test")
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
        typer.Argument(help="udacity: 6,000 photos of 50 landmarks, from Udacity's course."),
    ],
    out: NewFolder,
    url: Annotated[str | None, typer.Option(help="Another URL of the same archive.")] = None,
    as_json: Json = False,
) -> None:
    """Download a set of photos, ready for training, with its landmarks.csv.

    Example: trainer data download udacity --out landmarks
    """
    fetched = fetch_udacity(out, url or URL)
    if not fetched:
        log.info("the folder is already complete; nothing was downloaded")
    train, test = find_labelled_photos(out / "train"), find_labelled_photos(out / "test")
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
            "%d earlier photos cannot be read and are skipped: %s", len(unreadable), _join(unreadable)
        )
    if len(corrections.labels) < 2:
        log.warning("training needs at least two labels; add an earlier folder with --with")
    if not dry_run:
        write_corrections(corrections, out)
    document = corrections.document | {"out": str(out), "dry_run": dry_run}
    columns = ("confirmed", "ordinary", "labels", "earlier", "known_already", "relabelled")
    print_results(document, columns, as_json=as_json)


_REASONS = {
    "several-confirmed": "several landmarks are confirmed; reject all but one: %s",
    "still-tagged": "one landmark is rejected and another has no verdict; confirm or reject that one",
    "gone": "the photo no longer exists",
    "unavailable": "the folder or bucket is unavailable; mount its disk or share, or check the bucket, "
    "and run this again",
    "changed": "the file now shows something else; tag it again",
}
