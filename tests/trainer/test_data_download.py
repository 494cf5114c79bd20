"""`trainer data download` from a real server with interrupted connections, errors and wrong headers, and untrusted archives."""

import json
import socket
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.archives import course_archive, zip_of
from support.command_line import CommandRunner
from support.examples import examples
from support.http_servers import Quiet, running
from support.scenes import scene_bytes, tree

from trainer.data import udacity
from trainer.data.gazetteer import labels_with_landmarks
from trainer.data.udacity import ArchiveUnsound, download, fetch_udacity, photo_entries, unpack_photos
from trainer.errors import DownloadFailed, OutputUnwritable

CONTENT = bytes(range(256)) * 3000
PHOTO = scene_bytes(1)


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


def unpack(tmp_path: Path, content: bytes) -> dict[str, bytes]:
    (tmp_path / "archive.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    unpack_photos(tmp_path / "archive.zip", tmp_path / "out")
    return tree(tmp_path / "out")


def assert_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ArchiveUnsound, match=reason):
        unpack(tmp_path, content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.zip", "out"]


def test_photos_come_out_below_the_one_folder_that_holds_all(tmp_path: Path) -> None:
    files = unpack(tmp_path, course_archive())
    assert sorted(files) == [
        "test/16.Eiffel_Tower/4.jpg",
        "test/21.Taj_Mahal/5.jpg",
        "train/16.Eiffel_Tower/0.jpg",
        "train/16.Eiffel_Tower/1.jpg",
        "train/21.Taj_Mahal/2.jpg",
        "train/21.Taj_Mahal/3.jpg",
    ]


def test_only_photos_come_out(tmp_path: Path) -> None:
    names = [
        "train/A/a.JPG",
        "train/A/b.png",
        "train/A/run.sh",
        "train/A/x.html",
        "train/.hidden/c.jpg",
        "__MACOSX/train/A/._a.JPG",
        "landmarks.csv",
        "../evil.jpg",
        "/etc/evil.jpg",
        "train\\A\\evil.jpg",
    ]
    assert sorted(unpack(tmp_path, zip_of(dict.fromkeys(names, PHOTO)))) == [
        "train/A/a.JPG",
        "train/A/b.png",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.zip", "out"]


def test_a_link_becomes_a_file_of_its_text(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("train/A/link.jpg")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    assert unpack(tmp_path, zip_of([(link, b"/etc/passwd")])) == {"train/A/link.jpg": b"/etc/passwd"}
    assert not (tmp_path / "out" / "train" / "A" / "link.jpg").is_symlink()


def test_more_bytes_than_is_reasonable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udacity, "MOST_BYTES", 1000)
    assert_refused(tmp_path, course_archive(), "would unpack to")


def test_a_false_size_extracts_no_more_than_declared(tmp_path: Path) -> None:
    content = zip_of({"train/A/a.jpg": bytes(range(200)) * 50})
    true, output = (10_000).to_bytes(4, "little"), (500).to_bytes(4, "little")
    assert_refused(tmp_path, content.replace(true, output), "the archive is damaged")
    assert sum(map(len, tree(tmp_path / "out").values())) <= 500


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_of({"train/A/a.jpg": PHOTO}))
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + flags] |= 1
    assert_refused(tmp_path, bytes(content), "is encrypted")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_part_of_an_archive_is_refused(tmp_path: Path, share: float) -> None:
    content = course_archive()
    assert_refused(tmp_path, content[: int(share * len(content))], "the archive is damaged")


@pytest.mark.parametrize("offset", [0x7FFFFFFF, 0xFFFFFFFE])
@pytest.mark.parametrize("field", ["of the directory", "of the entry"])
def test_an_offset_outside_the_file_is_damage(tmp_path: Path, field: str, offset: int) -> None:
    content = bytearray(zip_of({"train/A/a.jpg": PHOTO}))
    position = len(content) - 6 if field == "of the directory" else content.index(b"PK\1\2") + 42
    struct.pack_into("<I", content, position, offset)
    assert_refused(tmp_path, bytes(content), "damaged|not a zip file")


names = st.text(st.sampled_from("aA/.\\:~ \0\n\x7fé💥_-"), min_size=1, max_size=12).map(
    lambda text: text + ".jpg"
)


@examples(75)
@given(st.lists(names, max_size=4))
def test_no_name_leads_out_of_the_folder(listed: list[str]) -> None:
    folder = PurePosixPath("/somewhere/out")
    for path in photo_entries([zipfile.ZipInfo(f"train/{name}") for name in ["A/a.jpg", *listed]]):
        target = folder / path
        assert target.is_relative_to(folder)
        assert ".." not in target.parts
        assert not set(path) & set("\\:\0\n\x7f")
