"""HTTP servers in threads of their own, and a proxy before any server that can fail."""

import ctypes
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseServer
from types import TracebackType
from typing import Self

POLL_S = 0.05  # The longest time that the end of a server takes


class Quiet:
    """Makes a request handler write no line for each request."""

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def running(server: BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_SO_ATTACH_FILTER = 26
# A packet filter of Linux with one instruction: keep 0 bytes.
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))


class TcpProxy:
    """Forwards connections to 127.0.0.1:`port` to a server: its TCP port, or its Unix socket."""

    def __init__(self, server: int | Path) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._is_silent = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """Close all connections, and refuse new ones from now on."""
        with suppress(OSError):  # it was cut before
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                connection.close()

    def silence(self) -> None:
        """Swallow what is sent in both directions of all open connections; new ones work."""
        with self._lock:
            for connection in self._connections:
                connection.is_silent = True

    def freeze(self) -> None:
        """Silence all connections, also new ones, until `recover`.

        No packet of open ones is acknowledged. The server closes its ends, as if no keepalive was answered.
        """
        self._is_silent = True
        self.silence()
        with self._lock:
            for connection in self._connections:
                connection.drop_packets()
                connection.leave_server()

    def recover(self) -> None:
        """Let new connections work. Silent ones stay silent."""
        self._is_silent = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            connection = _Connection(client, self._connect(), is_silent=self._is_silent)
            with self._lock:
                self._connections.append(connection)

    def _connect(self) -> socket.socket:
        if isinstance(self._server, int):
            return socket.create_connection(("127.0.0.1", self._server))
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._server))
        return server


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket, *, is_silent: bool) -> None:
        self._client = client
        self._server = server
        self.is_silent = is_silent
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def drop_packets(self) -> None:
        program = struct.pack("HP", 1, ctypes.addressof(_DROP_ALL))
        self._client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def leave_server(self) -> None:
        with suppress(OSError):  # it has left
            self._server.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):  # the other side has closed it
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # one of them was closed
            while data := source.recv(65536):
                if not self.is_silent:
                    target.sendall(data)
            if not self.is_silent:
                target.shutdown(socket.SHUT_WR)
