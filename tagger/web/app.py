"""The application: parts joined, errors answered. Made once per server, by `tagger serve` and by tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from tagger.database import Database
from tagger.settings import Settings
from tagger.web import api, pages
from tagger.web.answers import answer_errors
from tagger.web.pages.rendering import STATIC
from tagger.web.place import Place
from tagger.web.safety import Safety, guard


def make_app(settings: Settings, database: Database, safety: Safety) -> FastAPI:
    """The page and the API over a database. `safety` says who may ask."""
    place = Place(settings, database)

    @asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        yield
        place.close()

    app = FastAPI(
        title="landmark tagger",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would lead to whatever host the request names
        lifespan=running,
    )
    app.state.place = place
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for router in (*api.routers(), *pages.routers()):
        app.include_router(router)
    answer_errors(app)
    guard(app, safety)
    return app
