"""The languages of the page: their catalogues, and in which one and time zone a request is answered.

Catalogues are PO files, which are read when their language is first requested: nothing is compiled for a
wheel, and no compiled file can be older than its source. The texts of scripts have a catalogue of their own.

The reader's choice is in a cookie: the server writes the pages, and a browser may forget what a script keeps.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from babel import Locale
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from tagger.texts.text_format import Language
from tagger.web.http.access import Role, requires
from tagger.web.http.clients import is_by_https, local_address

LOCALE = Path(__file__).parents[1] / "locale"
MESSAGES = "messages"
# The catalogue of texts that scripts have; those that templates have too are in it alone.
SCRIPTS = "scripts"
COOKIE = "tagger_language"
ZONE_COOKIE = "tagger_zone"
ENGLISH = "en"
# The texts of events are for pages, though browsers request events without the header of htmx.
_EVENTS = "/api/events"


@cache
def languages() -> Mapping[str, str]:
    """Return the languages of the page, each by its tag with its own name, in order of these names."""
    tags = [ENGLISH, *(folder.name for folder in LOCALE.iterdir() if folder.is_dir())]
    names = {tag: (Locale.parse(tag, sep="-").get_display_name() or tag) for tag in tags}
    return {
        tag: names[tag][0].upper() + names[tag][1:]
        for tag in sorted(names, key=lambda tag: names[tag].casefold())
    }


def language_of(path: str, headers: Headers) -> Language | None:
    """Return the language in which a request is answered; None: in English, as programs are."""
    if path.startswith("/api/") and path != _EVENTS and "hx-request" not in headers:
        return None
    chosen = chosen_language(headers)
    tags = [chosen] if chosen else accepted_tags(headers.get("accept-language", ""))
    tag = next(
        (known for each in tags for known in (each, each.partition("-")[0]) if known in languages()), ENGLISH
    )
    return None if tag == ENGLISH else load_language(tag)


def chosen_language(headers: Headers) -> str | None:
    """Return the language that the reader chose on the page; None: the browser's decides."""
    tag = cookie_parser(headers.get("cookie", "")).get(COOKIE)
    return tag if tag in languages() else None


def zone_of(headers: Headers) -> ZoneInfo | None:
    """Return the time zone of the browser, of which theme.js tells; None: it did not, or it is not known."""
    name = cookie_parser(headers.get("cookie", "")).get(ZONE_COOKIE, "")
    return ZoneInfo(name) if name in _zones() else None


@cache
def _zones() -> Collection[str]:
    return available_timezones()


def accepted_tags(header: str) -> Sequence[str]:
    """Return the languages of an Accept-Language header, the preferred ones first."""
    found: list[tuple[float, int, str]] = []
    for part in header.split(","):
        tag, _, weight = part.partition(";q=")
        try:
            found.append((-float(weight or 1), len(found), tag.strip()))
        except ValueError:
            continue
    return [tag for weight, _, tag in sorted(found) if weight]


@cache
def load_language(tag: str) -> Language:
    """Return a language with its texts."""
    texts = _translations(read_catalogue(tag, MESSAGES))
    texts.add_fallback(_translations(read_catalogue(tag, SCRIPTS)))
    return Language(tag, texts)


def _translations(catalogue: Catalog) -> GNUTranslations:
    binary = BytesIO()
    write_mo(binary, catalogue)
    binary.seek(0)
    return GNUTranslations(binary)


def catalogue_file(tag: str, name: str) -> Path:
    """Return the path of a catalogue: MESSAGES or SCRIPTS of a language."""
    return LOCALE / tag / "LC_MESSAGES" / f"{name}.po"


def read_catalogue(tag: str, name: str) -> Catalog:
    """Return the texts of a catalogue."""
    with catalogue_file(tag, name).open("rb") as file:
        return read_po(file, locale=tag.replace("-", "_"))


@cache
def script_texts(tag: str | None) -> Mapping[str, str | Sequence[str]]:
    """Return the texts of scripts in a language by the English ones; plural forms as a list."""
    texts: dict[str, str | Sequence[str]] = {}
    for message in read_catalogue(tag, SCRIPTS) if tag else ():
        if message.id:
            text = message.id if isinstance(message.id, str) else message.id[0]
            texts[text] = message.string or text
    return texts


router = APIRouter(include_in_schema=False)

YEAR_S = 365 * 24 * 3600


def _page_of(referer: str) -> str:
    """The address on this server of the page that sent a form; of an invalid one, the start page."""
    try:
        page = urlsplit(referer)
    except ValueError:  # brackets without an address of IPv6
        return "/"
    return local_address(f"{page.path}?{page.query}" if page.query else page.path)


@router.post("/language")
@requires(Role.VIEWER)
def choose_language(request: Request, language: Annotated[str, Form(max_length=20)] = "") -> RedirectResponse:
    """Show pages in this language, or in the browser's if it is empty; redirect to the page with the form."""
    response = RedirectResponse(_page_of(request.headers.get("referer", "/")), 303)
    if language in languages():
        response.set_cookie(
            COOKIE, language, YEAR_S, httponly=True, samesite="lax", secure=is_by_https(request)
        )
    else:
        response.delete_cookie(COOKIE)
    return response
