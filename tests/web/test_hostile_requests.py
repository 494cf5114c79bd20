"""Malicious requests to a real server: each gets a clear answer, and later requests work."""

import contextlib
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient
from support.colour_folders import TaggedFolder
from support.page_server import ROUTES, TOKEN, client_at, photo, served, settings_in, with_numbers

from tagger.database.connection import open_database
from tagger.web.access import AccessPolicy
from tagger.web.app import create_app
from tagger.web.uploads import SMALL_BYTES

PNG = {"content-type": "image/png"}
CLOSE = b"Connection: close\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[int]:
    settings = settings_in(tmp_path_factory.mktemp("served"))
    with (
        closing(open_database(settings.effective_database_url)) as database,
        served(settings, database) as port,
    ):
        yield port


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[TestClient]:
    """A client of one application: what one request does to it, the next tests would see."""
    settings = settings_in(tmp_path_factory.mktemp("application"))
    policy = AccessPolicy("127.0.0.1", 8080)
    with (
        closing(open_database(settings.effective_database_url)) as database,
        client_at(create_app(settings, database, policy)) as client,
    ):
        yield client


@pytest.fixture
def port(server) -> Iterator[int]:
    """The port of a server, which still answers ordinary requests after the test."""
    yield server
    assert status(exchange(server, request(server, "GET", "/api/openapi.json"))) == 200


def request(
    port: int, method: str, target: str, *lines: str, body: bytes = b"", host: str | None = None
) -> bytes:
    head = [
        f"{method} {target} HTTP/1.1",
        f"Host: {host or f'127.0.0.1:{port}'}",
        "Connection: close",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def exchange(port: int, sent: bytes) -> bytes:
    """Send these bytes; return all that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
    return answer


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


def test_no_trick_leads_out_of_the_static_folder(port):
    for target in (
        *("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/%252e%252e/app.py"),
        *("/static/..%5capp.py", "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/....//app.py"),
        *("/static/vendor/../../app.py", "/static/file:///etc/passwd", "/static/C:/windows/win.ini"),
        *("/static/", "/static", "/static/vendor", "/../tagger/web/app.py"),
        *("/static/" + "../" * 30 + "etc/passwd", "/static/" + "a" * 5000),
    ):
        answer = exchange(port, request(port, "GET", target))
        assert status(answer) in {307, 400, 404, 405}, target
        assert b"root:" not in answer
        assert b"def create_app" not in answer


def test_no_trick_leads_around_the_token(web_settings, web_database):
    with served(web_settings, web_database, TOKEN) as port:
        for prefix in ("/static/../", "/static/%2e%2e/", "/sign-in/../", "//static/../", "/static/..;/"):
            answer = exchange(port, request(port, "GET", f"{prefix}api/openapi.json"))
            assert status(answer) in {401, 404}, prefix
            assert b"openapi" not in answer


def test_odd_addresses_get_a_plain_answer(port):
    for target, expected in (
        ("/%00", {400}),
        ("/%0d%0aset-cookie:a=b", {400}),
        ("/%ff%fe", {400}),
        ("/api/openapi.json?q=%00", {400}),
        ("/api/openapi.json?q=%ff%fe", {400}),
        ("/api/openapi.json?" + "q=1&" * 1000, {200}),
        ("/" + "a" * 9000, {414}),
        ("/" + "a" * 200_000, {400, 414, 431}),
        ("/caf\xe9", {400}),
        ("/a b", {400}),
        ("http://evil.example/", {400, 404, 421}),
        ("*", {400, 404, 405}),
        ("", {400}),
    ):
        answer = exchange(port, request(port, "GET", target))
        assert status(answer) in expected, target
        assert b"\r\nset-cookie" not in answer.lower()
        assert b"Traceback" not in answer


def test_odd_methods_and_broken_headers_do_nothing(port):
    for method in ("HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 1000):
        for target in ("/api/predict", "/static/app.css"):
            answer = exchange(port, request(port, method, target, "X-Secret: secret"))
            assert status(answer) in ({200, 400, 405} if method == "HEAD" else {400, 405, 404})
            assert b"X-Secret" not in answer
            assert b"access-control-allow" not in answer.lower()
    assert exchange(port, request(port, "HEAD", "/static/app.css")).endswith(b"\r\n\r\n")
    for lines in (
        *(["X-Long: " + "a" * 200_000], ["X-Odd: a\x00b"], ["X-Odd : a"], [": a"], ["X-Odd: a\n X: b"]),
        *(["Content-Length: -1"], ["Content-Length: 1e3"], ["Content-Length: 5", "Content-Length: 6"]),
        ["Content-Length: 99999999999999999999999999"],
        *(["Transfer-Encoding: identity"], ["Transfer-Encoding: gzip, chunked"]),
    ):
        answer = exchange(port, request(port, "POST", "/api/predict", "Content-Type: image/png", *lines))
        assert status(answer) in {400, 413, 422, 431, 501}, lines
        assert b"Traceback" not in answer


READ_HEADERS = (
    "Accept", "Accept-Language", "Authorization", "Cookie", "HX-Current-URL", "HX-Request", "If-Modified-Since", "If-None-Match",
    "Origin", "Range", "Referer", "Sec-Fetch-Dest", "Sec-Fetch-Site", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host",
    "X-Forwarded-Proto",
)  # fmt: skip
ODD_VALUES = (
    "http://[x", "//[::1", "http://a:99999/", "[", "\xff", '="', "a;q=nan", "1e999", "%",
    "bytes=9-1",
)  # fmt: skip


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_odd_headers_do_not_fail(web_settings, web_database, every):
    settings = web_settings.model_copy(update={"web_trusted_proxies": [ip_network("127.0.0.1")]})
    form = ("Content-Type: application/x-www-form-urlencoded", "Content-Length: 11")
    failed = []
    with served(settings, web_database) as port:
        for name, value in list(product(READ_HEADERS, ODD_VALUES))[::every]:
            # A form is accepted from an origin of the page.
            origin = () if name == "Origin" else (f"Origin: http://127.0.0.1:{port}",)
            post = request(port, "POST", "/language", *origin, *form, f"{name}: {value}", body=b"language=de")
            page = request(port, "GET", "/photos", f"{name}: {value}")
            failed += [(name, value) for each in (post, page) if status(exchange(port, each)) >= 500]
    assert failed == []


def test_hidden_and_refused_bodies_are_not_taken_for_requests(port):
    """Length and chunks contradict each other, as when two servers are to read two different requests."""
    hidden = request(port, "GET", "/api/openapi.json")
    lines = ["Content-Type: image/png", "Content-Length: 4", "Transfer-Encoding: chunked"]
    sent = request(port, "POST", "/api/predict", *lines, body=b"0\r\n\r\n" + hidden)
    assert exchange(port, sent.replace(CLOSE, b"", 1)).count(b"HTTP/1.1 ") == 1
    lines = ["Content-Type: text/plain", f"Content-Length: {len(hidden)}"]
    refused = request(port, "POST", "/api/predict", *lines, body=hidden).replace(CLOSE, b"", 1)
    answer = exchange(port, refused + request(port, "GET", "/nothing"))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"415", b"404"]


def test_what_names_no_host_of_the_page_or_is_not_http_is_refused(port):
    for host in ("evil.example", "127.0.0.1:1", "localhost@evil.example", "127.0.0.1,evil.example"):
        assert status(exchange(port, request(port, "GET", "/api/openapi.json", host=host))) in {400, 421}
    for sent in (
        b"GET /api/openapi.json HTTP/1.0\r\n\r\n",
        b"GET /api/openapi.json HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        b"\0" * 70_000,
        b"SSH-2.0-x\r\n\r\n",
    ):
        assert status(exchange(port, sent)) == 400


def test_invalid_requests_and_forms_of_strangers_fill_no_log(web_settings, web_database, caplog):
    with served(web_settings, web_database, TOKEN) as port:
        upgrade = request(port, "GET", "/sign-in", "Upgrade: websocket")
        assert status(exchange(port, upgrade.replace(b": close", b": close, upgrade"))) == 200
        for invalid in (b"no HTTP\r\n\r\n", b"\x16\x03\x01\x02\r\n\r\n", "GET /é HTTP/1.1\r\n\r\n".encode()):
            assert status(exchange(port, invalid)) == 400
        form = "Content-Type: multipart/form-data; boundary="
        for boundary, body in (("x", b"--y\r\n"), ("", b"--x"), ("x", b"--x\r\nA b\r\n\r\n")):
            lines = (f"{form}{boundary}", f"Content-Length: {len(body)}", f"Origin: http://127.0.0.1:{port}")
            exchange(port, request(port, "POST", "/sign-in", *lines, body=body))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x", "application/json"])
def test_chunks_without_end_are_cut_off(port, kind):
    start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    parts = [*([start] if "multipart" in kind else []), *[bytes(65536)] * 200]
    endless = b"".join(b"%x\r\n" % len(part) + part + b"\r\n" for part in parts)
    lines = (f"Content-Type: {kind}", "Transfer-Encoding: chunked")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        answer = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # 13 MB, no end; the page takes two
            connection.sendall(request(port, "POST", "/api/predict", *lines, body=endless))
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(65536)
    assert answer == b"" or status(answer) == 413


def test_length_that_is_too_large_is_refused_before_anything_is_sent(port, web_settings):
    for kind, length in (("image/png", 2**40), ("application/json", SMALL_BYTES + 1)):
        lines = [f"Content-Type: {kind}", f"Content-Length: {length}"]
        assert status(exchange(port, request(port, "POST", "/api/predict", *lines))) == 413


def test_a_client_that_reads_only_after_a_body_that_is_too_large_gets_the_answer(port):
    body = bytes(8 * 2**20)
    lines = ("Content-Type: image/png", f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request(port, "POST", "/api/predict", *lines, body=body).replace(CLOSE, b"", 1))
        assert status(connection.recv(65536)) == 413


def test_a_client_that_disconnects_during_an_upload_harms_no_others(port, caplog):
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    for kind, start in (("image/png", b""), ("multipart/form-data; boundary=x", part)):
        lines = (f"Content-Type: {kind}", "Content-Length: 100000")
        sent = request(port, "POST", "/api/predict", *lines, body=start + bytes(5000))
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(sent)
    assert status(exchange(port, request(port, "GET", "/api/openapi.json"))) == 200
    assert not caplog.records


def test_broken_forms_are_refused(client):
    for body in (
        b"",
        b"--x",
        b"--y\r\n\r\n--y--",
        b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n1\r\n' * 3 + b"--x--\r\n",
        b"--x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="' + b"a" * 100_000 + b'"\r\n\r\n1\r\n--x--\r\n',
    ):
        for boundary in ("; boundary=x", "", "; boundary="):
            headers = {"content-type": f"multipart/form-data{boundary}"}
            answer = client.post("/api/predict", content=body, headers=headers)
            assert answer.status_code in {400, 422}, body
            assert answer.json()["error"]


def test_names_of_uploads_are_text(client):
    for name, shown in (
        ("<img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(1)>.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.png", "a.png"),
        ("a\u202egnp.exe", "a\u202egnp.exe"),
        ("/", "-"),
        ("a" * 1000 + ".png", "a" * 255),
    ):
        answer = client.post("/api/predict", files={"file": (name, photo(0), "image/png")})
        assert answer.headers["content-type"] == "application/json"
        assert (answer.status_code, answer.json()["path"]) == (200, shown)


HOSTILE = [
    "", "0", "-1", "9" * 400, "-" + "9" * 400, "1e999", "NaN", "Infinity", "2**31", "null", "true", "[]", "{}", "\t", "\n", "\x7f", "\ufffd",
    "\ud7ff", "\U0010ffff", "\u202e", "' OR 1=1 --", "%", "_", "\\", "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "<script>",
    "{{7*7}}", "${7*7}", "a" * 6000, "0001-01-01", "9999-12-31T23:59:59", "2024-02-30", "91,181", "1,2,3", "éÉ",
]  # fmt: skip


@pytest.mark.parametrize("every", [4 * 37, pytest.param(1, marks=pytest.mark.slow)])
def test_no_address_fails_unexpectedly(client_of, caplog, web_database, tmp_path, every):
    """All addresses, with a hostile value in turn for some of their parameters; in the long form with all."""
    client = client_of()
    (tmp_path / "library").mkdir()
    library = TaggedFolder(web_database, tmp_path / "library")
    library.draw("one.jpg")
    assert library.tag() == {"one.jpg": "tagged"}
    addresses = {
        (address, method, parameter["name"], parameter["in"])
        for address, methods in _documented().items()
        for method, described in methods.items()
        for parameter in described.get("parameters", [])
    }
    assert ("/api/predict", "post", "top_k", "query") in addresses
    failed = set()
    for number, (address, method, name, place) in enumerate(sorted(addresses)):
        for value in HOSTILE[number % every :: every]:
            target = address.replace(f"{{{name}}}", quote(value, safe="")) if place == "path" else address
            target = with_numbers(target)
            sent = {"params": {name: value}} if place == "query" else {}
            answer = client.request(method, target, **sent)
            if answer.status_code >= 500 or not is_as_described(client, address, method, answer):
                failed.add((method, address, name, value[:40], answer.status_code))
    assert sorted(failed) == []
    # The first prediction says that it chooses the fastest way to run the model.
    assert not [record for record in caplog.records if record.name != "tagger.model.model"]


def is_as_described(client: TestClient, address: str, method: str, answer: Response) -> bool:
    """Whether /api/openapi.json names the answer's status, and an error is `{"error": text}`."""
    operation = operations(client).get(address, {}).get(method)
    if operation is None:
        return not address.startswith("/api/")
    status = answer.status_code
    named = {str(status), f"{status // 100}XX"} & set(operation["responses"])
    is_kept_away = answer.headers.get("location") is not None  # an odd path leads to one without its slash
    return bool(named or is_kept_away) and (status < 400 or bool(answer.json().get("error")))


def operations(client: TestClient) -> dict[str, Any]:
    paths: dict[str, Any] = client.app.openapi()["paths"]
    return paths


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_no_body_fails_unexpectedly(client, every):
    bodies = (
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 5000,
        b'{"a": NaN}',
    )
    headers = {"content-type": "application/json"}
    for number, (address, methods) in enumerate(sorted(_documented().items())):
        target = with_numbers(address)
        for method in set(methods) - {"get", "head"}:
            for body in bodies[number % every :: every]:
                answer = client.request(method, target, content=body, headers=headers)
                assert answer.status_code < 500, (method, target, body[:50], answer.text[:200])


def _documented() -> dict[str, dict[str, dict[str, list[dict[str, str]]]]]:
    app = FastAPI()
    for route in ROUTES:
        app.add_api_route(route.path, route.endpoint, methods=list(route.methods))
    return app.openapi()["paths"]


def test_files_that_are_no_photos_are_refused_and_what_follows_one_is_not_read(client):
    for data in (
        b"<html><script>alert(1)</script></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"%PDF-1.4\n" + photo(0, kind="JPEG"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n",
        b"PK\x03\x04" + bytes(26) + photo(0),
        b"<?php system('id'); ?>" + photo(0),
        b"\x80\x04cos\nsystem\n(S'id'\ntR.",
        bytes(100_000),
        b"GIF89a/*" + b"*/=1;alert(1)//" + bytes(50),
        b"BM" + bytes(60),
    ):
        answer = client.post("/api/predict", content=data, headers=PNG)
        assert (answer.status_code, answer.json()["outcome"]) == (422, "failed"), data[:20]
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
    data = photo(0, kind="JPEG") + b"<script>alert(1)</script>PK\x03\x04" + bytes(100)
    answer = client.post("/api/predict", content=data, headers=PNG)
    assert answer.json()["outcome"] == "tagged"
    assert "script" not in answer.text
