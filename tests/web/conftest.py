"""The real application over a real database: SQLite in the test's own folder, and the tiny model."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser
from starlette.testclient import TestClient
from support.browser import open_browser, serving
from support.databases import empty_database
from support.library_photos import LibraryPhotos
from support.page_server import TOKEN, VIEW_TOKEN, client_at, settings_in

from tagger.database.connection import Database
from tagger.settings import Settings
from tagger.web import state as overview
from tagger.web.access import AccessPolicy
from tagger.web.app import create_app


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser per process; each test opens its own context."""
    with open_browser() as opened:
        yield opened


@pytest.fixture
def web_settings(tmp_path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def web_database(web_settings) -> Iterator[Database]:
    with empty_database(web_settings.data_folder) as opened:
        yield opened


@pytest.fixture
def library(web_database, web_settings, tmp_path) -> LibraryPhotos:
    """A library without photos yet; modules add theirs in a fixture of the same name."""
    return LibraryPhotos(web_database, web_settings, tmp_path / "photos")


@pytest.fixture
def address(web_settings, library) -> Iterator[str]:
    with serving(web_settings) as url:
        yield url


@pytest.fixture
def counted(monkeypatch) -> None:
    """Pages wait for their numbers, also on a machine that has other work."""
    monkeypatch.setattr(overview, "WAIT_S", 60.0)


@pytest.fixture(scope="session")
def thumbnail_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("thumbnails")


@pytest.fixture
def shared_thumbnails(web_settings, thumbnail_folder) -> None:
    """Let the server use the thumbnails of earlier tests: it starts processes to create them."""
    folder = web_settings.data_folder / "web-cache" / "thumbnails"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(thumbnail_folder)


@pytest.fixture
def client_of(web_settings, web_database) -> Iterator[Callable[..., TestClient]]:
    """Create a client of an application at an address: `client_of()`, `client_of("0.0.0.0", TOKEN)`."""
    with ExitStack() as opened:

        def make(host: str = "127.0.0.1", token: str | None = None) -> TestClient:
            view_token = VIEW_TOKEN if token else None
            policy = AccessPolicy(host, 8080, token, view_token)
            return opened.enter_context(client_at(create_app(web_settings, web_database, policy)))

        yield make


@pytest.fixture
def client(client_of) -> TestClient:
    return client_of()


@pytest.fixture
def client_with_token(client_of) -> TestClient:
    """A client on the network that has not signed in."""
    return client_of("0.0.0.0", TOKEN)


def share_api_documents() -> None:
    """Let applications of the same kind share their document, which tests ask for."""
    compute = FastAPI.openapi
    documents: dict[tuple[str, int], dict[str, Any]] = {}

    def openapi(app: FastAPI) -> dict[str, Any]:
        kind = (app.title, len(app.routes))
        if kind not in documents:
            documents[kind] = compute(app)
        return documents[kind]

    FastAPI.openapi = openapi


share_api_documents()
