"""One photo: large, with all that is known of it, and what people say of it. Forms do without script what keys do with it."""

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.errors import (
    CountryNotFound,
    CursorInvalid,
    LandmarkAmbiguous,
    LandmarkNotFound,
    QueryInvalid,
)
from tagger.landmarks import Landmark, find_landmark
from tagger.query import PhotoDetails, details_of
from tagger.query.details import Verdict
from tagger.query.tagged import Tag
from tagger.verdicts import Word, give_verdict, take_back
from tagger.web.api.verdicts import given_by
from tagger.web.asked import Asked, asked
from tagger.web.pages.neighbours import Context, Neighbours, neighbours
from tagger.web.pages.rendering import render
from tagger.web.pages.tiles import landmark_address
from tagger.web.place import Place, place_of
from tagger.web.world import VIEW_BOX, project

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

Here = Annotated[Place, Depends(place_of)]
Number = Annotated[int, Path(ge=1, lt=2**63)]
Beside = Annotated[int | None, Query(ge=1, lt=2**63)]
Cursor = Annotated[str | None, Query(max_length=20_000)]

_MISTAKES = (CountryNotFound, CursorInvalid, LandmarkAmbiguous, LandmarkNotFound, QueryInvalid)
WORDS = {
    "confirmed": "confirmed",
    "rejected": "rejected",
    "accepted": "named by the model",
    "seen": "seen, too unsure",
}


@dataclass(frozen=True)
class Judged:
    """A landmark of the photo: what the model says of it, and what people say. `state` is a key of WORDS."""

    slug: str
    name: str
    place: str
    address: str
    score: float | None
    state: str
    by: str | None = None
    at: str | None = None

    @property
    def words(self) -> str:
        return WORDS[self.state]


@router.get("/photos/{photo_id}")
def photo(
    request: Request,
    place: Here,
    photo_id: Number,
    wanted: Annotated[Asked, Depends(asked)],
    within: Annotated[str, Query(max_length=10)] = "",
    after: Cursor = None,
    back: Cursor = None,
    left: Beside = None,
    right: Beside = None,
) -> HTMLResponse:
    """All that is known of a photo."""
    context = Context(wanted, after, back, left, right)
    return _page(request, place, photo_id, context, is_within=bool(within or wanted.options))


@router.post("/photos/{photo_id}/verdict")
def judge(
    request: Request,
    place: Here,
    photo_id: Number,
    landmark: Annotated[str, Form(max_length=1000)] = "",
    verdict: Annotated[Word, Form()] = Word.CONFIRMED,
    undo: Annotated[bool, Form()] = False,
    context: Annotated[str, Form(max_length=50_000)] = "",
) -> Response:
    """A word on the photo, or one taken back; then the photo again."""
    database, places = place.database, place.settings.roots
    try:
        if undo:
            take_back(database, photo_id, landmark, verdict, places)
        else:
            give_verdict(database, photo_id, landmark, verdict, given_by(), places)
    except (LandmarkNotFound, LandmarkAmbiguous) as error:
        nothing = Context(Asked.of())
        return _page(request, place, photo_id, nothing, is_within=False, trouble=str(error))
    again = urlencode(parse_qsl(context))
    address = f"/photos/{photo_id}?{again}" if again else f"/photos/{photo_id}"
    return RedirectResponse(f"{address}#judgement", HTTPStatus.SEE_OTHER)


def _page(
    request: Request, place: Place, photo_id: int, context: Context, *, is_within: bool, trouble: str = ""
) -> HTMLResponse:
    details = details_of(place.database, photo_id, place.settings.roots)
    beside = _beside(place, context, photo_id) if is_within else Neighbours()
    kept = Context(context.wanted, context.after, context.back, beside.left, beside.right)
    judged = _judged(details)
    return render(
        request,
        "photo.html",
        HTTPStatus.NOT_FOUND if trouble else HTTPStatus.OK,
        id=photo_id,
        details=details,
        file=PurePath(details.photo.path).name,
        folder=str(PurePath(details.photo.path).parent),
        judged=judged,
        showing=[each for each in judged if each.state in {"confirmed", "accepted"}],
        spot=_spot(place, judged),
        view_box=VIEW_BOX,
        beside=beside,
        context=kept.address(photo_id).partition("?")[2] if is_within else "",
        grid=context.wanted.address("/photos") if is_within else None,
        trouble=trouble,
    )


def _beside(place: Place, context: Context, photo_id: int) -> Neighbours:
    try:
        return neighbours(place, context, photo_id)
    except _MISTAKES:  # the photo is there all the same
        return Neighbours()


def _judged(details: PhotoDetails) -> list[Judged]:
    """The whole top-k as the model ranks it, then what only people say."""
    said = {verdict.landmark: verdict for verdict in details.verdicts}
    seen = [_of_tag(tag, said.pop(tag.landmark, None)) for tag in details.photo.tags]
    return [*seen, *(_of_verdict(verdict) for verdict in said.values())]


def _of_tag(tag: Tag, said: Verdict | None) -> Judged:
    state = said.verdict if said else ("accepted" if tag.accepted else "seen")
    return Judged(
        slug=tag.landmark,
        name=tag.name,
        place=tag.country or "",
        address=landmark_address(tag.landmark),
        score=tag.score,
        state=state,
        by=said.given_by if said else None,
        at=f"{said.given_at:%Y-%m-%d %H:%M} UTC" if said else None,
    )


def _of_verdict(said: Verdict) -> Judged:
    return Judged(
        slug=said.landmark,
        name=said.name,
        place="",
        address=landmark_address(said.landmark),
        score=None,
        state=said.verdict,
        by=said.given_by,
        at=f"{said.given_at:%Y-%m-%d %H:%M} UTC",
    )


def _spot(place: Place, judged: list[Judged]) -> tuple[float, float, str] | None:
    """Where the first landmark is that the photo shows: one that people confirmed before one that a model named."""
    showing = [each for each in judged if each.state in {"confirmed", "accepted"}]
    for each in sorted(showing, key=lambda each: each.state != "confirmed"):
        with place.database.read() as connection:
            found: Landmark = find_landmark(connection, each.slug)
        if found.latitude is not None and found.longitude is not None:
            return (*project(found.latitude, found.longitude), found.name)
    return None
