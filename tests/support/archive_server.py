"""A real HTTP server for one file, with the faults of servers and networks."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.http_servers import Quiet, running


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
