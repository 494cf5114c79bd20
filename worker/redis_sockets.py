"""Connections to a Redis at a Unix socket."""

import os
import socket
import struct
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_CREDENTIALS = struct.Struct("3i")
"""The process, user and group of the other end, as Linux tells them."""


class OwnServer:
    """Part of a connection class for Unix sockets: in a folder of this user, only a server of this user is trusted."""

    path: str

    def _connect(self) -> socket.socket:
        connected: socket.socket = super()._connect()  # type: ignore[misc]  # of the class it is mixed into
        if Path(self.path).parent.stat().st_uid == os.geteuid() and not _is_peer_this_user(connected):
            connected.close()
            raise redis.ConnectionError(f"the server at {self.path} belongs to another user")
        return connected


class SocketConnection(OwnServer, redis.UnixDomainSocketConnection):
    """A connection to a Unix socket."""


def socket_client(path: str, timeout_s: float) -> redis.Redis:
    """A client of the Redis at a Unix socket. It does not retry."""
    pool = redis.ConnectionPool(
        connection_class=SocketConnection, path=path, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )
    return redis.Redis.from_pool(pool)


def _is_peer_this_user(connected: socket.socket) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):  # not Linux: the permissions of the folder have to suffice
        return True
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(credentials)[1] == os.geteuid())
