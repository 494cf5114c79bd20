"""A TCP proxy that leaves connections half open, as firewalls, failovers and lost machines do."""

import ctypes
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_SO_ATTACH_FILTER = 26
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""A packet filter of Linux with one instruction: keep 0 bytes."""


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
        self.refuse()
        with self._lock:
            for connection in self._connections:
                connection.close()

    def silence(self) -> None:
        """Swallow what is sent in both directions of all open connections; new ones work."""
        with self._lock:
            for connection in self._connections:
                connection.is_silent = True

    def vanish(self) -> None:
        """Let the server's end of all open connections vanish: no packet is acknowledged. New ones work."""
        self.silence()
        with self._lock:
            for connection in self._connections:
                connection.drop_packets()

    def freeze(self) -> None:
        """Silence all connections, also new ones, until `recover`. The server closes its ends."""
        self._is_silent = True
        self.silence()
        with self._lock:
            for connection in self._connections:
                connection.leave_server()

    def recover(self) -> None:
        """Let new connections work. Silent ones stay silent."""
        self._is_silent = False

    def refuse(self) -> None:
        """Refuse new connections from now on. Open ones work."""
        with suppress(OSError):  # they are refused already
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()

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
