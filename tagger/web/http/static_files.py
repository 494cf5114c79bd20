"""Styles, scripts and pictures of the pages, at addresses with a digest, so that browsers can cache them for ever."""

import hashlib
import re
from functools import cache
from pathlib import Path

from markupsafe import Markup
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parents[1] / "static"
FOR_EVER = "public, max-age=31536000, immutable"
_IMPORTED = re.compile(r'(?:from|import) "\./(\w+\.js)"')
_SCRIPTS_FOLDER = re.compile("scripts-[0-9a-f]{16}/")


class AssetFiles(StaticFiles):
    """The files, and all scripts a second time in a folder that is named after their digest.

    Scripts import each other by relative addresses, which stay in that folder. One of another version, from a page that was
    loaded before an update, has the scripts of now, and is not cached.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(_SCRIPTS_FOLDER.sub("", path, count=1), scope)
        if path.startswith(f"{scripts_folder()}/"):
            response.headers["cache-control"] = FOR_EVER
        return response


def asset(name: str) -> str:
    """Return the address of a static file."""
    return f"/static/{name}?v={_digest(STATIC / name)}"


@cache
def script_module(name: str) -> Markup:
    """Return the element that runs a script, after links to the scripts that it imports: the browser requests all of them at
    once, and not each after the one that imports it.
    """
    folder = f"/static/{scripts_folder()}"
    links = [
        Markup('<link rel="modulepreload" href="{}/{}">').format(folder, each) for each in _imports(name)
    ]
    script = Markup('<script src="{}/{}" type="module"></script>').format(folder, name)
    return Markup("\n  ").join([*links, script])


@cache
def scripts_folder() -> str:
    """Return the name of the folder that has all scripts of this version."""
    digests = "".join(_digest(path) for path in sorted(STATIC.glob("*.js")))
    return f"scripts-{hashlib.sha256(digests.encode()).hexdigest()[:16]}"


def _imports(name: str) -> list[str]:
    """Return the scripts that a script imports, directly or not."""
    found = [name]
    for each in found:  # which grows meanwhile
        found += [other for other in _IMPORTED.findall((STATIC / each).read_text()) if other not in found]
    return found[1:]


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
