"""`trainer data download` from a real server with interrupted connections, changed files, errors and wrong headers."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.archives import course_archive
from support.command_line import CommandRunner
from support.http_servers import Quiet, running
from support.scenes import tree

from trainer.data.download import download
from trainer.data.gazetteer import labels_with_landmarks
from trainer.data.udacity import fetch_udacity
from trainer.errors import ArchiveRefused, DownloadFailed, NotEnoughSpace

CONTENT = bytes(range(256)) * 3000
AT_ONCE = (0.0, 0.0, 0.0)


@dataclass
class FileServer:
    """The file on the server, and the server's faults.

    Each of `cuts` ends the connection of one response after that number of bytes of the body.
    """

    content: bytes
    tag: str | None = '"one"'
    modified: str | None = None
    cuts: list[int] = field(default_factory=list)
    error_codes: list[int] = field(default_factory=list)
    """Status codes of the next responses, which do not have the file."""
    content_length: int | None = None
    """A wrong Content-Length to send instead of the size of the body."""
    supports_ranges: bool = True
    """Whether a Range request is answered with a part of the file."""
    sends_wrong_part: bool = False
    """Whether the part starts one byte before the requested range."""
    url: str = ""
    requested_ranges: list[str | None] = field(default_factory=list)
    """The Range header of each request."""

    @property
    def validator(self) -> str | None:
        return self.tag or self.modified


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
    range_header = handler.headers.get("Range")
    file.requested_ranges.append(range_header)
    if file.error_codes:
        handler.send_error(file.error_codes.pop(0))
        return
    first, size = 0, len(file.content)
    if range_header and file.supports_ranges and handler.headers.get("If-Range") == file.validator:
        first = int(range_header.removeprefix("bytes=").rstrip("-"))
        if first >= size:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{size}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        first -= file.sends_wrong_part
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
    else:
        handler.send_response(200)
    if file.tag:
        handler.send_header("ETag", file.tag)
    if file.modified:
        handler.send_header("Last-Modified", file.modified)
    handler.send_header(
        "Content-Length", str(file.content_length if file.content_length is not None else size - first)
    )
    handler.end_headers()
    body = file.content[first:]
    if file.cuts:
        handler.wfile.write(body[: file.cuts.pop(0)])
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
        return
    handler.wfile.write(body)


@pytest.fixture
def server() -> Any:
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.zip"


def fetch(server: FileServer, file: Path) -> bytes:
    download(server.url, file, waits_s=AT_ONCE)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    return file.read_bytes()


def interrupt(server: FileServer, file: Path, after: int = 100_000) -> None:
    """Start a download whose connection ends after `after` bytes."""
    server.cuts = [after, 0]
    with pytest.raises(
        DownloadFailed, match=r"Received data is kept; to continue, run the same command again"
    ):
        download(server.url, file, waits_s=())
    server.requested_ranges.clear()


def test_a_cut_connection_is_resumed_where_it_stopped(server: FileServer, file: Path) -> None:
    server.cuts = [100_000, 50_000, 0, 1]
    assert fetch(server, file) == CONTENT
    assert server.requested_ranges == [
        None,
        "bytes=100000-",
        "bytes=150000-",
        "bytes=150000-",
        "bytes=150001-",
    ]


def test_repeating_the_command_resumes_the_download(server: FileServer, file: Path) -> None:
    interrupt(server, file)
    assert fetch(server, file) == CONTENT
    assert server.requested_ranges == ["bytes=100000-"]


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_a_file_without_validator_is_downloaded_again(
    server: FileServer, file: Path, tag: str | None
) -> None:
    server.tag = tag
    interrupt(server, file)
    assert fetch(server, file) == CONTENT
    assert server.requested_ranges == [None]


def test_a_file_that_changed_on_the_server_is_downloaded_again(server: FileServer, file: Path) -> None:
    interrupt(server, file)
    server.tag, server.content = '"two"', CONTENT[::-1]
    assert fetch(server, file) == CONTENT[::-1]


def test_a_server_that_resumes_nothing_sends_all_of_it(server: FileServer, file: Path) -> None:
    interrupt(server, file)
    server.supports_ranges = False
    assert fetch(server, file) == CONTENT


def test_more_than_the_server_has_is_thrown_away(server: FileServer, file: Path) -> None:
    interrupt(server, file)
    with Path(f"{file}.partial").open("ab") as partial:
        partial.write(bytes(len(CONTENT)))
    assert fetch(server, file) == CONTENT


def test_trouble_that_passes_is_waited_out(server: FileServer, file: Path) -> None:
    server.error_codes = [503, 500, 429]
    assert fetch(server, file) == CONTENT


def test_trouble_that_does_not_pass_ends_it(server: FileServer, file: Path) -> None:
    server.error_codes = [503] * 20
    with pytest.raises(DownloadFailed, match="503"):
        fetch(server, file)
    assert len(server.error_codes) == 20 - 1 - len(AT_ONCE)


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_missing_file_is_not_requested_again(server: FileServer, file: Path, status: int) -> None:
    server.error_codes = [status] * 3
    with pytest.raises(DownloadFailed, match=rf"{status}.*--url"):
        fetch(server, file)
    assert len(server.requested_ranges) == 1


def test_a_refused_connection_is_reported(file: Path) -> None:
    with serving(b"") as closed_server:
        url = closed_server.url
    with pytest.raises(DownloadFailed, match="refused"):
        download(url, file, waits_s=AT_ONCE)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a.zip", "landmarks.zip"])
def test_other_addresses_are_refused(file: Path, url: str) -> None:
    with pytest.raises(DownloadFailed, match="not an http or https URL"):
        download(url, file)


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
        assert len(server.requested_ranges) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    files = tree(tmp_path / "set")
    assert "train/16.Eiffel_Tower/0.jpg" in files
    assert not [path for path in files if "MACOSX" in path or "DS_Store" in path]
    assert json.loads(files["source.json"])["size_bytes"] == len(course_archive())
    eiffel, raceway = labels_with_landmarks(["16.Eiffel_Tower", "22.Moscow_Raceway"], tmp_path / "set")
    assert (eiffel.slug, eiffel.country, raceway.slug) == ("eiffel-tower", "France", "moscow-raceway")


def test_an_invalid_archive_is_refused_and_downloaded_again(tmp_path: Path) -> None:
    with serving(course_archive()[:-300]) as server:
        with pytest.raises(ArchiveRefused, match="the archive is damaged"):
            fetch_udacity(tmp_path / "set", server.url)
        assert list(tmp_path.iterdir()) == []
        server.content = course_archive()
        assert fetch_udacity(tmp_path / "set", server.url)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    other = course_archive(top="photos", train="learn")
    with serving(other) as server, pytest.raises(ArchiveRefused, match="no train/LABEL/photo"):
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
        with pytest.raises(NotEnoughSpace, match="not enough disk space"):
            fetch_udacity(tmp_path / "set", server.url)
    assert list(tmp_path.iterdir()) == []
