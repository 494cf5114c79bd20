"""The page where photos are tried: looked at while somebody waits, nothing stored.

What came of a photo is made here, for browsers with and without script; a script asks for that piece of the page alone.
"""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from tagger.errors import PhotoFailed
from tagger.web import world
from tagger.web.looking import look_at
from tagger.web.pages.rendering import render
from tagger.web.pages.sights import Knowledge, Sight, findings, knowledge_of
from tagger.web.place import Place, place_of
from tagger.web.uploads import Uploaded, uploaded_photo

ALL_LABELS = 10_000
"""More than a model has."""

router = APIRouter(include_in_schema=False)
Here = Annotated[Place, Depends(place_of)]


@router.get("/")
def show_try(request: Request, place: Here) -> HTMLResponse:
    """Where to drop a photo, and what the model knows."""
    return _page(request, place, knowledge(place), None)


@router.post("/")
async def try_photo(request: Request, place: Here) -> HTMLResponse:
    """What the model sees in one photo."""
    async with uploaded_photo(request, place.upload_room, most_bytes(place)) as photo:
        sight = await _look(place, photo)
    status = HTTPStatus.OK if sight.found else HTTPStatus.UNPROCESSABLE_ENTITY
    if "hx-request" in request.headers:
        return render(request, "try_verdict.html", status, sight=sight, view_box=world.VIEW_BOX)
    known = await run_in_threadpool(knowledge, place)
    return _page(request, place, known, sight, status)


def most_bytes(place: Place) -> int:
    """The largest photo that is taken."""
    return min(place.settings.web_upload_bytes, place.settings.max_bytes)


def knowledge(place: Place) -> Knowledge:
    """What the model in use can name."""
    registered, asked = place.model(), place.settings.threshold
    return knowledge_of(registered, registered.manifest.threshold if asked is None else asked)


async def _look(place: Place, photo: Uploaded) -> Sight:
    try:
        # Every label's score: what is missing to 1 is the chance of none of them.
        seen = await look_at(place, photo.data, top_k=ALL_LABELS)
    except PhotoFailed as failed:
        return Sight(photo.name, None, failed.failure.text)
    return Sight(photo.name, findings(seen, place.settings.top_k))


def _page(
    request: Request,
    place: Place,
    known: Knowledge,
    sight: Sight | None,
    status: HTTPStatus = HTTPStatus.OK,
) -> HTMLResponse:
    return render(
        request,
        "try.html",
        status,
        sight=sight,
        known=known,
        most_bytes=most_bytes(place),
        view_box=world.VIEW_BOX,
    )
