"""The page behind nginx and Caddy, with the files of deploy/proxy."""

import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trustme
from rig.servers import free_port
from support.local_servers import Quiet, running
from support.page_server import TOKEN, photo, served
from support.threads import wait_until

pytestmark = pytest.mark.slow


FILES = Path(__file__).parents[2] / "deploy" / "proxy"
USER_HEADER = "X-Remote-User"
GATE_PORTS = {"oauth2-proxy": 4180, "authelia": 9091}
COOKIE = {"Cookie": "who=ada@example.org"}
HOST = "photos.example.org"
CLIENTS = ("127.0.0.2", "127.0.0.3")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ACCESS = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Proxy:
    """A running proxy: its ports, and the authority of its certificate."""

    https_port: int
    http_port: int | None
    authority: Path

    @contextmanager
    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        client: str = CLIENTS[0],
    ) -> Iterator[HTTPResponse]:
        """Send a request over TLS from this address of the machine; yield the response, which is not read."""
        with closing(_TlsConnection(self, client)) as connection:
            connection.request(method, path, body, {"Host": HOST, **(headers or {})})
            with connection.getresponse() as answer:
                yield answer

    def status(self, *arguments: Any, **options: Any) -> int:
        with self.request(*arguments, **options) as answer:
            return answer.status


class _TlsConnection(HTTPConnection):
    """A connection to a proxy, which checks that its certificate is that of HOST."""

    def __init__(self, proxy: Proxy, client: str) -> None:
        super().__init__("127.0.0.1", proxy.https_port, timeout=60, source_address=(client, 0))
        self._context = ssl.create_default_context(cafile=str(proxy.authority))

    def connect(self) -> None:
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=HOST)


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request, web_settings, web_database, tmp_path) -> Iterator[Proxy]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    start = {"nginx": _nginx, "caddy": _caddy}[request.param]
    settings = web_settings.model_copy(update={"web_trusted_proxies": [ip_network("127.0.0.1")]})
    with served(settings, web_database, TOKEN) as port, start(tmp_path / "proxy", port) as running:
        yield running


def test_people_sign_in_upload_and_follow_jobs_over_https(proxy):
    assert proxy.status("GET", "/sign-in") == 200
    form = urlencode({"token": TOKEN}).encode()
    assert proxy.status("POST", "/sign-in", form, FORM | {"Origin": "https://elsewhere.example"}) == 403
    with proxy.request("POST", "/sign-in", form, FORM | {"Origin": f"https://{HOST}"}) as answer:
        assert answer.status == 303
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        cookie = answer.headers["Set-Cookie"]
    assert "secure" in cookie.lower()
    assert proxy.status("GET", "/photos", headers={"Cookie": cookie.partition(";")[0]}) == 200
    data = photo(kind="BMP")
    data += bytes(3 * 2**19 - len(data))  # more than a megabyte; what follows the pixels is ignored
    headers = ACCESS | {"Content-Type": "application/octet-stream"}
    with proxy.request("POST", "/api/predict", data, headers) as answer:
        assert answer.status == 200, answer.read()
    with proxy.request("GET", "/api/events", headers=ACCESS) as answer:  # arrives at once
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert next(line for line in iter(answer.readline, b"") if line.startswith(b"data:"))


def test_wrong_tokens_lock_out_their_sender_alone(proxy):
    def statuses(client: str, token: str, count: int) -> list[int]:
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "198.51.100.9"}
        return [proxy.status("GET", "/api/status", b"", headers, client) for _ in range(count)]

    assert statuses(CLIENTS[0], "wrong" * 5, 6)[-1] == 429
    assert statuses(CLIENTS[1], TOKEN, 1) == [200]


@pytest.mark.parametrize("proxy", ["nginx"], indirect=True)  # Caddy does this at port 80 alone
def test_plain_http_leads_to_https(proxy):
    assert proxy.http_port is not None
    with closing(HTTPConnection("127.0.0.1", proxy.http_port, timeout=60)) as connection:
        connection.request("GET", "/jobs", headers={"Host": HOST})
        with connection.getresponse() as answer:
            assert (answer.status, answer.headers["Location"]) == (301, f"https://{HOST}/jobs")


@contextmanager
def _nginx(folder: Path, page_port: int) -> Iterator[Proxy]:
    key, certificate, authority = _certificates(folder)
    proxy = Proxy(free_port(), free_port(), authority)
    site = _replaced(
        (FILES / "photos.conf").read_text(),
        {
            "listen 80;": f"listen 127.0.0.1:{proxy.http_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{proxy.https_port} ssl;",
            "/etc/ssl/photos.example.org.crt": str(certificate),
            "/etc/ssl/photos.example.org.key": str(key),
            "127.0.0.1:8080": f"127.0.0.1:{page_port}",
        },
    )
    with _running(_nginx_command(folder, site), folder, lambda: _answers(proxy)):
        yield proxy


def _nginx_command(folder: Path, site: str) -> list[str]:
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n"  # which reads the test's certificates
    file = folder / "nginx.conf"
    file.write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    return ["nginx", "-c", str(file), "-p", str(folder)]


@contextmanager
def _caddy(folder: Path, page_port: int) -> Iterator[Proxy]:
    key, certificate, authority = _certificates(folder)
    proxy = Proxy(free_port(), None, authority)
    text = _replaced(
        (FILES / "Caddyfile").read_text(),
        {
            "{\n    servers {": f"{{\n    admin off\n    auto_https disable_redirects\n    storage file_system {folder}\n    servers {{",
            "photos.example.org {": f"photos.example.org:{proxy.https_port} {{\n    tls {certificate} {key}",
            "127.0.0.1:8080": f"127.0.0.1:{page_port}",
        },
    )
    file = folder / "Caddyfile"
    file.write_text(text)
    with _running(
        ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"], folder, lambda: _answers(proxy)
    ):
        yield proxy


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Files of a key, its certificate for HOST, and the authority."""
    folder.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    paths = folder / "key.pem", folder / "certificate.pem", folder / "authority.pem"
    issued.private_key_pem.write_to_path(str(paths[0]))
    issued.cert_chain_pems[0].write_to_path(str(paths[1]))
    authority.cert_pem.write_to_path(str(paths[2]))
    return paths


@contextmanager
def _running(command: list[str], folder: Path, answers: Callable[[], bool]) -> Iterator[None]:
    log = folder / "log"
    environment = {"PATH": "/usr/sbin:/usr/bin:/bin:/usr/local/bin", "HOME": str(folder)}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or answers())
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(60)


def _answers(proxy: Proxy) -> bool:
    try:
        return proxy.status("GET", "/static/app.css") == 200
    except (OSError, HTTPException):
        return False


def _replaced(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


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


@pytest.fixture(params=["oauth2-proxy", "authelia"])
def gated_port(request, web_settings, web_database, tmp_path) -> Iterator[int]:
    if shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") is None:
        pytest.skip("nginx is not installed")
    trusted = {"web_trusted_proxies": [ip_network("127.0.0.1")], "web_user_header": USER_HEADER}
    gate = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    with (
        served(web_settings.model_copy(update=trusted), web_database, TOKEN) as page_port,
        running(gate),
        _gated_nginx(tmp_path / "nginx", request.param, gate.server_port, page_port) as port,
    ):
        yield port


@contextmanager
def _gated_nginx(folder: Path, gate: str, gate_port: int, page_port: int) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    site = (
        (FILES / f"{gate}.conf")
        .read_text()
        .replace(f"127.0.0.1:{GATE_PORTS[gate]}", f"127.0.0.1:{gate_port}")
    )
    site = site.replace("127.0.0.1:8080", f"127.0.0.1:{page_port}")
    command = _nginx_command(folder, f"server {{\nlisten 127.0.0.1:{port};\n{site}}}\n")
    with _running(command, folder, lambda: _gated_answers(port)):
        yield port


def _gated_answers(port: int) -> bool:
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


def test_the_gate_names_people_and_lets_styles_pass(gated_port):
    assert _get(gated_port, "/places", COOKIE)[0] == 200
    for forged in (
        {USER_HEADER: "eve"},
        {USER_HEADER.lower(): "eve"},
        {USER_HEADER.replace("-", "_"): "eve"},
    ):
        status, address, _ = _get(gated_port, "/places", forged)
        assert (status, address.split("?")[0].rpartition("/")[2]) in {(302, "sign_in"), (302, "")}
        assert _get(gated_port, "/places", COOKIE | forged)[0] == 200
    assert _get(gated_port, "/static/app.css")[0] == 200
