"""A real HTTP server for one file, with the faults of servers and networks."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What it serves, and how it misbehaves; each of `cuts` ends one answer after so many bytes of its body."""

    content: bytes
    tag: str | None = '"one"'
    modified: str | None = None
    cuts: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    """Status codes that the next requests get instead of the file."""
    announced: int | None = None
    """The Content-Length that is said, where it is a lie."""
    resumes: bool = True
    """Whether it answers a Range with a part."""
    wrong_parts: bool = False
    """Whether it answers a Range with another part than was asked for."""
    url: str = ""
    asked: list[str | None] = field(default_factory=list)
    """The Range of each request."""

    @property
    def validator(self) -> str | None:
        return self.tag or self.modified


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    served = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, served)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}/landmark_images.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, served: FileServer) -> None:
    wanted = handler.headers.get("Range")
    served.asked.append(wanted)
    if served.refusals:
        handler.send_error(served.refusals.pop(0))
        return
    first, size = 0, len(served.content)
    if wanted and served.resumes and handler.headers.get("If-Range") == served.validator:
        first = int(wanted.removeprefix("bytes=").rstrip("-"))
        if first >= size:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{size}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        first -= served.wrong_parts
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
    else:
        handler.send_response(200)
    if served.tag:
        handler.send_header("ETag", served.tag)
    if served.modified:
        handler.send_header("Last-Modified", served.modified)
    handler.send_header(
        "Content-Length", str(served.announced if served.announced is not None else size - first)
    )
    handler.end_headers()
    body = served.content[first:]
    if served.cuts:
        handler.wfile.write(body[: served.cuts.pop(0)])
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
        return
    handler.wfile.write(body)
