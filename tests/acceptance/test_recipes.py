"""The recipes of the documentation run, one after the other, on a library of drawn photos."""

import json
import re
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import pytest
from PIL import Image
from support.commands import draw
from support.local_servers import Quiet, running
from support.teaching import teachable_artifact

import tagger

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "recipes.md"
RECIPES: dict[str, str] = dict(
    re.findall(r"^## (.*?)\n.*?```python\n(.*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a model and three photos that are not tagged yet, in which scripts run."""
    teachable_artifact(tmp_path / "model.pt")
    for name, number in (("TAGGER_DATA_FOLDER", "data"), ("TAGGER_MODEL", "model.pt"), ("HOME", "")):
        monkeypatch.setenv(name, str(tmp_path / number))
    monkeypatch.setenv("TAGGER_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "Pictures" / "tower.jpg", 0)
    draw(tmp_path / "Pictures" / "again.jpg", 0, seed=1)
    draw(tmp_path / "Pictures" / "gate.jpg", 1)
    return tmp_path


@pytest.fixture
def tagged(home: Path) -> Path:
    """The same with tagged photos, one of them with a date."""
    photo = Image.open(home / "Pictures" / "tower.jpg")
    exif = photo.getexif()
    exif[306] = "2019:05:03 12:00:00"
    photo.save(home / "Pictures" / "tower.jpg", exif=exif)
    with tagger.open(create=True) as library:
        assert library.tag(home / "Pictures").tagged == 3
    return home


def run(start: str, **values: object) -> dict[str, Any]:
    """Run the recipe whose heading begins so; returns its variables."""
    (script,) = (script for heading, script in RECIPES.items() if heading.startswith(start))
    names = {"__name__": "__main__", **values}
    exec(compile(script, start, "exec"), names)
    return names


def test_recipes_that_only_read_say_what_is_there(tagged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(RECIPES) == 10
    for start in ("Count", "[SQL]"):
        run(start)
        assert capsys.readouterr().out.startswith(
            "2 Eiffel Tower" if start == "Count" else "Eiffel Tower 2\n"
        )
    run("A table")
    assert "France" in (table := capsys.readouterr().out)
    assert "2019" in table
    run("The least certain")
    assert "Brandenburg Gate: " in capsys.readouterr().out


def test_recipes_write_maps_and_albums_and_give_verdicts(tagged: Path) -> None:
    run("A map")
    features = json.loads((tagged / "map.geojson").read_text())["features"]
    assert {each["properties"]["name"] for each in features} <= {"Eiffel Tower", "Brandenburg Gate"}
    run("An album")
    assert {link.name[:5] for link in (tagged / "album").iterdir()} == {"0000 ", "0001 "}
    (tagged / "right.csv").write_text(f"landmark,path\nbrandenburg-gate,{tagged}/Pictures/gate.jpg\n")
    run("Verdicts")
    with tagger.open() as library:
        assert library.photo(tagged / "Pictures" / "gate.jpg").tags[0].verdict == "confirmed"


def test_the_most_similar_photo_is_found(
    tagged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"Pictures/{name}.jpg" for name in ("tower", "gate", "again")]
    monkeypatch.setattr(sys, "argv", ["script", *names])
    run("The most similar")
    assert capsys.readouterr().out == "Pictures/again.jpg\n"


def test_the_hook_posts_what_was_found() -> None:
    posted: list[object] = []
    came = Event()

    class Receiver(Quiet, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            came.set()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    with running(server):
        hook = run("A web hook")["Hook"](None)
        hook.url = f"http://127.0.0.1:{server.server_port}"
        assert hook.wants("landmark.found")
        hook.record(None, "landmark.found", "eiffel-tower", {"name": "Eiffel Tower", "job": 1})
        assert came.wait(30)
    assert posted == [{"event": "landmark.found", "name": "Eiffel Tower", "job": 1}]


class MailServer(socketserver.StreamRequestHandler):
    """A conversation in SMTP: takes one message."""

    messages: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while (line := self.rfile.readline().upper()) and not line.startswith(b"QUIT"):
            if line.startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.messages.append(b"".join(lines).decode())
            self.wfile.write(b"250 OK\r\n")
        self.wfile.write(b"221 bye\r\n")


def test_the_nightly_report_tags_and_mails_only_news(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "Pictures" / "broken.jpg").write_bytes(b"no photo")
    tagger.open(create=True).close()
    monkeypatch.setattr(MailServer, "messages", [])
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailServer)
    report = RECIPES["A report by mail, each night"]
    monkeypatch.setitem(
        RECIPES, "A report by mail, each night", report.replace("25", str(server.server_address[1]))
    )
    with running(server):
        run("A report")
        (mail,) = MailServer.messages
        assert "Subject: 3 photos tagged" in mail
        assert "broken.jpg" in mail
        run("A report")
        assert len(MailServer.messages) == 1
        (home / "Pictures" / "later.jpg").write_bytes(b"no photo")
        run("A report")
        assert "later.jpg" in MailServer.messages[1]
        assert "broken.jpg" not in MailServer.messages[1]
