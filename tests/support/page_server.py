"""A real server of the web page on a real port, in a thread of the test process, and photos to upload."""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from PIL import Image
from starlette.testclient import TestClient
from support.artifacts import colour_of, tiny_artifact
from support.job_runs import process_job
from support.library_photos import LibraryPhotos

from tagger.cli.commands.services import listen, server_for
from tagger.database.connection import Database, open_database
from tagger.settings import Settings
from tagger.web import api, pages
from tagger.web.access import AccessPolicy
from tagger.web.app import create_app, sign_in_router

LOCAL_URL = "http://127.0.0.1:8080"
TOKEN = "a-token-for-these-tests"
VIEW_TOKEN = "a-token-to-look-only"
GREY = (128, 128, 128)  # No label's colour


def settings_in(folder: Path) -> Settings:
    """Settings for a web page with the tiny model and low limits; all its files are in the folder."""
    tiny_artifact(folder / "tiny.pt")
    return Settings(
        data_folder=folder / "data",
        model=str(folder / "tiny.pt"),
        device="cpu",
        backend="torchscript",
        batch_size=16,
        threads=2,
        web_upload_bytes=2 * 2**20,
        max_pixels=4_000_000,
    )


@contextmanager
def served(settings: Settings, database: Database, token: str | None = None, port: int = 0) -> Iterator[int]:
    """Run the server on this port, by default a free one; yield the port."""
    with listen("127.0.0.1", port) as listener:
        port = listener.getsockname()[1]
        proxies = tuple(settings.web_trusted_proxies)
        policy = AccessPolicy(
            "127.0.0.1", port, token, trusted_proxies=proxies, user_header=settings.web_user_header
        )
        app = create_app(settings, database, policy)
        server = server_for(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield port
        finally:
            app.state.app_state.stopping.set()
            server.should_exit = True
            thread.join(30)


def client_at(app: FastAPI, address: str = "testclient") -> TestClient:
    """A client of an application on this machine, whose requests come from an address, without redirects."""
    return TestClient(
        app,
        base_url=LOCAL_URL,
        raise_server_exceptions=False,
        follow_redirects=False,
        client=(address, 5000),
    )


@contextmanager
def client_of_page(settings: Settings, database: Database) -> Iterator[TestClient]:
    """A client on the same machine of a page with these settings, until it stops."""
    app = create_app(settings, database, AccessPolicy("127.0.0.1", 8080))
    with TestClient(app, base_url=LOCAL_URL, raise_server_exceptions=False) as client:
        yield client


def photo(label: int | None = 0, *, shade: int = 0, kind: str = "PNG") -> bytes:
    """A photo in the label's colour, or in grey; `shade` makes different images with the same prediction."""
    out = io.BytesIO()
    colour = GREY if label is None else colour_of(label)
    Image.new("RGB", (80 + shade, 60), colour).save(out, kind)
    return out.getvalue()


def tiles_of(page: str) -> list[int]:
    """The photos of a page, in order."""
    return [int(number) for number in re.findall(r'data-photo="(\d+)"', page)]


@contextmanager
def library_in(settings: Settings) -> Iterator[LibraryPhotos]:
    """A library without photos yet, for a server that is started later with the same settings."""
    with closing(open_database(settings.effective_database_url)) as database:
        yield LibraryPhotos(database, settings, settings.data_folder.parent / "photos")


def change_settings(client: TestClient, **changes: Any) -> None:
    """Change settings of the application that answers this client."""
    state = client.app.state.app_state  # type: ignore[attr-defined]
    state.settings = state.settings.model_copy(update=changes)


ROUTES = [
    route
    for router in (*api.ROUTERS, *pages.ROUTERS, sign_in_router)
    for route in router.routes
    if isinstance(route, APIRoute)
]


def with_numbers(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "1", path)


@dataclass(frozen=True)
class JobClient:
    client: TestClient
    database: Database
    settings: Settings

    def start(self, *paths: str | Path, status: int = 202, **fields: Any) -> Any:
        body = {"paths": [str(path) for path in paths], **fields}
        response = self.client.post("/api/jobs", json=body)
        assert response.status_code == status, response.text
        return response.json()

    def get(self, job: int) -> dict[str, Any]:
        document: dict[str, Any] = self.client.get(f"/api/jobs/{job}").json()
        return document

    def run(self, job: int) -> dict[str, Any]:
        """Process all chunks of the job, as a worker does, and return the finished job."""
        process_job(self.database, self.settings, job)
        document = self.get(job)
        assert document["state"] == "finished", document
        return document
