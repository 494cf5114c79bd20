"""What refusals of object stores mean: errors as obstore raises them, and answers to requests that are signed here."""

import socket
import threading

import pytest

from tagger.photos import signed_requests
from tagger.photos.object_store import error_text, is_worth_repeating, lacks_rights
from tagger.photos.paths import ObjectPath

CHUNKED = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"
GenericError = pytest.importorskip("obstore.exceptions").GenericError
LISTED = (
    "Error performing list request: Server returned non-2xx status code: {}: <Error><Code>{}</Code></Error>"
)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (CHUNKED + b"64\r\n<Error>", "status code: 403"),
        (CHUNKED + b"no number\r\n", "status code: 403"),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/a\r\n\r\n", "status code: 302"),
        (b"not HTTP\r\n\r\n", "does not answer"),
    ],
    ids=["cut", "no chunk", "redirect", "not HTTP"],
)
def test_a_broken_answer_is_the_servers_error(
    answer: bytes, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_once, args=(server, answer))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(OSError, match=text):
            signed_requests.ask_bucket(ObjectPath("s3://photos/a.jpg"), "versioning")
        thread.join()


def _answer_once(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1 << 16)
        connection.sendall(answer)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("404 Not Found", "ContainerNotFound", "there is no such bucket"),
        ("403 Forbidden", "AuthenticationFailed", "the server refuses access (AuthenticationFailed)"),
        ("403 Forbidden", "AuthorizationPermissionMismatch", "the server refuses access"),
    ],
)
def test_a_listing_that_is_refused_says_why(status: str, code: str, reason: str) -> None:
    error = GenericError(LISTED.format(status, code))
    assert error_text(error).startswith(reason)
    assert not is_worth_repeating(error)


def test_a_deletion_without_the_right_to_delete_is_not_repeated() -> None:
    error = GenericError("Bulk delete request failed for key a.xmp: not authorized. (code: 403)")
    assert lacks_rights(error)
    assert not is_worth_repeating(error)
