"""`tagger confirm` and `tagger reject`: give verdicts on photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagger.cli.derived_facts import update_derived_facts
from tagger.cli.option_groups import QueryOptions, with_option_groups
from tagger.cli.options import Author, DryRun, Json, Photos, query_usage, refuse_swapped_arguments
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import open_session
from tagger.database.actor import login_name
from tagger.library.query.options import VERDICT_OPTIONS, PhotoQuery, refuse_all_but

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.cli.session import Session
    from tagger.library.verdicts import DismissedPhotos, VerdictResult
    from tagger.library.verdicts.service import (
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
AnyLandmark = Annotated[
    bool, typer.Option("--any", help="The photos show no landmark at all: put them away, without LANDMARK.")
]
Withdraw = Annotated[
    bool,
    typer.Option("--withdraw", help="Withdraw the verdict. The predictions of the model apply again."),
]


@with_option_groups
def confirm(
    landmark_name: LandmarkArgument = None,
    photos: Photos = None,
    all_of_query: AllOfQuery = False,
    *,
    query_options: QueryOptions,
    any_rank: AnyRank = False,
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

    tagger confirm --all-of-query --landmark eiffel-tower --under ~/Pictures/Paris --dry-run
    """
    action = _VerdictAction("confirmed", by, withdraw=withdraw, dry_run=dry_run, json=json)
    action.apply(
        landmark_name, photos or [], query_options.parse(any_rank=any_rank), all_of_query=all_of_query
    )


@with_option_groups
def reject(
    landmark_name: LandmarkArgument = None,
    photos: Photos = None,
    any_: AnyLandmark = False,
    all_of_query: AllOfQuery = False,
    *,
    query_options: QueryOptions,
    any_rank: AnyRank = False,
    by: Author = None,
    withdraw: Withdraw = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Reject a landmark for photos. No model can give them this tag again.

    The verdict applies to every copy of the photo and survives new models. A new verdict replaces the old one. With --any, all arguments are photos: they are put away as not a landmark, and are not unknown any more; those with a confirmed landmark are left out.

    For example:

    tagger reject eiffel-tower holiday/IMG_0042.jpg holiday/IMG_0043.jpg

    tagger reject --any --all-of-query --under ~/Pictures/Screenshots --dry-run
    """
    if any_:
        if any_rank:
            raise typer.BadParameter("it needs --landmark, and --any takes none", param_hint="--any-rank")
        paths = [] if landmark_name is None else [Path(landmark_name), *(photos or [])]
        _dismiss(
            query_options, paths, by, all_of_query=all_of_query, withdraw=withdraw, dry_run=dry_run, json=json
        )
        return
    action = _VerdictAction("rejected", by, withdraw=withdraw, dry_run=dry_run, json=json)
    action.apply(
        landmark_name, photos or [], query_options.parse(any_rank=any_rank), all_of_query=all_of_query
    )


def _check_query(query: PhotoQuery, argument: str | None, *, withdraw: bool) -> None:
    if argument is not None:
        raise typer.BadParameter(
            "--all-of-query takes only options, like --landmark NAME", param_hint="LANDMARK"
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
        self,
        kind: Literal["confirmed", "rejected"],
        by: str | None,
        *,
        withdraw: bool,
        dry_run: bool,
        json: bool,
    ) -> None:
        from tagger.library.verdicts import VerdictKind

        self._kind, self._by = VerdictKind(kind), by or login_name()
        self._withdraw, self._dry_run, self._json = withdraw, dry_run, json

    def apply(
        self, landmark: str | None, photos: Sequence[Path], query: PhotoQuery, *, all_of_query: bool
    ) -> None:
        """Apply it to the photos, or to those of the query.

        Raises:
            typer.BadParameter: arguments are missing, or contradict each other.
        """
        if all_of_query:
            _check_query(query, landmark, withdraw=self._withdraw)
            self.apply_to_query(query)
            return
        if query != PhotoQuery():
            raise typer.BadParameter("query options need it", param_hint="--all-of-query")
        if landmark is None or not photos:
            text = "name both, or use --all-of-query with query options"
            raise typer.BadParameter(text, param_hint="LANDMARK PHOTO")
        refuse_swapped_arguments(landmark, photos)
        self.apply_to_photos(photos, landmark)

    def apply_to_photos(self, photos: Sequence[Path], landmark: str) -> None:
        """With --json, one photo gives an object, several give a list."""
        from tagger.library.verdicts.service import verdict_result_document
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
        from tagger.library.verdicts.service import WithdrawnVerdicts, query_verdict_document

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


def _dismiss(
    query_options: QueryOptions,
    photos: Sequence[Path],
    by: str | None,
    *,
    all_of_query: bool,
    withdraw: bool,
    dry_run: bool,
    json: bool,
) -> None:
    """Put photos away as not a landmark, or bring them back."""
    from tagger.library.verdicts import dismiss_photos, restore_photos

    query = query_options.parse(dismissed=withdraw, unknown=not withdraw)
    _check_options(query_options, photos, all_of_query=all_of_query)
    session = open_session()
    numbers = _photo_ids(session, query if all_of_query else None, photos)
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


def _check_options(query_options: QueryOptions, photos: Sequence[Path], *, all_of_query: bool) -> None:
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
