"""`trainer data download` from a real server: interruptions, errors, and untrusted archives."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.local_servers import Quiet, running
from support.scenes import course_archive, scene_bytes, tree, zip_of

from trainer.data.folders import labels_with_landmarks
from trainer.data.sources import fetch_udacity, photo_entries
from trainer.errors import DataUnusable

PHOTO = scene_bytes(1)


@dataclass
class FileServer:
    """The file on the server, and how it answers. `cut`: the bytes after which connections end."""

    content: bytes
    cut: int | None = None
    status: int = 200
    url: str = ""
    requests: int = 0


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """Run a server of a file with this content in a thread."""
    file = FileServer(content)

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file.requests += 1
            self.send_response(file.status)
            self.send_header("Content-Length", str(len(file.content)))
            self.end_headers()
            self.wfile.write(file.content[: file.cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    file.url = f"http://127.0.0.1:{server.server_port}/landmark_images.zip"
    with running(server):
        yield file


def assert_refused(folder: Path, url: str, reason: str) -> None:
    """The download fails with this reason, and leaves nothing."""
    with pytest.raises(DataUnusable, match=rf"{reason}.*Run the same command again"):
        fetch_udacity(folder / "set", url)
    assert list(folder.iterdir()) == []


def test_a_cut_connection_or_no_server_leaves_nothing_and_the_command_can_be_repeated(tmp_path):
    with serving(course_archive()) as server:
        server.cut = 3000
        assert_refused(tmp_path, server.url, "not a zip file|IncompleteRead")
        server.status = 404
        assert_refused(tmp_path, server.url, "404")
    assert_refused(tmp_path, server.url, "refused")
    with serving(course_archive()) as server:
        assert fetch_udacity(tmp_path / "set", server.url)


def test_the_archive_is_fetched_and_laid_out_once(data, tmp_path):
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


def test_a_folder_with_something_in_it_is_left_alone(data, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.jpg").touch()
    output = data("download", "udacity", "--out", tmp_path / "set", "--url", "http://127.0.0.1:9/x.zip")
    assert output.code == 1
    assert "is not empty" in output.err
    assert data("download", "everything", "--out", tmp_path / "x").code == 2


def unpack(folder: Path, content: bytes) -> dict[str, bytes]:
    """What an archive becomes, without the files that the command adds."""
    with serving(content) as server:
        fetch_udacity(folder / "set", server.url)
    assert [path.name for path in folder.iterdir()] == ["set"]
    return {
        path: data for path, data in tree(folder / "set").items() if path.endswith((".jpg", ".JPG", ".png"))
    }


def test_only_photos_come_out_below_the_one_folder_that_holds_all(tmp_path):
    names = [
        "top/train/A/a.JPG",
        "top/test/A/b.png",
        "top/train/A/run.sh",
        "top/train/.hidden/c.jpg",
        "__MACOSX/train/A/._a.JPG",
        "../evil.jpg",
        "/etc/evil.jpg",
        "train\\A\\evil.jpg",
    ]
    assert sorted(unpack(tmp_path, zip_of(dict.fromkeys(names, PHOTO)))) == ["test/A/b.png", "train/A/a.JPG"]


def damaged() -> bytes:
    content = bytearray(course_archive())
    content[len(content) // 3] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (course_archive(top="photos", train="learn"), "it has no train/LABEL/photo.jpg"),
        (damaged(), "."),
        (b"", "not a zip file"),
    ],
    ids=["something else", "damaged", "empty"],
)
def test_an_archive_that_cannot_be_used_leaves_nothing(tmp_path, content, reason):
    with serving(content) as server:
        assert_refused(tmp_path, server.url, reason)


names = st.text(st.sampled_from("aA/.\\:~ \0\n\x7fé💥_-"), min_size=1, max_size=12).map(
    lambda text: text + ".jpg"
)


@examples(38)
@given(st.lists(names, max_size=4))
def test_no_name_leads_out_of_the_folder(listed):
    folder = PurePosixPath("/somewhere/out")
    for path in photo_entries([zipfile.ZipInfo(f"train/{name}") for name in ["A/a.jpg", *listed]]):
        target = folder / path
        assert target.is_relative_to(folder)
        assert ".." not in target.parts
        assert not set(path) & set("\\:\0\n\x7f")
