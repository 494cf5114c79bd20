"""What a server of buckets that redirects lets another server see: as docs/explanation/security.md says."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from support.local_servers import Quiet, running

from tagger.photos import object_store
from tagger.photos.paths import parse_path

SECRETS = {"key": "KeyThatSigns", "token": "TokenOfTheSession", "SAS": "SignatureOfTheSas"}


class Servers:
    """A server with TLS that redirects each request to a second one, which keeps what it was sent."""

    def __init__(self, authority: trustme.CA) -> None:
        self.requests: list[str] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self._context)
        self.other = self._server(self._other_handler())
        self.first = self._server(self._first_handler())
        self.address = f"https://127.0.0.1:{self.first.server_port}"

    def sent_secrets(self) -> set[str]:
        """The names of the secrets that the second server was sent."""
        assert self.requests, "the redirect was not followed"
        text = "".join(self.requests)
        return {name for name, value in SECRETS.items() if value in text}

    def _server(self, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.socket = self._context.wrap_socket(server.socket, server_side=True)
        return server

    def _other_handler(self) -> type[BaseHTTPRequestHandler]:
        requests = self.requests

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(f"{self.requestline}\n{self.headers}")
                self.send_response(200)
                self.send_header("Content-Length", "5")
                self.send_header("ETag", '"1"')
                self.send_header("Last-Modified", "Mon, 02 Nov 2026 08:00:00 GMT")
                self.end_headers()
                self.wfile.write(b"photo")

        return Handler

    def _first_handler(self) -> type[BaseHTTPRequestHandler]:
        # Another name of this machine, so another server.
        location = f"https://localhost:{self.other.server_port}/elsewhere"

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(307)
                self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

        return Handler


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    authority = trustme.CA()
    servers = Servers(authority)
    authority.cert_pem.write_to_path(tmp_path / "authority.crt")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "authority.crt"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with ExitStack() as stack:
        stack.enter_context(running(servers.first))
        stack.enter_context(running(servers.other))
        yield servers


def _read(address: str) -> bytes:
    import obstore

    path = parse_path(address)
    return bytes(obstore.get(object_store.open_store(path), "photo.jpg").bytes())


def test_temporary_keys_of_s3_show_their_token_and_nothing_that_signs(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", servers.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["key"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", SECRETS["token"])
    assert _read("s3://redirected") == b"photo"
    assert servers.sent_secrets() == {"token"}
    assert "authorization" not in servers.requests[0].lower()


def test_a_sas_token_of_azure_is_seen_whole(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{servers.address}/account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", f"sv=2022-11-02&sig={SECRETS['SAS']}")
    assert _read("az://redirected") == b"photo"
    assert servers.sent_secrets() == {"SAS"}
