"""HTTP servers of tests, in threads of their own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer

POLL_S = 0.05
"""The longest time that the end of a server takes."""


class Quiet:
    """Makes a request handler write no line for each request."""

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def running(server: BaseServer) -> Iterator[None]:
    """Answer requests in a thread, until the end."""
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
