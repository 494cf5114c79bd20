"""What people say of landmarks on photos: the same words, rules and JSON as `tagger confirm` and `tagger reject`.

A photo is named by its number only. Many at once are named by their numbers, or by a query as with `--all-of-query`.
"""

import getpass
from typing import Annotated, Any, Self

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tagger.errors import CursorInvalid, QueryInvalid
from tagger.query import PhotoQuery
from tagger.verdict_documents import given_document, verdict_document
from tagger.verdicts import (
    GivenToPhotos,
    VerdictFilter,
    Word,
    give_to_found,
    give_to_photos,
    give_verdict,
    take_back,
    take_back_found,
    take_back_from_photos,
    verdict_page,
)
from tagger.web.api.routing import api_router
from tagger.web.api.shapes import GivenToMany, GivenToQuery, GivenVerdict, TakenBack, VerdictPage
from tagger.web.asked import Asked, asked_of_verdicts
from tagger.web.place import Place, place_of
from tagger.web.stored import stored_photo
from tagger.web.words import ONE_LINE

router = api_router("verdicts")

MOST_PHOTOS = 500
"""Photos in one request: they are written in one transaction, which holds the writer's lock."""

Here = Annotated[Place, Depends(place_of)]
Number = Annotated[int, Path(ge=1, lt=2**63, description="A photo's number, as lists give it.")]
Name = Annotated[str, Field(min_length=1, max_length=1000), ONE_LINE]
Person = Annotated[str, Field(max_length=200), ONE_LINE]
By = Annotated[Person | None, Field(description="Whose word it is; else the server's user.")]


def listed_words(
    wanted: Annotated[Asked, Depends(asked_of_verdicts)],
    verdict: Annotated[Word | None, Query(description="Only these.")] = None,
    by: Annotated[Person | None, Query(description="Words of this person.")] = None,
) -> VerdictFilter:
    """The words that a request asks for; for `Depends`."""
    return VerdictFilter(verdict, by, wanted.query)


Listed = Annotated[VerdictFilter, Depends(listed_words)]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
After = Annotated[str | None, Query(max_length=50, description="`next` of the page before.")]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")

    verdict: Word
    by: By = None
    dry_run: bool = False


class PhotoVerdict(_Said):
    """A word on one photo."""

    landmark: Annotated[Name, Field(description="A landmark by slug or name, in any case.")]


class FoundQuery(BaseModel):
    """The options of `tagger confirm --all-of-query`."""

    model_config = ConfigDict(extra="forbid")

    landmark: Name | None = None
    country: Name | None = None
    near: Annotated[str | None, Field(max_length=100)] = None
    radius_km: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    min_score: Annotated[float | None, Field(ge=0, le=1)] = None
    under: Annotated[str | None, Field(min_length=1, max_length=4096)] = None
    taken_after: Annotated[str | None, Field(max_length=100)] = None
    taken_before: Annotated[str | None, Field(max_length=100)] = None
    model: Name | None = None
    any_rank: bool = False

    def meant(self) -> PhotoQuery:
        """Raises:
        QueryInvalid: it would mean everything, or its options do not go together.
        """
        query = Asked.of(**self.model_dump()).query
        if query == PhotoQuery(any_rank=query.any_rank):
            raise QueryInvalid(reason="a word on all that a query finds needs one: landmark, under, …")
        if query.any_rank and query.landmark is None:
            raise QueryInvalid(reason="any_rank needs landmark")
        return query

    def meant_for_taking_back(self) -> PhotoQuery:
        """Raises:
        QueryInvalid: as `meant`; also where it goes by what a model said, as words are not taken back by that.
        """
        query = self.meant()
        if query.min_score is not None or query.model or query.any_rank:
            reason = "words are taken back by landmark, place, folder and date, not by what a model said"
            raise QueryInvalid(reason=reason)
        return query


class ManyVerdicts(_Said):
    """A word on many photos: on `landmark` for those named, or on every tag that `query` finds."""

    photos: Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]] | None, Field(max_length=MOST_PHOTOS)] = (
        None
    )
    landmark: Name | None = None
    query: FoundQuery | None = None

    @model_validator(mode="after")
    def check_choice(self) -> Self:
        """Photos come with the landmark; a query says which landmarks itself."""
        if (self.photos is None) == (self.query is None):
            raise ValueError("give either photos and landmark, or query")
        if (self.photos is None) != (self.landmark is None):
            raise ValueError("landmark goes with photos; in a query it is one of its options")
        return self


@router.get("/verdicts", response_model=VerdictPage)
def listed(place: Here, wanted: Listed, limit: Limit = 100, after: After = None) -> dict[str, Any]:
    """What people said, in the order in which the pictures became known; go on with `next` as `after` until it is null."""
    begin = None if after is None else _key_of(after)
    found, key = verdict_page(place.database, wanted, place.settings.roots, begin, limit)
    following = None if key is None else f"{key[0]}-{key[1]}"
    return {"verdicts": [verdict_document(each) for each in found], "next": following}


@router.post("/photos/{photo_id}/verdicts", response_model=GivenVerdict)
def give(place: Here, photo_id: Number, said: PhotoVerdict) -> dict[str, Any]:
    """Confirm or reject a landmark on a photo; it holds for the picture, in every copy, and for ever."""
    by = said.by or given_by()
    database, places = place.database, place.settings.roots
    path = stored_photo(database, photo_id, places).path
    done = give_verdict(database, photo_id, said.landmark, said.verdict, by, places, dry_run=said.dry_run)
    return given_document(path, done, said.verdict, undo=False, dry_run=said.dry_run)


@router.delete("/photos/{photo_id}/verdicts", response_model=GivenVerdict)
def take(place: Here, photo_id: Number, said: PhotoVerdict) -> dict[str, Any]:
    """Take that word back, if it stands there: what the model says counts again."""
    database, places = place.database, place.settings.roots
    path = stored_photo(database, photo_id, places).path
    done = take_back(database, photo_id, said.landmark, said.verdict, places, dry_run=said.dry_run)
    return given_document(path, done, said.verdict, undo=True, dry_run=said.dry_run)


@router.post("/verdicts", response_model=GivenToQuery | GivenToMany)
def give_many(place: Here, said: ManyVerdicts) -> dict[str, Any]:
    """Confirm or reject on many photos. With `dry_run` it is only counted."""
    by = said.by or given_by()
    if said.query is not None:
        done = give_to_found(
            place.database,
            said.query.meant(),
            said.verdict,
            by,
            place.settings.roots,
            dry_run=said.dry_run,
        )
        return {"verdict": said.verdict, **vars(done), "dry_run": said.dry_run}
    given = give_to_photos(
        place.database, said.photos or [], said.landmark or "", said.verdict, by, dry_run=said.dry_run
    )
    return _many_document(given, said)


@router.delete("/verdicts", response_model=TakenBack)
def take_many(place: Here, said: ManyVerdicts) -> dict[str, Any]:
    """Take that word back on many photos, where it stands."""
    if said.query is not None:
        wanted = VerdictFilter(word=said.verdict, photos=said.query.meant_for_taking_back())
        count = take_back_found(place.database, wanted, place.settings.roots, dry_run=said.dry_run)
        return {"verdict": said.verdict, "taken_back": count, "dry_run": said.dry_run}
    count = take_back_from_photos(
        place.database, said.photos or [], said.landmark or "", said.verdict, dry_run=said.dry_run
    )
    return {"verdict": said.verdict, "taken_back": count, "dry_run": said.dry_run}


def given_by() -> str:
    """Whose word it is that comes through the page: `web`, and the name this server's user is logged in with."""
    try:
        return f"web {getpass.getuser()}"
    except (OSError, KeyError):  # a container's user may have no name
        return "web"


def _many_document(given: GivenToPhotos, said: ManyVerdicts) -> dict[str, Any]:
    """As of a query, and what undoing needs: what stood on each photo that changed."""
    return {
        "verdict": said.verdict,
        "photos": len(given.before),
        "tags": len(given.before),
        "replaced": sum(word is not None for word in given.before.values()),
        "changed": [{"photo": number, "before": word} for number, word in given.before.items()],
        "left_out": given.left_out,
        "dry_run": said.dry_run,
    }


def _key_of(after: str) -> tuple[int, int]:
    content, dash, landmark = after.partition("-")
    if not (dash and _is_number(content) and _is_number(landmark)):
        raise CursorInvalid
    return int(content), int(landmark)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 2**63
