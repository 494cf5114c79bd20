"""`trainer data`: folders of photos before anybody trains on them. Imports no torch, also when it works."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trainer.cli.options import Json, print_results

if TYPE_CHECKING:
    from trainer.datasets.corrections import Corrections
    from trainer.datasets.splitting import Split

data_app = typer.Typer(
    help="Folders of photos: fetch the course's, see what is in one, split it, make one from people's corrections.",
    no_args_is_help=True,
)

NAMED = 10
"""Labels and photos named in one message; --json gives all of them."""

log = logging.getLogger("trainer")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]
NewFolder = Annotated[Path, typer.Option(help="The folder to make; nothing may be in it yet.")]


@data_app.command("inspect")
def inspect_(
    *,
    folder: Annotated[
        Path, typer.Argument(help="The folder with LABEL/photo.jpg, or {train,val,test}/LABEL.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder for report.md, sheet.png and inspection.json. Without it, NAME-inspection in the working directory; never in the photos' own folder."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at every photo: how many of each label, which are broken, which are there twice or on both sides of a split.

    Example: trainer data inspect landmarks
    """
    from trainer.datasets.inspection import inspect_folder
    from trainer.datasets.inspection_report import REPORT, document_of, summary_of, write_inspection
    from trainer.datasets.placing import check_outside

    report = out or _beside(folder)
    check_outside(report, folder)
    inspection = inspect_folder(folder)
    sheets = write_inspection(inspection, report)
    if as_json:
        print_results(document_of(inspection), as_json=True)
        return
    places = {"report": str(report / REPORT), "sheet": " ".join(map(str, sheets))}
    print_results(summary_of(inspection) | places, as_json=False)


def _beside(folder: Path) -> Path:
    """Where a report goes that nobody named a place for: here, or beside the photos if here is amid them."""
    name = f"{folder.resolve().name or 'photos'}-inspection"
    here = Path.cwd()
    return folder.resolve().parent / name if here.is_relative_to(folder.resolve()) else Path(name)


@data_app.command()
def split(
    *,
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder with LABEL/photo.jpg. Splits that it has already are pooled and made anew."
        ),
    ],
    out: NewFolder,
    val: Annotated[float, typer.Option(min=0.0, max=0.9, help="The share for validation.")] = 0.2,
    test: Annotated[float, typer.Option(min=0.0, max=0.9, help="The share for the test.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and photos make the same splits.")] = 0,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Make hard links instead of copies: no room needed, but each photo is one file in both folders.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make train/, val/ and test/ in a new folder, label by label, with photos of one scene on one side.

    The photos are copied, never moved or changed. split.json says which photo went where.

    Example: trainer data split photos --out landmarks --val 0.2 --test 0.2
    """
    from trainer.datasets.placing import check_out
    from trainer.datasets.splitting import Shares, document_of, plan_split, write_split

    if val + test > 0.95:
        raise typer.BadParameter("with --val it leaves next to nothing to train on", param_hint="--test")
    check_out(out, folder)
    planned = plan_split(folder, Shares(val=val, test=test), seed=seed)
    _say_split(planned)
    if not dry_run:
        write_split(planned, out, link=link)
    document = document_of(planned) | {"out": str(out), "dry_run": dry_run}
    if as_json:
        print_results(document, as_json=True)
        return
    shown = ("photos", "labels", "train", "val", "test", "groups_kept_together")
    print_results({name: document[name] for name in shown}, as_json=False)


def _say_split(planned: Split) -> None:
    if planned.dataset.splits:
        log.info("its splits (%s) are pooled and made anew", ", ".join(planned.dataset.splits))
    if planned.left_out:
        log.warning(
            "%d photos cannot be read and are left out; `trainer data inspect` names them",
            len(planned.left_out),
        )
    if planned.conflicts:
        log.warning(
            "%d pictures stand under several labels; `trainer data inspect` names them", planned.conflicts
        )
    for where, labels in planned.missing.items():
        if labels:
            log.warning("too few scenes for a photo in %s/: %s", where, _names(labels))


def _names(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


@data_app.command()
def download(
    *,
    what: Annotated[
        Literal["udacity"], typer.Argument(help="udacity: 50 landmarks, 6,000 photos, the course's.")
    ],
    out: NewFolder,
    url: Annotated[str | None, typer.Option(help="Another address of the same archive.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a set of photos and lay it out for training, with its landmarks.csv.

    Interrupted or cut off, it goes on where it stopped when the same command runs again; complete, it does nothing.

    Example: trainer data download udacity --out landmarks
    """
    from trainer.datasets.udacity import URL, fetch_udacity

    fetched = fetch_udacity(out, url or URL)
    if fetched.was_there:
        log.info("it is there already, nothing was fetched")
    document = {
        "set": what,
        "train": fetched.train,
        "test": fetched.test,
        "labels": fetched.labels,
        "fetched": not fetched.was_there,
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
            help="A folder that was trained on before: its photos are copied too, with people's words on them.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a training folder of what people said: confirmed photos to train/LABEL, rejected ones to unknown/.

    The database is the one that `tagger` uses. The photos are copied, never moved or changed.

    Example: trainer data from-verdicts --with landmarks --out landmarks-2
    """
    from tagger.settings import load_settings
    from trainer.datasets.corrections import collect_corrections, write_corrections
    from trainer.datasets.placing import check_out

    check_out(out, earlier)
    found = collect_corrections(load_settings(), earlier)
    _say_left_out(found)
    if not dry_run:
        write_corrections(found, out, earlier)
    document = found.document | {"out": str(out), "dry_run": dry_run}
    if as_json:
        print_results(document, as_json=True)
        return
    shown = ("confirmed", "ordinary", "labels", "earlier", "known_already", "relabelled")
    print_results({name: document[name] for name in shown}, as_json=False)


_REASONS = {
    "several-confirmed": "were confirmed for several landmarks; reject all but one: %s",
    "still-tagged": "have a rejected landmark and another that nobody has judged; confirm or reject that too",
    "gone": "have no photo any more",
    "away": "are in folders that are away; mount their disk or share and run this again",
    "changed": "are in files that show something else now; tag these again",
}


def _say_left_out(found: Corrections) -> None:
    for reason, count in sorted(found.left_out.items()):
        text = _REASONS[reason].replace("%s", _names(found.conflicts))
        log.warning("%d pictures left out: they %s", count, text)
    if found.unreadable:
        log.warning(
            "%d earlier photos cannot be read and are left out: %s",
            len(found.unreadable),
            _names(found.unreadable),
        )
    if len(found.labels) < 2:
        log.warning("training needs two labels or more; add an earlier folder with --with")
