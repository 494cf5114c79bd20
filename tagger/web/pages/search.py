"""The search of the page: a typed text leads to its photos, with its parts as filters."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.library.search.names import Kind
from tagger.system.text_format import N_
from tagger.web.api.search import Lists, suggestion_document
from tagger.web.http.query_params import address_of
from tagger.web.http.templates import render

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

KINDS = {
    Kind.PHOTOS: N_("Photos"),
    Kind.DATE: N_("Date"),
    Kind.LANDMARK: N_("Landmark"),
    Kind.COUNTRY: N_("Country"),
    Kind.CITY: N_("City"),
    Kind.REGION: N_("Region"),
    Kind.TRIP: N_("Trip"),
    Kind.CAMERA: N_("Camera"),
    Kind.FOLDER: N_("Folder"),
    Kind.FILE: N_("File"),
    Kind.OUTCOME: N_("State"),
}

SearchText = Annotated[str, Query(max_length=200)]


@router.get("/search")
def search(request: Request, lists: Lists, q: SearchText = "") -> Response:
    """Open the photos that the text means. If it means nothing, say so, with names like it."""
    understood = lists.understand(q)
    if understood.options:
        order = {"sort": "newest"} if understood.query.unknown else {}
        return RedirectResponse(address_of("/photos", {**understood.options, **order, "q": q}), 303)
    similar = [suggestion_document(request, each) for each in lists.suggest(q)]
    return render(request, "search.html", search_text=q, similar=similar, kinds=KINDS)
