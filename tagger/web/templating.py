"""Pages from Jinja templates in the reader's language, in which every value is escaped, and what they load.

Catalogues of languages are PO files, which are read when their language is first requested: nothing is
compiled for a wheel, and no compiled file can be older than its source. The texts of scripts have a catalogue
of their own. The reader's choice of language and time zone is in a cookie: the server writes the pages, and a
browser may forget what a script keeps.

Styles, scripts and pictures have addresses with a digest, so that browsers can cache them for ever.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from babel import Locale
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from tagger.database.connection import Database
from tagger.query.tagged_photos import has_metadata_writes, has_photos
from tagger.teaching.lessons import count_suggestions
from tagger.texts.names import city_name, place_text
from tagger.texts.text_format import (
    N_,
    Language,
    country_name,
    day_text,
    gettext,
    moment_text,
    ngettext,
    number_text,
    percent,
    reader_language,
    size,
    weekday_text,
)
from tagger.web.access import (
    Grant,
    Role,
    is_by_https,
    local_address,
    may_send_photos,
    requires,
)
from tagger.web.routes import FOR_EVER, MOST_PHOTOS

LOCALE = Path(__file__).parent / "locale"
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
    tags = [ENGLISH, *(folder.name for folder in LOCALE.iterdir() if folder.is_dir())]
    names = {
        tag: (Locale.parse(tag, sep="-").get_display_name() or tag) for tag in tags
    }
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
    for tag in tags:
        for known in (tag, tag.partition("-")[0]):
            if known in languages():
                return None if known == ENGLISH else load_language(known)
    return None


def chosen_language(headers: Headers) -> str | None:
    tag = cookie_parser(headers.get("cookie", "")).get(COOKIE)
    return tag if tag in languages() else None


def zone_of(headers: Headers) -> ZoneInfo | None:
    """Return the time zone of the browser, of which theme.js tells; None: it did not, or it is not known."""
    name = cookie_parser(headers.get("cookie", "")).get(ZONE_COOKIE, "")
    return ZoneInfo(name) if name in _zones() else None


_zones = cache(available_timezones)


def accepted_tags(header: str) -> Sequence[str]:
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
    texts = _translations(read_catalogue(tag, MESSAGES))
    texts.add_fallback(_translations(read_catalogue(tag, SCRIPTS)))
    return Language(tag, texts)


def _translations(catalogue: Catalog) -> GNUTranslations:
    binary = BytesIO()
    write_mo(binary, catalogue)
    binary.seek(0)
    return GNUTranslations(binary)


def catalogue_file(tag: str, name: str) -> Path:
    return LOCALE / tag / "LC_MESSAGES" / f"{name}.po"


def read_catalogue(tag: str, name: str) -> Catalog:
    with catalogue_file(tag, name).open("rb") as file:
        return read_po(file, locale=tag.replace("-", "_"))


@cache
def script_texts(tag: str | None) -> Mapping[str, str | Sequence[str]]:
    texts: dict[str, str | Sequence[str]] = {}
    for message in read_catalogue(tag, SCRIPTS) if tag else ():
        if message.id:
            text = message.id if isinstance(message.id, str) else message.id[0]
            texts[text] = message.string or text
    return texts


router = APIRouter(include_in_schema=False)

YEAR_S = 365 * 24 * 3600


@router.post("/language")
@requires(Role.VIEWER)
def choose_language(
    request: Request, language: Annotated[str, Form(max_length=20)] = ""
) -> RedirectResponse:
    page = "/"
    with suppress(ValueError):  # brackets without an address of IPv6
        referer = urlsplit(request.headers.get("referer", "/"))
        page = local_address(
            f"{referer.path}?{referer.query}" if referer.query else referer.path
        )
    response = RedirectResponse(page, 303)
    if language in languages():
        response.set_cookie(
            COOKIE,
            language,
            YEAR_S,
            httponly=True,
            samesite="lax",
            secure=is_by_https(request),
        )
    else:
        response.delete_cookie(COOKIE)
    return response


STATIC = Path(__file__).parent / "static"
_IMPORTED = re.compile(r'(?:from|import) "\./(\w+\.js)"')
_SCRIPTS_FOLDER = re.compile("scripts-[0-9a-f]{16}/")


class AssetFiles(StaticFiles):
    """The static files. All scripts have a second address, in a folder that is named after their digest.

    Scripts import each other by relative addresses, which stay in that folder. A folder of another version,
    requested by a page that was loaded before an update, has the current scripts, and is not cached.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(
            _SCRIPTS_FOLDER.sub("", path, count=1), scope
        )
        if path.startswith(f"{scripts_folder()}/"):
            response.headers["cache-control"] = FOR_EVER
        return response


def asset(name: str) -> str:
    return f"/static/{name}?v={_digest(STATIC / name)}"


@cache
def script_module(name: str, *, later: bool = False) -> Markup:
    """Return the element that runs a script, after links to its imports: the browser requests all at once.

    `later`: what the view shows at first needs it less than thumbnails.
    """
    folder = f"/static/{scripts_folder()}"
    priority = Markup(' fetchpriority="low"') if later else ""
    links = [
        Markup('<link rel="modulepreload" href="{}/{}"{}>').format(
            folder, each, priority
        )
        for each in _imports(name)
    ]
    script = Markup('<script src="{}/{}" type="module"{}></script>').format(
        folder, name, priority
    )
    return Markup("\n  ").join([*links, script])


@cache
def scripts_folder() -> str:
    digests = "".join(_digest(path) for path in sorted(STATIC.rglob("*.js")))
    return f"scripts-{hashlib.sha256(digests.encode()).hexdigest()[:16]}"


def _imports(name: str) -> list[str]:
    # The scripts that a script imports, directly or not.
    found = [name]
    for each in found:  # `found` grows meanwhile
        found += [
            other
            for other in _IMPORTED.findall((STATIC / each).read_text())
            if other not in found
        ]
    return found[1:]


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


TEMPLATES = Path(__file__).parent / "templates"
# Photos that are downloaded at once.
MOST_FILES = 2000
# How much of the image digest is in a thumbnail's address, so that another image has another
# address.
DIGEST_LENGTH = 16


def render(
    request: Request, name: str, status_code: int = 200, **values: object
) -> HTMLResponse:
    """Render the template `name` with `values`, the `request`, and whether its session `may_change` anything.

    What few pages ask of the database are functions.
    """
    database: Database = request.app.state.app_state.database
    context = {
        "request": request,
        "may_change": may_change(request),
        "may_send": lambda: may_send_photos(request),
        "has_photos": lambda: has_photos(database),
        "has_writes": lambda: has_metadata_writes(database),
        "count_to_review": lambda: count_suggestions(database),
    }
    page = environment().get_template(name).render(**context, **values)
    # Bytes of a file name that are not UTF-8 appear as question marks.
    return HTMLResponse(page.encode(errors="replace"), status_code)


def may_change(request: Request) -> bool:
    grant: Grant = request.state.grant
    return grant.may_change


def thumbnail_address(photo_id: int, digest: str | None, side_px: int) -> str:
    version = f"&v={quote(digest[-DIGEST_LENGTH:], safe='')}" if digest else ""
    return f"/api/photos/{photo_id}/thumbnail?size={side_px}{version}"


def with_code(text: str) -> Markup:
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(parts)
    )


@cache
def environment() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    templates.globals |= {
        "asset": asset,
        "script_module": script_module,
        "number_text": number_text,
        "_": _gettext,
        "N_": N_,
        "gettext": _gettext,
        "ngettext": _ngettext,
        "language": reader_language,
        "languages": languages,
        "script_texts": script_texts,
        "chosen_language": chosen_language,
        "thumbnail_address": thumbnail_address,
        "selection_limits": {"list": MOST_PHOTOS, "files": MOST_FILES},
        "city_name": city_name,
        "place_text": place_text,
    }
    templates.filters["with_code"] = with_code
    texts: dict[str, Callable[[Any], str]] = {
        "percent": percent,
        "size": size,
        "day": day_text,
        "moment": moment_text,
        "weekday": weekday_text,
        "country": country_name,
    }
    templates.filters |= {name: _for_reader(text) for name, text in texts.items()}
    templates.policies["ext.i18n.trimmed"] = True
    templates.newstyle_gettext = True  # type: ignore[attr-defined]  # of the extension
    templates.globals["icon"] = templates.get_template("icons.html").module.icon  # type: ignore[attr-defined]
    return templates


def _for_reader(text_of: Callable[[Any], str]) -> Callable[[Context, Any], str]:
    # A filter whose result depends on the reader: Jinja evaluates others once for a constant.
    @pass_context
    def text_for_reader(_context: Context, value: Any) -> str:
        return text_of(value)

    return text_for_reader


def _gettext(text: str, /, **values: object) -> Markup:
    # A text of a template, which may have elements; the values are escaped.
    return Markup(gettext(text)) % values  # noqa: S704 - texts are those of the catalogue


def _ngettext(one: str, more: str, number: int, /, **values: object) -> Markup:
    values.pop("num", None)  # the extension gives it too
    escaped = {name: escape(value) for name, value in values.items()}
    return Markup(ngettext(one, more, number, **escaped))  # noqa: S704
