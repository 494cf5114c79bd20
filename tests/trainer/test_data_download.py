"""`trainer data download` from a real server with interrupted connections, errors and wrong headers."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.archives import course_archive
from support.command_line import CommandRunner
from support.http_servers import Quiet, running
from support.scenes import tree

from trainer.data.gazetteer import labels_with_landmarks
from trainer.data.udacity import download, fetch_udacity
from trainer.errors import DownloadFailed, OutputUnwritable

CONTENT = bytes(range(256)) * 3000


@dataclass
class FileServer:
    """The file on the server, and the server's faults."""

    content: bytes
    cut: int | None = None
    """The bytes of the body after which connections end."""
    status: int = 200
    content_length: int | None = None
    """A wrong Content-Length to send instead of the size of the body."""
    url: str = ""
    requests: int = 0


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """Run a server of a file with this content in a thread."""
    file = FileServer(content)

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, file)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    file.url = f"http://127.0.0.1:{server.server_port}/landmark_images.zip"
    with running(server):
        yield file


def _answer(handler: BaseHTTPRequestHandler, file: FileServer) -> None:
    file.requests += 1
    if file.status != 200:
        handler.send_error(file.status)
        return
    handler.send_response(200)
    handler.send_header("Content-Length", str(file.content_length or len(file.content)))
    handler.end_headers()
    handler.wfile.write(file.content[: file.cut])
    if file.cut is not None:
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server() -> Any:
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.zip"


def test_a_file_is_downloaded(server: FileServer, file: Path) -> None:
    download(server.url, file)
    assert file.read_bytes() == CONTENT
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_cut_connection_leaves_nothing_and_the_command_can_be_repeated(
    server: FileServer, file: Path
) -> None:
    server.cut = 100_000
    with pytest.raises(DownloadFailed, match=r"100000 of \d+ bytes|IncompleteRead.*\. Run the same command"):
        download(server.url, file)
    assert list(file.parent.iterdir()) == []
    server.cut = None
    download(server.url, file)


@pytest.mark.parametrize(("status", "remedy"), [(404, "--url"), (503, "Run the same command again")])
def test_the_remedy_depends_on_whether_the_failure_can_pass(
    server: FileServer, file: Path, status: int, remedy: str
) -> None:
    server.status = status
    with pytest.raises(DownloadFailed, match=rf"{status}.*{remedy}"):
        download(server.url, file)


def test_a_refused_connection_is_reported(file: Path) -> None:
    with serving(b"") as closed_server:
        url = closed_server.url
    with pytest.raises(DownloadFailed, match="refused"):
        download(url, file)


def test_other_addresses_are_refused(file: Path) -> None:
    with pytest.raises(DownloadFailed, match="not an http or https URL"):
        download("file:///etc/passwd", file)


# --- The command for the course's archive.


def test_the_archive_is_fetched_and_laid_out_once(data: CommandRunner, tmp_path: Path) -> None:
    with serving(course_archive()) as server:
        arguments = ("download", "udacity", "--out", tmp_path / "set", "--url", server.url)
        output = data(*arguments, "--json")
        assert output.code == 0, output.err
        assert {name: output.json[name] for name in ("train", "test", "labels", "fetched")} == {
            "train": 4,
            "test": 2,
            "labels": 2,
            "fetched": True,
        }
        again = data(*arguments)
        assert again.code == 0
        assert "the folder is already complete; nothing was downloaded" in again.err
        assert "fetched\tFalse\n" in again.text
        assert server.requests == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    files = tree(tmp_path / "set")
    assert "train/16.Eiffel_Tower/0.jpg" in files
    assert not [path for path in files if "MACOSX" in path or "DS_Store" in path]
    assert json.loads(files["source.json"])["size_bytes"] == len(course_archive())
    eiffel, raceway = labels_with_landmarks(["16.Eiffel_Tower", "22.Moscow_Raceway"], tmp_path / "set")
    assert (eiffel.slug, eiffel.country, raceway.slug) == ("eiffel-tower", "France", "moscow-raceway")


def test_an_invalid_archive_is_refused_and_downloaded_again(tmp_path: Path) -> None:
    with serving(course_archive()[:-300]) as server:
        with pytest.raises(DownloadFailed, match="the archive is damaged"):
            fetch_udacity(tmp_path / "set", server.url)
        assert list(tmp_path.iterdir()) == []
        server.content = course_archive()
        assert fetch_udacity(tmp_path / "set", server.url)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    other = course_archive(top="photos", train="learn")
    with serving(other) as server, pytest.raises(DownloadFailed, match="no train/LABEL/photo"):
        fetch_udacity(tmp_path / "set", server.url)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(data: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.jpg").touch()
    output = data("download", "udacity", "--out", tmp_path / "set", "--url", "http://127.0.0.1:9/x.zip")
    assert output.code == 1
    assert "is not empty" in output.err
    assert data("download", "everything", "--out", tmp_path / "x").code == 2


def test_room_is_made_sure_of_before_anything_comes(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        server.content_length = 2**60
        with pytest.raises(OutputUnwritable, match="not enough disk space"):
            fetch_udacity(tmp_path / "set", server.url)
    assert list(tmp_path.iterdir()) == []
