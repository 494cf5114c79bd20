"""The real application over a real database: SQLite in the test's own folder, the tiny model, nothing in between."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from served import HERE, TOKEN, settings_in
from starlette.testclient import TestClient

from tagger.database import Database, open_database
from tagger.settings import Settings
from tagger.web.app import make_app
from tagger.web.safety import Safety


@pytest.fixture
def web_settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def web_database(web_settings: Settings) -> Iterator[Database]:
    opened = open_database(web_settings.effective_database_url)
    yield opened
    opened.close()


@pytest.fixture
def client_of(web_settings: Settings, web_database: Database) -> Iterator[Callable[..., TestClient]]:
    """Makes a client of an application as it is served at an address: `client_of()`, `client_of("0.0.0.0", TOKEN)`."""
    with ExitStack() as opened:

        def make(host: str = "127.0.0.1", token: str | None = None) -> TestClient:
            app = make_app(
                web_settings, web_database, Safety(host, 8080, token, web_settings.web_upload_bytes)
            )
            client = TestClient(app, base_url=HERE, raise_server_exceptions=False, follow_redirects=False)
            return opened.enter_context(client)

        yield make


@pytest.fixture
def client(client_of: Callable[..., TestClient]) -> TestClient:
    """Somebody at this machine."""
    return client_of()


@pytest.fixture
def client_with_token(client_of: Callable[..., TestClient]) -> TestClient:
    """Somebody on the network, who has not said yet who they are."""
    return client_of("0.0.0.0", TOKEN)
