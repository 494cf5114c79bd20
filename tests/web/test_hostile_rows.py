"""Hostile rows in the database: no path leads out of its root, and no text ends a command or a page."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient
from support.command_line import CommandOutput, run_command
from support.library_photos import EIFFEL, LibraryPhotos, picture
from support.page_server import LOCAL_URL

from tagger.cli.main import main
from tagger.database.connection import Database
from tagger.database.tables import cameras, contents, landmarks, models, photos, positions, verdicts
from tagger.photos.containers import digest_photo
from tagger.settings import Settings

SECRET = picture((1, 2, 3))
CONTROL = "\x1b]0;title\x07\x1b[31m\r\n\x9b\N{RIGHT-TO-LEFT OVERRIDE}\x7f"
LONG = "x" * 100_000
PATHS: dict[str, Callable[[Path], str]] = {
    "parent": lambda outside: f"../{outside.name}/secret.jpg",
    "inner parent": lambda outside: f"a/../../{outside.name}/secret.jpg",
    "absolute": lambda outside: str(outside / "secret.jpg"),
    "two slashes": lambda outside: f"/{outside}/secret.jpg",
    "link": lambda _outside: "link/secret.jpg",
    "device": lambda _outside: "/dev/zero",
    "environment": lambda _outside: "/proc/self/environ",
    "bucket": lambda _outside: "s3://bucket/secret.jpg",
    "NUL": lambda _outside: "a\0b.jpg",
    "empty": lambda _outside: "",
    "dot": lambda _outside: ".",
    "dots": lambda _outside: "..",
    "root": lambda _outside: "/",
    "long name": lambda _outside: f"{LONG}.jpg",
    "many folders": lambda _outside: "x/" * 50_000 + "y.jpg",
    "control": lambda _outside: f"{CONTROL}.jpg",
}
RAW_PATHS = {
    "bytes parent": b"../outside/secret.jpg",
    "bytes NUL": b"a\0\xff.jpg",
    "bytes absolute": b"/dev/zero",
}


@pytest.fixture
def outside(tmp_path: Path, library: LibraryPhotos) -> Path:
    """A folder beside the root, with a photo. The root has a link to it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.jpg").write_bytes(SECRET)
    (library.root / "link").symlink_to(folder)
    return folder


@pytest.fixture
def hostile(library: LibraryPhotos, outside: Path) -> dict[str, int]:
    """The ids of photos whose rows were changed, as if they were photos of the secret."""
    library.file("good.jpg", (EIFFEL, 0.9, True), data=picture((9, 9, 9)))
    ids = {}
    names = {name: (make(outside), b"") for name, make in PATHS.items()}
    for name, (path, raw) in (names | {name: (name, raw) for name, raw in RAW_PATHS.items()}).items():
        ids[name] = library.number(
            f"{name}.jpg", (EIFFEL, 0.9, True), digest=digest_photo(SECRET), size_bytes=len(SECRET)
        )
        with library.database.write() as connection:
            values = {"path": path, "path_bytes": raw}
            connection.execute(update(photos).where(photos.c.id == ids[name]).values(values))
    return ids


@pytest.fixture
def tagger(web_settings: Settings, tmp_path: Path) -> Callable[..., CommandOutput]:
    settings = {
        "TAGGER_DATA_FOLDER": str(web_settings.data_folder),
        "TAGGER_MODEL": str(web_settings.model),
        "TAGGER_BACKEND": "torchscript",
        "TAGGER_DEVICE": "cpu",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("TAGGER_")}

    def run(*words: object) -> CommandOutput:
        output = run_command(main, *words, environment=others | settings, folder=tmp_path)
        assert "Traceback" not in output.err, (words, output.err[-3000:])
        return output

    return run


def test_the_page_serves_no_file_outside_and_no_error(client: TestClient, hostile: dict[str, int]) -> None:
    for name, number in hostile.items():
        for kind in ("image", "file", "thumbnail", "preview"):
            answer = client.get(f"/api/photos/{number}/{kind}")
            assert 400 <= answer.status_code < 500, (name, kind, answer.status_code)
        for page in (f"/photos/{number}", f"/photos/{number}/details", f"/api/photos/{number}"):
            assert client.get(page).status_code == 200, (name, page)
    everything = {"photo": ",".join(map(str, hostile.values()))}
    archive = client.post("/photos/download", data=everything, headers={"origin": LOCAL_URL})
    assert ZipFile(io.BytesIO(archive.content)).namelist() == ["missing.txt"]
    for page in (
        "/photos",
        "/api/photos",
        "/api/photos.csv",
        "/api/photos.geojson",
        f"/landmarks/{EIFFEL}",
    ):
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert page.endswith(".csv") or "\x1b" not in answer.text


@pytest.mark.parametrize("to", ["embed", "sidecar"])
def test_no_metadata_is_written_outside(
    tagger: Callable[..., CommandOutput], hostile: dict[str, int], outside: Path, to: str
) -> None:
    written = tagger("metadata", "write", "--to", to, "--json").json
    assert (written["written"], written["total"]) == (1, len(hostile) + 1)
    tagger("metadata", "undo", "--all")
    assert {file.name: file.read_bytes() for file in outside.iterdir()} == {"secret.jpg": SECRET}


def test_no_photo_outside_is_read(
    tagger: Callable[..., CommandOutput], hostile: dict[str, int], library: LibraryPhotos, outside: Path
) -> None:
    (outside / "secret.jpg").write_bytes(picture((77, 88, 99)))  # whoever reads it stores another digest
    tagger("tag", library.root, "--again")
    with library.database.read() as connection:
        digests = set(connection.scalars(contents.select().with_only_columns(contents.c.digest)))
    assert digest_photo(picture((77, 88, 99))) not in digests


def test_commands_survive_hostile_rows(
    tagger: Callable[..., CommandOutput], hostile: dict[str, int], library: LibraryPhotos
) -> None:
    _write_texts(library.database)
    for words in (
        ("query",),
        ("query", "--json"),
        ("landmarks",),
        ("locate",),
        ("status",),
        ("doctor", "--quick"),
        ("db", "check"),
        ("db", "export", "-"),
        ("review", "export", "-"),
        ("model", "list"),
        ("backfill", "all", "--dry-run"),
        ("forget", library.root),
    ):
        output = tagger(*words)
        assert "\x1b" not in output.text + output.err, words
        assert "\x9b" not in output.text + output.err, words


def _write_texts(database: Database) -> None:
    texts: dict[Any, tuple[str, ...]] = {
        landmarks: ("name", "country", "city"),
        models: ("name",),
        cameras: ("name",),
        verdicts: ("given_by",),
        positions: ("country", "city"),
    }
    with database.write() as connection:
        for table, columns in texts.items():
            connection.execute(update(table).values(dict.fromkeys(columns, f"{CONTROL} {LONG}")))
