"""A backend whose forward passes return at once: the pipeline without its model. It starts the sampler.

`bench.pipeline` registers it as an extension of the programs that it starts.
"""

import atexit
import ctypes
import faulthandler
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from bench.processes import SHIPPED
from tagger.database.connection import Database
from tagger.model.artifact import read_manifest
from tagger.model.backends.protocol import Images, Outputs

REPORTS = "BENCH_REPORTS"
"""The variable with the folder for what is measured and the sampler's library (or nothing), as JSON."""
PER_SECOND = 100
TAGGED, SHARE_TAGGED = 0.9, 5
"""The score of each fifth photo's landmark."""


class StubBackend:
    """Returns the same scores and embeddings for each batch."""

    name = "stub"

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        manifest = read_manifest(SHIPPED)
        count, dimension = len(manifest.labels), manifest.embedding.dimension if manifest.embedding else 0
        self._scores = np.full((1024, count), 0.1 / count, np.float32)
        self._scores[::SHARE_TAGGED, 0] = TAGGED
        self._embeddings = np.random.default_rng(1).standard_normal((1024, dimension)).astype(np.float32)

    def forward(self, images: Images) -> Outputs:
        """Return the outputs of a batch without a computation."""
        return Outputs(self._scores[: len(images)], self._embeddings[: len(images)])

    def free_memory(self) -> None:
        """Nothing is kept."""


def make(_module: object, _device: object, _size: int, at_once: int) -> StubBackend:
    """The backend, as an extension makes it. If the variable is set, the process is measured from now on."""
    if REPORTS in os.environ:
        folder, library = json.loads(os.environ[REPORTS])
        _time_writes(Path(folder, f"{os.getpid()}.json"))
        if library:
            _sample(library, Path(folder, f"{os.getpid()}.txt"))
    return StubBackend(at_once)


def _sample(library: str, file: Path) -> None:
    """Sample the CPU time of this process until its end."""
    output = file.open("ab", buffering=0)
    faulthandler.register(signal.SIGPROF, output, all_threads=False)
    ctypes.CDLL(library).start(output.fileno(), PER_SECOND)
    atexit.register(signal.setitimer, signal.ITIMER_PROF, 0)


def _time_writes(file: Path) -> None:
    """Report at the end how long this process waited to begin transactions, and how long it lasted."""
    write, began, waits = Database.write, time.monotonic(), [0.0]

    @contextmanager
    def timed(database: Database, *, dry_run: bool = False) -> Iterator[Connection]:
        start = time.monotonic()
        with write(database, dry_run=dry_run) as connection:
            waits.append(time.monotonic() - start)
            yield connection

    def report() -> None:
        file.write_text(json.dumps({"waited_s": sum(waits), "lasted_s": time.monotonic() - began}))

    setattr(Database, "write", timed)  # noqa: B010 - its type has a name for each parameter
    atexit.register(report)
