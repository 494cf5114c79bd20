"""Templates made into pages. What is put into them is text, never HTML: everything is escaped, whatever a file is called."""

import hashlib
from functools import cache
from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tagger.web.pages.figures import duration, percent, share, size

TEMPLATES = Path(__file__).parents[1] / "templates"
STATIC = Path(__file__).parents[1] / "static"


def render(request: Request, name: str, status_code: int = 200, **values: object) -> HTMLResponse:
    """The page that the template `name` makes of `values`; templates know the `request` too."""
    page = environment().get_template(name).render(request=request, **values)
    # What was no text in a file's name is shown as a question mark; a page is UTF-8.
    return HTMLResponse(page.encode(errors="replace"), status_code)


def asset(name: str) -> str:
    """The address of a file of `static`, with its digest in it: browsers keep it for ever, and ask anew for what has changed."""
    return f"/static/{name}?v={_digest(name)}"


def with_code(text: str) -> Markup:
    """What stands between backticks, as in messages of the command line, as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if odd % 2 else part for odd, part in enumerate(parts)
    )


@cache
def environment() -> Environment:
    """The templates' only environment. A value that nobody gave is a mistake, not an empty text."""
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["asset"] = asset
    templates.filters["with_code"] = with_code
    templates.filters |= {"duration": duration, "percent": percent, "share": share, "size": size}
    return templates


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:16]
