"""nginx with the locations that the docs show: the header with a person's name comes from the proxy alone."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path

import pytest
from rig.servers import free_port
from support.http_servers import Quiet, running
from support.page_server import TOKEN, served
from support.waiting import wait_until

from tagger.database.connection import Database
from tagger.settings import Settings

pytestmark = pytest.mark.slow


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "access.md").read_text()
HEADER = "X-Remote-User"
COOKIE = {"Cookie": "who=ada@example.org"}
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Gate(Quiet, BaseHTTPRequestHandler):
    """Answers as oauth2-proxy and Authelia do: who is signed in is named by a cookie."""

    def do_GET(self) -> None:
        person = re.fullmatch("who=(.*)", self.headers.get("Cookie", ""))
        self.send_response(401 if person is None else 202)
        if person is None:
            self.send_header("Location", "https://auth.example.org/")
        else:
            self.send_header("X-Auth-Request-Email", person[1])
            self.send_header("Remote-User", person[1])
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(params=["4180", "9091"], ids=["oauth2-proxy", "authelia"])
def port(
    request: pytest.FixtureRequest, web_settings: Settings, web_database: Database, tmp_path: Path
) -> Iterator[int]:
    """The port of nginx before the page."""
    if shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") is None:
        pytest.skip("nginx is not installed")
    trusted = {"web_trusted_proxies": [ip_network("127.0.0.1")], "web_user_header": HEADER}
    gate = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    with (
        served(web_settings.model_copy(update=trusted), web_database, TOKEN) as page_port,
        running(gate),
        _nginx(tmp_path / "nginx", request.param, gate.server_port, page_port) as port,
    ):
        yield port


@contextmanager
def _nginx(folder: Path, gate: str, gate_port: int, page_port: int) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    (site,) = (each for each in re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL) if gate in each)
    site = site.replace(f"127.0.0.1:{gate}", f"127.0.0.1:{gate_port}")
    site = site.replace("127.0.0.1:8080", f"127.0.0.1:{page_port}")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in TEMPORARY)
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}"
        f"server {{\nlisten 127.0.0.1:{port};\n{site}}}\n}}\n"
    )
    log = folder / "log"
    environment = {"PATH": "/usr/sbin:/usr/bin:/bin:/usr/local/bin"}
    with (
        log.open("wb") as output,
        subprocess.Popen(["nginx", "-c", file, "-p", folder], stderr=output, env=environment) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, log.read_text()
            yield port
        finally:
            process.terminate()
            process.wait(60)


def _answers(port: int) -> bool:
    try:
        return _get(port, "/static/app.css")[0] == 200
    except (OSError, HTTPException):
        return False


def _get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str, str]:
    """The status, where the answer leads, and its text."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path, headers=headers or {})
        with connection.getresponse() as answer:
            return answer.status, answer.headers.get("Location", ""), answer.read().decode()


def test_a_person_whom_the_proxy_signs_in_may_look(port: int) -> None:
    assert _get(port, "/places", COOKIE)[0] == 200


def test_a_client_cannot_name_itself(port: int) -> None:
    for forged in ({HEADER: "eve"}, {HEADER.lower(): "eve"}, {HEADER.replace("-", "_"): "eve"}):
        status, address, _ = _get(port, "/places", forged)
        assert (status, address.split("?")[0].rpartition("/")[2]) in {(302, "sign_in"), (302, "")}
        assert _get(port, "/places", COOKIE | forged)[0] == 200


def test_styles_pass_without_signing_in(port: int) -> None:
    assert _get(port, "/static/app.css")[0] == 200
