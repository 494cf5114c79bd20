"""`tagger dismiss`: put photos away as not a landmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.derived_facts import update_derived_facts
from tagger.cli.option_groups import QueryOptions, with_option_groups
from tagger.cli.options import Author, DryRun, Json, Photos
from tagger.cli.output.formats import write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_session
from tagger.database.actor import login_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.cli.session import Session
    from tagger.library.query.options import PhotoQuery
    from tagger.library.verdicts import DismissedPhotos

AllOfQuery = Annotated[
    bool,
    typer.Option(
        "--all-of-query",
        help="All unknown photos that the query options find; with --withdraw, all photos that were put away.",
    ),
]
Withdraw = Annotated[
    bool,
    typer.Option("--withdraw", help="Bring the photos back. The predictions of the model apply again."),
]


@with_option_groups
def dismiss(
    photos: Photos = None,
    all_of_query: AllOfQuery = False,
    *,
    query_options: QueryOptions,
    by: Author = None,
    withdraw: Withdraw = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Put photos away as not a landmark: they are not unknown any more, and no model can give them a tag.

    The verdict applies to every copy of the photo and survives new models. Photos with a confirmed landmark are left out. `tagger query --dismissed` lists the photos that were put away.

    For example:

    tagger dismiss holiday/IMG_0042.jpg holiday/IMG_0043.jpg

    tagger dismiss --all-of-query --under ~/Pictures/Screenshots --dry-run
    """
    from tagger.library.verdicts import dismiss_photos, restore_photos

    query = query_options.parse(dismissed=withdraw, unknown=not withdraw)
    _check_options(query_options, photos, all_of_query=all_of_query)
    session = open_session()
    numbers = _photo_ids(session, query if all_of_query else None, photos or ())
    if withdraw:
        result = restore_photos(session.database, numbers, dry_run=dry_run)
    else:
        result = dismiss_photos(session.database, numbers, by or login_name(), dry_run=dry_run)
    if json:
        counts = {name: len(ids) for name, ids in vars(result).items()}
        write_json({**counts, "withdrawn": withdraw, "dry_run": dry_run})
    else:
        typer.echo(_result_line(result, withdraw=withdraw, dry_run=dry_run))
    if not dry_run:
        update_derived_facts(session)


def _check_options(query_options: QueryOptions, photos: Sequence[Path] | None, *, all_of_query: bool) -> None:
    from tagger.library.query.options import PhotoQuery

    has_options = query_options.parse() != PhotoQuery()
    if all_of_query and photos:
        raise typer.BadParameter(
            "name photos, or use query options like --under", param_hint="--all-of-query"
        )
    if all_of_query and not has_options:
        raise typer.BadParameter("it needs a query option, like --under", param_hint="--all-of-query")
    if not all_of_query and has_options:
        raise typer.BadParameter("query options need it", param_hint="--all-of-query")
    if not all_of_query and not photos:
        raise typer.BadParameter("name photos, or use --all-of-query with query options", param_hint="PHOTO")


def _photo_ids(session: Session, query: PhotoQuery | None, paths: Sequence[Path]) -> list[int]:
    from tagger.library.verdicts.dismissals import photo_ids_at, photo_ids_of
    from tagger.photos.paths import parse_path

    if query is not None:
        return photo_ids_of(session.database, query, session.settings.roots)
    return photo_ids_at(session.database, map(parse_path, paths), session.settings.roots)


def _result_line(result: DismissedPhotos, *, withdraw: bool, dry_run: bool) -> str:
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
