"""Pages from Jinja templates. Every value is escaped."""

from functools import cache
from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tagger.library.shares.links import MOST_PHOTOS as MOST_SHARED
from tagger.people.grants import Grant
from tagger.system.text_format import day_text, duration, moment_text, percent, share, size
from tagger.web.http.query_params import MOST_PHOTOS
from tagger.web.http.static_files import asset, script_module

TEMPLATES = Path(__file__).parents[1] / "templates"
MOST_FILES = 2000
"""Photos that are downloaded at once."""


def render(request: Request, name: str, status_code: int = 200, **values: object) -> HTMLResponse:
    """Render the template `name` with `values`, the `request`, and whether its session `may_change` anything."""
    grant: Grant | None = getattr(request.state, "grant", None)
    may_change = grant is None or grant.may_change
    page = environment().get_template(name).render(request=request, may_change=may_change, **values)
    # Bytes of a file name that are not UTF-8 appear as question marks.
    return HTMLResponse(page.encode(errors="replace"), status_code)


def with_code(text: str) -> Markup:
    """Turn the text between backticks into code elements."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


@cache
def environment() -> Environment:
    """Return the environment of all templates. An undefined value is an error."""
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {"asset": asset, "script_module": script_module}
    templates.globals["selection_limits"] = {"share": MOST_SHARED, "list": MOST_PHOTOS, "files": MOST_FILES}
    templates.filters["with_code"] = with_code
    templates.filters |= {"duration": duration, "percent": percent, "share": share, "size": size}
    templates.filters |= {"day": day_text, "moment": moment_text}
    return templates
