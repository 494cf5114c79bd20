"""One photo: large, with all that is known of it, and what people say of it. Forms do without script what keys do with it."""

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import select

from tagger.errors import (
    CountryNotFound,
    CursorInvalid,
    LandmarkAmbiguous,
    LandmarkNotFound,
    QueryInvalid,
)
from tagger.landmarks import Landmark, find_landmark
from tagger.query import PhotoDetails, details_of, find_beside
from tagger.query.details import Verdict
from tagger.query.tagged import Tag
from tagger.tables import WRITING_KINDS, JobState, job_items, jobs
from tagger.verdicts import Word, give_verdict, take_back
from tagger.web.api.verdicts import given_by
from tagger.web.asked import Asked, asked
from tagger.web.pages.rendering import render
from tagger.web.pages.tiles import landmark_address, photo_address
from tagger.web.place import Place, place_of
from tagger.web.stored import NotShown, open_stored, stored_photo
from tagger.web.words import ONE_LINE
from tagger.web.world import VIEW_BOX, project

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

Here = Annotated[Place, Depends(place_of)]
Number = Annotated[int, Path(ge=1, lt=2**63)]
Within = Annotated[str, Query(max_length=10)]

_MISTAKES = (CountryNotFound, CursorInvalid, LandmarkAmbiguous, LandmarkNotFound, QueryInvalid)
WORDS = {
    "confirmed": "confirmed",
    "rejected": "rejected",
    "accepted": "named by the model",
    "seen": "",
}
UNLIKELY = 0.01
"""What the model gives less is folded away."""


@dataclass(frozen=True)
class Judged:
    """A landmark of the photo: what the model says of it, and what people say. `key` chooses it, `state` is one of WORDS."""

    key: int
    slug: str
    name: str
    address: str
    score: float | None
    state: str
    by: str | None = None
    at: str | None = None

    @property
    def words(self) -> str:
        return WORDS[self.state]

    @property
    def is_shown(self) -> bool:
        return self.state in {"confirmed", "accepted"}

    @property
    def is_lead(self) -> bool:
        """Whether it stands large: the first, and what the photo shows."""
        return self.key == 1 or self.is_shown

    @property
    def is_unlikely(self) -> bool:
        """Whether it needs not be seen: nobody judged it, and it is hardly likely."""
        return not self.is_lead and self.state == "seen" and self.score is not None and self.score < UNLIKELY


@dataclass(frozen=True)
class Way:
    """The grid that a photo was opened from, by name and address, and the addresses of the photos beside it there."""

    name: str
    grid: str
    previous: str | None
    following: str | None


@router.get("/photos/{photo_id}")
def photo(
    request: Request,
    place: Here,
    photo_id: Number,
    wanted: Annotated[Asked, Depends(asked)],
    within: Within = "",
) -> HTMLResponse:
    """All that is known of a photo."""
    return _page(request, place, photo_id, _came_from(wanted, within))


@router.post("/photos/{photo_id}/verdict")
def judge(
    request: Request,
    place: Here,
    photo_id: Number,
    wanted: Annotated[Asked, Depends(asked)],
    within: Within = "",
    landmark: Annotated[str, Form(max_length=1000), ONE_LINE] = "",
    verdict: Annotated[Word, Form()] = Word.CONFIRMED,
    undo: Annotated[bool, Form()] = False,
    instead: Annotated[bool, Form()] = False,
) -> Response:
    """A word on the photo, `instead` of what only the model says, or one taken back; then the photo again."""
    database, places = place.database, place.settings.roots
    came_from = _came_from(wanted, within)
    try:
        if undo:
            take_back(database, photo_id, landmark, verdict, places)
        else:
            given = give_verdict(database, photo_id, landmark, verdict, given_by(), places)
            if instead:
                _reject_others(place, photo_id, given.landmark.slug)
    except (LandmarkNotFound, LandmarkAmbiguous) as error:
        return _page(request, place, photo_id, came_from, typed=landmark, instead=instead, trouble=str(error))
    again = photo_address(photo_id, came_from) if came_from else f"/photos/{photo_id}"
    return RedirectResponse(f"{again}#judgement", HTTPStatus.SEE_OTHER)


def _came_from(wanted: Asked, within: str) -> Asked | None:
    """The query that a photo is looked at within. Of all photos it has no options of its own to tell it by."""
    return wanted if within or wanted.options else None


def _page(
    request: Request,
    place: Place,
    photo_id: int,
    wanted: Asked | None,
    *,
    typed: str = "",
    instead: bool = True,
    trouble: str = "",
) -> HTMLResponse:
    details = details_of(place.database, photo_id, place.settings.roots)
    judged = _judged(details)
    verdict = f"/photos/{photo_id}/verdict"
    return render(
        request,
        "photo.html",
        HTTPStatus.NOT_FOUND if trouble else HTTPStatus.OK,
        id=photo_id,
        details=details,
        file=PurePath(details.photo.path).name,
        folder=str(PurePath(details.photo.path).parent),
        judged=[each for each in judged if not each.is_unlikely],
        unlikely=[each for each in judged if each.is_unlikely],
        showing=[each for each in judged if each.is_shown],
        spot=_spot(place, judged),
        view_box=VIEW_BOX,
        way=None if wanted is None else _way(place, wanted, photo_id),
        judge=verdict if wanted is None else photo_address(photo_id, wanted, "/verdict"),
        not_there=_not_there(place, photo_id),
        open_job=_open_job(place, photo_id),
        accepted=[each for each in judged if each.state == "accepted"],
        typed=typed,
        instead=instead,
        trouble=trouble,
    )


def _reject_others(place: Place, photo_id: int, slug: str) -> None:
    """Reject what the model named and nobody confirmed, but for that landmark."""
    places = place.settings.roots
    for each in _judged(details_of(place.database, photo_id, places)):
        if each.state == "accepted" and each.slug != slug:
            give_verdict(place.database, photo_id, each.slug, Word.REJECTED, given_by(), places)


def _way(place: Place, wanted: Asked, photo_id: int) -> Way | None:
    try:
        with wanted.understood():
            beside = find_beside(place.database, wanted.query, place.settings.roots, photo_id)
            name, grid = _grid_of(place, wanted)
    except _MISTAKES:  # the photo is there all the same
        return None
    previous, following = (
        None if number is None else photo_address(number, wanted)
        for number in (beside.previous, beside.following)
    )
    return Way(name, grid, previous, following)


def _grid_of(place: Place, wanted: Asked) -> tuple[str, str]:
    if wanted.options.keys() == {"landmark"}:
        with place.database.read() as connection:
            found = find_landmark(connection, wanted.options["landmark"])
        return found.name, landmark_address(found.slug)
    if wanted.options.keys() == {"unknown"}:
        return "Unknown", "/unknown"
    return "Photos", wanted.address("/photos")


def _not_there(place: Place, photo_id: int) -> str | None:
    """Why the photo's file cannot be shown now."""
    try:
        open_stored(stored_photo(place.database, photo_id, place.settings.roots)).file.close()
    except NotShown as why:
        return why.text
    return None


def _open_job(place: Place, photo_id: int) -> int | None:
    """The newest job that still has to look at the photo."""
    wanted = (
        select(jobs.c.id)
        .join(job_items, job_items.c.job_id == jobs.c.id)
        .where(job_items.c.photo_id == photo_id, job_items.c.outcome.is_(None))
        .where(
            jobs.c.state.not_in((JobState.CANCELLED, JobState.FINISHED)), jobs.c.kind.not_in(WRITING_KINDS)
        )
    )
    with place.database.read() as connection:
        return connection.scalar(wanted.order_by(jobs.c.id.desc()).limit(1))


def _judged(details: PhotoDetails) -> list[Judged]:
    """The whole top-k as the model ranks it, then what only people say."""
    said = {verdict.landmark: verdict for verdict in details.verdicts}
    tags = enumerate(details.photo.tags, start=1)
    seen = [_of_tag(key, tag, said.pop(tag.landmark, None)) for key, tag in tags]
    only_said = enumerate(said.values(), start=len(seen) + 1)
    return [*seen, *(_of_verdict(key, verdict) for key, verdict in only_said)]


def _of_tag(key: int, tag: Tag, said: Verdict | None) -> Judged:
    state = said.verdict if said else ("accepted" if tag.accepted else "seen")
    return Judged(
        key=key,
        slug=tag.landmark,
        name=tag.name,
        address=landmark_address(tag.landmark),
        score=tag.score,
        state=state,
        by=said.given_by if said else None,
        at=f"{said.given_at:%Y-%m-%d %H:%M} UTC" if said else None,
    )


def _of_verdict(key: int, said: Verdict) -> Judged:
    return Judged(
        key=key,
        slug=said.landmark,
        name=said.name,
        address=landmark_address(said.landmark),
        score=None,
        state=said.verdict,
        by=said.given_by,
        at=f"{said.given_at:%Y-%m-%d %H:%M} UTC",
    )


def _spot(place: Place, judged: list[Judged]) -> tuple[float, float, str] | None:
    """Where the first landmark is that the photo shows: one that people confirmed before one that a model named."""
    showing = [each for each in judged if each.is_shown]
    for each in sorted(showing, key=lambda each: each.state != "confirmed"):
        with place.database.read() as connection:
            found: Landmark = find_landmark(connection, each.slug)
        if found.latitude is not None and found.longitude is not None:
            return (*project(found.latitude, found.longitude), found.name)
    return None
