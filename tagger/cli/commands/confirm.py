"""`tagger confirm` and `tagger reject`: give verdicts on photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.derived_facts import update_derived_facts
from tagger.cli.options import Author, DryRun, Json, refuse_swapped_arguments
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_session
from tagger.database.actor import login_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.library.verdicts.service import VerdictResult, VerdictResultDocument
    from tagger.library.verdicts.store import DismissedPhotos, VerdictKind

PHOTOS_HELP = "Photos. The files may be deleted already."
LandmarkArgument = Annotated[
    str, typer.Argument(help="A landmark, by slug or name. Case does not matter.", metavar="LANDMARK")
]
Photos = Annotated[list[Path], typer.Argument(help=PHOTOS_HELP, metavar="PHOTO")]
AnyLandmark = Annotated[
    bool, typer.Option("--any", help="The photos show no landmark at all: put them away, without LANDMARK.")
]
Withdraw = Annotated[
    bool,
    typer.Option("--withdraw", help="Withdraw the verdict. The predictions of the model apply again."),
]


def confirm(
    landmark: LandmarkArgument,
    photos: Photos,
    by: Author = None,
    withdraw: Withdraw = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Confirm that photos show a landmark. The landmark becomes an accepted tag, whatever models predict.

    The landmark can be any of a registered model, or one of your own. The verdict applies to
    every copy of the photo and survives new models.

    For example:

    tagger confirm "Eiffel Tower" holiday/IMG_0042.jpg holiday/IMG_0043.jpg

    tagger query --landmark eiffel-tower --under Paris -0 | xargs -0 tagger confirm eiffel-tower
    """
    from tagger.library.verdicts.store import VerdictKind

    _give(VerdictKind.CONFIRMED, landmark, photos, by, withdraw=withdraw, dry_run=dry_run, json=json)


def reject(
    landmark: Annotated[
        str, typer.Argument(help="A landmark, by slug or name; with --any, a photo.", metavar="LANDMARK")
    ],
    photos: Annotated[list[Path] | None, typer.Argument(help=PHOTOS_HELP, metavar="PHOTO")] = None,
    any_: AnyLandmark = False,
    by: Author = None,
    withdraw: Withdraw = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Reject a landmark for photos. No model can give them this tag again.

    The verdict applies to every copy of the photo and survives new models. A new verdict replaces the old one. With --any, all arguments are photos: they are put away as not a landmark, and are not unknown any more; those with a confirmed landmark are left out.

    For example:

    tagger reject eiffel-tower holiday/IMG_0042.jpg holiday/IMG_0043.jpg

    tagger query --unknown --under Screenshots -0 | xargs -0 tagger reject --any
    """
    from tagger.library.verdicts.store import VerdictKind

    if any_:
        paths = [Path(landmark), *(photos or [])]
        _dismiss(paths, by or login_name(), withdraw=withdraw, dry_run=dry_run, json=json)
        return
    if not photos:
        raise typer.BadParameter("name at least one photo", param_hint="PHOTO")
    _give(VerdictKind.REJECTED, landmark, photos, by, withdraw=withdraw, dry_run=dry_run, json=json)


def _give(
    kind: VerdictKind,
    landmark: str,
    photos: Sequence[Path],
    by: str | None,
    *,
    withdraw: bool,
    dry_run: bool,
    json: bool,
) -> None:
    """Give or withdraw verdicts, and print them. With --json, one photo gives an object, several give a list."""
    from tagger.library.verdicts.service import give_verdict, verdict_result_document, withdraw_verdict
    from tagger.photos.paths import absolute_path, parse_path

    refuse_swapped_arguments(landmark, photos)
    photos = list(map(parse_path, photos))
    settings, database = session = open_session()

    def apply(photo: Path, *, dry_run: bool) -> VerdictResult:
        if withdraw:
            return withdraw_verdict(database, photo, landmark, kind, settings.roots, dry_run=dry_run)
        return give_verdict(
            database, photo, landmark, kind, by or login_name(), settings.roots, dry_run=dry_run
        )

    for photo in photos[1:]:  # one that is missing must not end the command halfway
        apply(photo, dry_run=True)
    documents: list[VerdictResultDocument] = []
    for photo in photos:
        result = apply(photo, dry_run=dry_run)
        document = verdict_result_document(
            absolute_path(photo), result, kind, withdraw=withdraw, dry_run=dry_run
        )
        documents.append(document)
        if not json:
            typer.echo(_result_line(photo, result, kind, withdraw=withdraw, dry_run=dry_run))
    if json:
        write_json(documents if len(photos) > 1 else documents[0])
    if not dry_run:
        update_derived_facts(session, result.landmark)


def _result_line(
    photo: Path, result: VerdictResult, kind: VerdictKind, *, withdraw: bool, dry_run: bool
) -> str:
    subject = f"{printable(str(photo))}: {printable(result.landmark.display_name)}"
    if withdraw and result.before is not kind:
        other = f"; it is {result.before}" if result.before else ""
        return f"{subject} is not {kind}, so there is nothing to withdraw{other}"
    would = "would be " if dry_run else ""
    verb = f"no longer {kind}" if withdraw else f"{kind}"
    before = f" (was {result.before})" if result.before not in {None, kind} else ""
    copies = f", in {result.photos} copies of the photo" if result.photos > 1 else ""
    return f"{subject} {would}{verb}{before}{copies}"


def _dismiss(photos: Sequence[Path], by: str | None, *, withdraw: bool, dry_run: bool, json: bool) -> None:
    """Put photos away as not a landmark, or bring them back."""
    from tagger.library.verdicts.store import dismiss_photos, photo_ids_at, restore_photos
    from tagger.photos.paths import parse_path

    settings, database = session = open_session()
    numbers = photo_ids_at(database, map(parse_path, photos), settings.roots)
    if withdraw:
        result = restore_photos(database, numbers, dry_run=dry_run)
    else:
        result = dismiss_photos(database, numbers, by, dry_run=dry_run)
    if json:
        counts = {name: len(ids) for name, ids in vars(result).items()}
        write_json({**counts, "withdrawn": withdraw, "dry_run": dry_run})
    else:
        typer.echo(_dismissal_line(result, withdraw=withdraw, dry_run=dry_run))
    if not dry_run:
        update_derived_facts(session)


def _dismissal_line(result: DismissedPhotos, *, withdraw: bool, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    done = "brought back" if withdraw else "put away as not a landmark"
    parts = [f"{count_of(len(result.changed), 'photo')} {would}{done}"]
    if result.unchanged:
        already = "not put away" if withdraw else "put away already"
        parts.append(f"{len(result.unchanged)} {already}")
    if result.confirmed:
        parts.append(f"{len(result.confirmed)} left out, with a confirmed landmark")
    if result.left_out:
        parts.append(f"{len(result.left_out)} left out, not classified")
    return "; ".join(parts)
