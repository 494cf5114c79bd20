"""`tagger confirm` and `reject`: what people say of landmarks on photos."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.asking import Country, LandmarkName, LookedBy, MinScore, NearPlace, RadiusKm, chosen_near
from tagger.cli.options import (
    DryRun,
    Json,
    TakenAfter,
    TakenBefore,
    Under,
    chosen_date,
)
from tagger.cli.output import printable, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from tagger.database import Database
    from tagger.query import PhotoQuery
    from tagger.settings import Settings
    from tagger.verdicts import Given, Word

GivenBy = Annotated[
    str | None, typer.Option("--by", help="Whose word it is.", show_default="the name you are logged in with")
]
CONFIRM = """Say that a photo shows a landmark, whatever models see: it counts as a tag from now on.

    Any landmark that a registered model knows will do, also one that was not seen on this photo. The word holds for
    the picture, in every copy, and for ever.

    For example:

    tagger confirm holiday/IMG_0042.jpg "Eiffel Tower"

    tagger confirm --all-of-query --landmark eiffel-tower --under ~/Pictures/Paris --dry-run
"""
REJECT = """Say that a photo does not show a landmark: no model can give it this tag any more.

    The word holds for the picture, in every copy, and for ever; a second word takes the place of the first.

    For example:

    tagger reject holiday/IMG_0042.jpg eiffel-tower

    tagger reject --all-of-query --landmark eiffel-tower --under ~/Pictures/Berlin --dry-run
"""


def _judging(name: str, word: str, says: str) -> Callable[..., None]:
    """The command that gives that word; both have the same options."""

    def judge(
        photo: Annotated[
            Path | None, typer.Argument(help="A photo; the file need not be there any more.", metavar="PHOTO")
        ] = None,
        given: Annotated[
            str | None, typer.Argument(help="A landmark by slug or name, in any case.", metavar="LANDMARK")
        ] = None,
        all_of_query: Annotated[
            bool,
            typer.Option(
                "--all-of-query",
                help="Not one photo: every tag that `tagger query` finds with these options.",
            ),
        ] = False,
        landmark: LandmarkName = None,
        country: Country = None,
        near: NearPlace = None,
        radius_km: RadiusKm = None,
        min_score: MinScore = None,
        under: Under = None,
        taken_after: TakenAfter = None,
        taken_before: TakenBefore = None,
        model: LookedBy = None,
        any_rank: Annotated[
            bool,
            typer.Option("--any-rank", help="With --landmark: also where it was seen and not accepted."),
        ] = False,
        by: GivenBy = None,
        undo: Annotated[
            bool, typer.Option("--undo", help="Take the word back: what the model says counts again.")
        ] = False,
        dry_run: DryRun = False,
        json: Json = False,
    ) -> None:
        from tagger.query import PhotoQuery
        from tagger.verdicts import Word

        query = PhotoQuery(
            landmark=landmark,
            country=country,
            near=chosen_near(near, radius_km),
            min_score=min_score,
            under=tuple(under or ()),
            taken_after=chosen_date(taken_after, "--taken-after"),
            taken_before=chosen_date(taken_before, "--taken-before"),
            model=model,
            any_rank=any_rank,
        )
        judgement = _Judgement(Word(word), by or _login_name(), undo=undo, dry_run=dry_run, json=json)
        if all_of_query:
            _check_query(query, photo, undo=undo)
            judgement.of_query(query)
            return
        if query != PhotoQuery():
            raise typer.BadParameter("filters need it", param_hint="--all-of-query")
        if photo is None or given is None:
            raise typer.BadParameter("name both, or filters with --all-of-query", param_hint="PHOTO LANDMARK")
        judgement.of_photo(photo, given)

    judge.__name__, judge.__doc__ = name, says
    return judge


confirm = _judging("confirm", "confirmed", CONFIRM)
reject = _judging("reject", "rejected", REJECT)


def _check_query(query: PhotoQuery, photo: Path | None, *, undo: bool) -> None:
    from tagger.query import PhotoQuery

    if photo is not None:
        raise typer.BadParameter("--all-of-query takes filters alone: --landmark NAME", param_hint="PHOTO")
    if query == PhotoQuery(any_rank=query.any_rank):
        raise typer.BadParameter("name what is meant: --landmark, --under, …", param_hint="--all-of-query")
    if query.any_rank and query.landmark is None:
        raise typer.BadParameter("it needs --landmark", param_hint="--any-rank")
    of_models = {
        "--min-score": query.min_score is not None,
        "--model": query.model,
        "--any-rank": query.any_rank,
    }
    for option, is_given in of_models.items():
        if undo and is_given:
            text = "it goes by what a model said; words are taken back by landmark, place, folder and date"
            raise typer.BadParameter(text, param_hint=option)


class _Judgement:
    """One `confirm` or `reject`: the word and how it is given."""

    def __init__(self, word: Word, by: str | None, *, undo: bool, dry_run: bool, json: bool) -> None:
        self._word, self._by = word, by
        self._undo, self._dry_run, self._json = undo, dry_run, json

    def of_photo(self, photo: Path, landmark: str) -> None:
        from tagger.verdicts import give_verdict, take_back

        settings, database = _open()
        if self._undo:
            done = take_back(database, photo, landmark, self._word, settings.roots, dry_run=self._dry_run)
        else:
            done = give_verdict(
                database, photo, landmark, self._word, self._by, settings.roots, dry_run=self._dry_run
            )
        if self._json:
            write_json(self._document(photo, done))
        else:
            typer.echo(self._line(photo, done))

    def _document(self, photo: Path, done: Given) -> dict[str, Any]:
        from tagger.verdict_documents import given_document

        return given_document(photo.absolute(), done, self._word, undo=self._undo, dry_run=self._dry_run)

    def _line(self, photo: Path, done: Given) -> str:
        what = f"{printable(str(photo))}: {done.landmark.name}"
        would = "would be " if self._dry_run else ""
        if self._undo and done.before is not self._word:
            other = f"; it is {done.before}" if done.before else ""
            return f"{what}: nobody {self._word} it, so there is nothing to take back{other}"
        back = ", taken back" if self._undo else ""
        before = f" (was {done.before})" if done.before not in {None, self._word} else ""
        copies = f", in {done.photos} photos with this picture" if done.photos > 1 else ""
        return f"{what} {would}{self._word}{back}{before}{copies}"

    def of_query(self, query: PhotoQuery) -> None:
        from tagger.verdicts import VerdictFilter, give_to_found, take_back_found

        settings, database = _open()
        if self._undo:
            wanted = VerdictFilter(word=self._word, photos=query)
            count = take_back_found(database, wanted, settings.roots, dry_run=self._dry_run)
            document = {"taken_back": count}
            text = f"{in_words(count, 'word')} {self._would('taken back')}"
        else:
            done = give_to_found(database, query, self._word, self._by, settings.roots, dry_run=self._dry_run)
            document = vars(done)
            text = (
                f"{in_words(done.tags, 'tag')} of {in_words(done.photos, 'photo')} {self._would(self._word)}"
            )
            text += f"; {done.replaced} of them had been said otherwise" if done.replaced else ""
        if self._json:
            write_json({"verdict": self._word, **document, "dry_run": self._dry_run})
        else:
            typer.echo(text)

    def _would(self, done: str) -> str:
        return f"would be {done}" if self._dry_run else done


def in_words(number: int, thing: str) -> str:
    """A number of things, as people say it."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _login_name() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return None


def _open() -> tuple[Settings, Database]:
    from tagger.database import open_database
    from tagger.settings import load_settings

    settings = load_settings()
    return settings, open_database(settings.effective_database_url)
