"""The reader's choice of a language, which a cookie keeps: the server writes the pages, and a browser may forget what a script keeps."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse

from tagger.web.http.forwarded import is_by_https
from tagger.web.http.languages import COOKIE, languages
from tagger.web.pages.sign_in import local_address

router = APIRouter(include_in_schema=False)

YEAR_S = 365 * 24 * 3600


@router.post("/language")
def choose_language(request: Request, language: Annotated[str, Form(max_length=20)] = "") -> RedirectResponse:
    """Show the pages in this language; in that of the browser if it is none. Leads back to the page with the form."""
    page = urlsplit(request.headers.get("referer", "/"))
    response = RedirectResponse(local_address(f"{page.path}?{page.query}" if page.query else page.path), 303)
    if language in languages():
        response.set_cookie(
            COOKIE, language, YEAR_S, httponly=True, samesite="lax", secure=is_by_https(request)
        )
    else:
        response.delete_cookie(COOKIE)
    return response
