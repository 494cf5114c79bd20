"""`tagger confirm`, `tagger reject` and `tagger dismiss`: give verdicts on photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.derived_facts import update_derived_facts
from tagger.cli.option_groups import QueryOptions, with_option_groups
from tagger.cli.options import Author, DryRun, Json, Photos, query_usage
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_session
from tagger.database.actor import login_name
from tagger.library.query.options import VERDICT_OPTIONS, PhotoQuery, refuse_all_but

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tagger.cli.session import Session
    from tagger.library.query.options import PhotoQuery
    from tagger.library.verdicts import DismissedPhotos, VerdictKind, VerdictResult
    from tagger.library.verdicts.documents import (
        QueryVerdictDocument,
        VerdictResultDocument,
        WithdrawnVerdicts,
    )

LandmarkArgument = Annotated[
    str | None,
    typer.Argument(help="A landmark, by slug or name. Case does not matter.", metavar="LANDMARK"),
]
AllOfQuery = Annotated[
    bool,
    typer.Option(
        "--all-of-query",
        help="Apply the verdict to every tag that the query options find; with --country or --near and no "
        "--landmark, to landmarks there.",
    ),
]
AnyRank = Annotated[
    bool, typer.Option("--any-rank", help="With --landmark: include predictions that were not accepted.")
]
Withdraw = Annotated[
    bool,
    typer.Option("--withdraw", help="Withdraw the verdict. The predictions of the model apply again."),
]

CONFIRM_HELP = """Confirm that photos show a landmark. The landmark becomes an accepted tag, whatever models predict.

    The landmark can be any of a registered model, or one of your own. The verdict applies to
    every copy of the photo and survives new models.

    For example:

    tagger confirm holiday/IMG_0042.jpg holiday/IMG_0043.jpg "Eiffel Tower"

    tagger confirm --all-of-query --landmark eiffel-tower --under ~/Pictures/Paris --dry-run
"""
REJECT_HELP = """Reject a landmark for photos. No model can give them this tag again.

    The verdict applies to every copy of the photo and survives new models. A new verdict replaces the old one.

    For example:

    tagger reject holiday/IMG_0042.jpg holiday/IMG_0043.jpg eiffel-tower

    tagger reject --all-of-query --landmark eiffel-tower --under ~/Pictures/Berlin --dry-run
"""


def _verdict_command(name: str, kind: str, help_text: str) -> Callable[..., None]:
    """Return the command that gives verdicts of `kind`. Both commands have the same options."""

    @with_option_groups
    def command(
        photos: Photos = None,
        landmark_name: LandmarkArgument = None,
        all_of_query: AllOfQuery = False,
        *,
        query_options: QueryOptions,
        any_rank: AnyRank = False,
        by: Author = None,
        withdraw: Withdraw = False,
        dry_run: DryRun = False,
        json: Json = False,
    ) -> None:
        from tagger.library.verdicts import VerdictKind

        query = query_options.parse(any_rank=any_rank)
        action = _VerdictAction(
            VerdictKind(kind), by or login_name(), withdraw=withdraw, dry_run=dry_run, json=json
        )
        if all_of_query:
            _check_query(query, landmark_name, withdraw=withdraw)
            action.apply_to_query(query)
            return
        if query != PhotoQuery():
            raise typer.BadParameter("query options need it", param_hint="--all-of-query")
        if not photos or landmark_name is None:
            text = "name both, or use --all-of-query with query options"
            raise typer.BadParameter(text, param_hint="PHOTO LANDMARK")
        action.apply_to_photos(photos, landmark_name)

    command.__name__, command.__doc__ = name, help_text
    return command


confirm = _verdict_command("confirm", "confirmed", CONFIRM_HELP)
reject = _verdict_command("reject", "rejected", REJECT_HELP)


def _check_query(query: PhotoQuery, argument: str | None, *, withdraw: bool) -> None:
    if argument is not None:
        raise typer.BadParameter(
            "--all-of-query takes only options, like --landmark NAME", param_hint="PHOTO"
        )
    if query == PhotoQuery(any_rank=query.any_rank):
        text = "it needs a query option, like --landmark or --under"
        raise typer.BadParameter(text, param_hint="--all-of-query")
    if query.any_rank and not query.landmark:
        raise typer.BadParameter("it needs --landmark", param_hint="--any-rank")
    if withdraw:
        with query_usage():
            refuse_all_but(
                VERDICT_OPTIONS,
                query,
                "with --withdraw, select verdicts by landmark, country, folder and date",
            )


class _VerdictAction:
    """Gives a kind of verdict, or withdraws it with `withdraw`, and prints the result."""

    def __init__(
        self, kind: VerdictKind, by: str | None, *, withdraw: bool, dry_run: bool, json: bool
    ) -> None:
        self._kind, self._by = kind, by
        self._withdraw, self._dry_run, self._json = withdraw, dry_run, json

    def apply_to_photos(self, photos: Sequence[Path], landmark: str) -> None:
        """With --json, one photo gives an object, several give a list."""
        from tagger.library.verdicts.documents import verdict_result_document
        from tagger.photos.paths import absolute_path, parse_path

        photos = list(map(parse_path, photos))
        session = open_session()
        for photo in photos[1:]:  # one that is missing must not end the command halfway
            self._apply(session, photo, landmark, dry_run=True)
        documents: list[VerdictResultDocument] = []
        for photo in photos:
            result = self._apply(session, photo, landmark, dry_run=self._dry_run)
            documents.append(
                verdict_result_document(
                    absolute_path(photo), result, self._kind, withdraw=self._withdraw, dry_run=self._dry_run
                )
            )
            if not self._json:
                typer.echo(self._result_line(photo, result))
        if self._json:
            write_json(documents if len(photos) > 1 else documents[0])
        if not self._dry_run:
            update_derived_facts(session, result.landmark)

    def _apply(self, session: Session, photo: Path, landmark: str, *, dry_run: bool) -> VerdictResult:
        from tagger.library.verdicts import give_verdict, withdraw_verdict

        settings, database = session
        if self._withdraw:
            return withdraw_verdict(database, photo, landmark, self._kind, settings.roots, dry_run=dry_run)
        return give_verdict(database, photo, landmark, self._kind, self._by, settings.roots, dry_run=dry_run)

    def _result_line(self, photo: Path, result: VerdictResult) -> str:
        subject = f"{printable(str(photo))}: {printable(result.landmark.display_name)}"
        if self._withdraw and result.before is not self._kind:
            other = f"; it is {result.before}" if result.before else ""
            return f"{subject} is not {self._kind}, so there is nothing to withdraw{other}"
        would = "would be " if self._dry_run else ""
        verb = f"no longer {self._kind}" if self._withdraw else f"{self._kind}"
        before = f" (was {result.before})" if result.before not in {None, self._kind} else ""
        copies = f", in {result.photos} copies of the photo" if result.photos > 1 else ""
        return f"{subject} {would}{verb}{before}{copies}"

    def apply_to_query(self, query: PhotoQuery) -> None:
        from tagger.library.verdicts import VerdictFilter, give_verdict_by_query, withdraw_verdicts
        from tagger.library.verdicts.documents import WithdrawnVerdicts, query_verdict_document

        settings, database = session = open_session()
        document: QueryVerdictDocument | WithdrawnVerdicts
        if self._withdraw:
            verdicts = VerdictFilter(kind=self._kind, photos=query)
            count = withdraw_verdicts(database, verdicts, settings.roots, dry_run=self._dry_run)
            document = WithdrawnVerdicts(self._kind, count, self._dry_run)
            text = f"{count_of(count, 'verdict')} {self._would('withdrawn')}"
        else:
            result = give_verdict_by_query(
                database, query, self._kind, self._by, settings.roots, dry_run=self._dry_run
            )
            document = query_verdict_document(result, self._kind, dry_run=self._dry_run)
            text = f"{count_of(result.tags, 'tag')} of {count_of(result.photos, 'photo')} {self._would(self._kind)}"
            text += f"; {result.replaced} of them had the opposite verdict" if result.replaced else ""
        if self._json:
            write_json(document)
        else:
            typer.echo(text)
        if not self._dry_run:
            update_derived_facts(session)

    def _would(self, participle: str) -> str:
        return f"would be {participle}" if self._dry_run else participle


DismissAllOfQuery = Annotated[
    bool,
    typer.Option(
        "--all-of-query",
        help="All unknown photos that the query options find; with --withdraw, all photos that were put away.",
    ),
]
Restore = Annotated[
    bool,
    typer.Option("--withdraw", help="Bring the photos back. The predictions of the model apply again."),
]


@with_option_groups
def dismiss(
    photos: Photos = None,
    all_of_query: DismissAllOfQuery = False,
    *,
    query_options: QueryOptions,
    by: Author = None,
    withdraw: Restore = False,
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
    from tagger.library.verdicts.store import photo_ids_at, photo_ids_of
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
