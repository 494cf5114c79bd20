"""A page that may start jobs in the folder `photos`, and a terminal on the same database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Terminal
from support.library_photos import LibraryPhotos
from support.page_server import JobClient

from tagger.settings import Settings


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def web_settings(web_settings, folder) -> Settings:
    return web_settings.model_copy(update={"web_folders": [folder]})


@pytest.fixture
def jobs(client, web_database, web_settings) -> JobClient:
    """Starts jobs through the API, and runs them in this process."""
    return JobClient(client, web_database, web_settings)


@pytest.fixture
def terminal(tmp_path, web_settings) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.end_embedded_redis()


@pytest.fixture
def library_folder(web_database, web_settings, tmp_path) -> Path:
    """A root of the database outside the allowed folder."""
    LibraryPhotos(web_database, web_settings, tmp_path / "library").file("a.jpg")
    return tmp_path / "library"
