"""A real redis-server on a port of its own, empty, for as long as a `with` block."""

import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self

import redis

from worker.embedded import server_program

START_TIMEOUT_S = 20.0


class RedisServer:
    """Set up as for the workers: an append-only file, and no message dropped for want of memory."""

    def __init__(self) -> None:
        self._port = _free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="tagger-bench-redis-")
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        settings = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "dir": self._folder.name,
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        words = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [str(server_program()), *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self._wait_until_it_answers()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()

    def _wait_until_it_answers(self) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
            except redis.RedisError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
                time.sleep(0.02)
            else:
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
