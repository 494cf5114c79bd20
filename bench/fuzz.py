"""Corrupts thousands of photos and reads them: each must be decoded or fail alone.

    python -m bench.fuzz [FOLDER…] --files 20000 --seed 1

Corrupts small drawn photos of every format and the files of the folders; the seed determines how. Child processes read them, so
that a crash is noticed. Files that cause a violation are kept in the folder `--keep`. The exit code is 1 if a process crashed, a file took more than 20 s of CPU time, or anything except a failure of the
photo occurred.
"""

import argparse
import multiprocessing
import os
import queue
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.photos import files_in
from bench.process_tree import cpu_seconds, resident_mib
from bench.report import note, print_heading, print_table
from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.camera import camera_facts, short_text
from tagger.photos.containers import digest_photo
from tagger.photos.decoding import Pixels, Resize, decode_photo
from tagger.photos.files import read_photo
from tests.rig.mutations import broken, with_other_metadata
from tests.rig.odd_photos import small_photos

CPU_TIMEOUT_S = 20.0
"""For one file."""
WALL_TIMEOUT_S = 300.0
"""For one file, because a deadlock uses no CPU time."""
START_CPU_TIMEOUT_S = 60.0
MAX_SAMPLE_BYTES = 2 * 2**20
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
MAX_TEXT = 400
RESIZE = Resize(short_side=256, size=224)
DECODED = "decoded"
METADATA_SHARE = 0.1
"""The share of files whose unchanged original is also read with other metadata."""


class Violation(Exception):
    """Reading a photo had an effect that no photo may have."""


def examine(path: Path) -> str:
    """Read a file completely; return `decoded` or the kind of its failure.

    Raises:
        Violation: the digest is not stable, a failure is not the photo's, or a text is not readable.
    """
    try:
        data = read_photo(path, max_bytes=MAX_BYTES).data
        _check_facts(data)
        image = decode_photo(data, RESIZE, max_pixels=MAX_PIXELS)
    except PhotoFailed as failed:
        return _checked_kind(failed)
    if image.pixels.shape != (RESIZE.size, RESIZE.size, 3) or min(image.width, image.height) < 1:
        raise Violation(f"pixels of shape {image.pixels.shape} for {image.width} x {image.height}")
    return DECODED


def examine_metadata(data: bytes, rng: random.Random) -> None:
    """Check that other metadata changes neither the digest nor the pixels.

    Raises:
        Violation: it changes one of them.
    """
    changed = with_other_metadata(data, rng)
    try:
        pixels = _pixels(data)
    except PhotoFailed:
        return
    if changed is None:
        return
    if digest_photo(changed) != digest_photo(data):
        raise Violation("metadata changed the digest")
    if not np.array_equal(_pixels(changed), pixels):
        raise Violation("metadata changed the pixels")


def load_samples(folders: Iterable[Path]) -> list[tuple[str, bytes]]:
    """Return names and data of the photos to corrupt: about as many drawn ones as files of the folders."""
    drawn = sorted(small_photos().items())
    files = [
        (f"{path.parent.name}/{path.name}", path.read_bytes())
        for folder in folders
        for path in files_in(folder)
        if path.is_file() and 0 < path.stat().st_size <= MAX_SAMPLE_BYTES
    ]
    return drawn * max(1, len(files) // len(drawn)) + files


def _check_facts(data: bytes) -> None:
    if digest_photo(data) != digest_photo(bytes(bytearray(data))):
        raise Violation("two digests of the same bytes differ")
    facts = camera_facts(data)
    if abs(facts.latitude or 0) > 90 or abs(facts.longitude or 0) > 180:
        raise Violation(f"an impossible position: {facts}")
    if any(text is not None and text != short_text(text) for text in (facts.make, facts.model, facts.serial)):
        raise Violation(f"an unprintable camera: {facts}")


def _checked_kind(failed: PhotoFailed) -> str:
    kind, text = failed.failure.kind, failed.failure.text
    if kind in (FailureKind.INTERNAL, FailureKind.GONE, FailureKind.UNREADABLE):
        raise Violation(f"{kind}: {text}")
    if not text.isprintable() or not text.endswith(".") or len(text) > MAX_TEXT:
        raise Violation(f"an unreadable text: {text!r}")
    return str(kind)


def _pixels(data: bytes) -> Pixels:
    return decode_photo(data, RESIZE, max_pixels=MAX_PIXELS).pixels


@dataclass
class Results:
    """The results of all child processes."""

    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    """Seconds and name of the file."""
    peak_mib: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def files(self) -> int:
        return self.outcomes.total()


class Report(NamedTuple):
    """What a child process says of one file."""

    name: str
    outcome: str
    violation: str
    seconds: float
    memory_mib: float


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    folders: Sequence[Path]
    files: int
    seed: int
    processes: int
    keep: Path


def main() -> None:
    """Corrupt photos and read them."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--files", type=int, default=20_000, help="files to corrupt [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="[%(default)s]")
    parser.add_argument("--processes", type=int, default=2, help="child processes [%(default)s]")
    keep = Path("build") / "fuzz"
    parser.add_argument("--keep", type=Path, default=keep, help="folder for violations [%(default)s]")
    args = parser.parse_args()
    options = Options(args.folders, args.files, args.seed, max(1, args.processes), args.keep)
    raise SystemExit(_fuzz(options))


def _fuzz(options: Options) -> int:
    print_heading("Fuzzing")
    results, numbers = Results(), queue.SimpleQueue[int]()
    for number in range(options.files):
        numbers.put(number)
    start = time.monotonic()
    threads = [
        threading.Thread(target=_run_children, args=(options, numbers, results))
        for _ in range(options.processes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _print_results(results, time.monotonic() - start)
    return 1 if results.violations or results.files < options.files else 0


def _run_children(options: Options, numbers: "queue.SimpleQueue[int]", results: Results) -> None:
    """Let a child process read files until no number is left; replace it if it crashes or hangs."""
    with tempfile.TemporaryDirectory(prefix="tagger-fuzz-") as folder:
        child: ChildProcess | None = None
        with suppress(queue.Empty):
            while True:
                number = numbers.get_nowait()
                child = child or ChildProcess(options, Path(folder) / "photo")
                if not child.read(number, results):
                    child.kill()
                    child = None
        if child:
            child.kill()


class ChildProcess:
    """A process that corrupts and reads the samples whose numbers it receives."""

    def __init__(self, options: Options, file: Path) -> None:
        self._options, self._file = options, file
        self._cpu_timeout_s = CPU_TIMEOUT_S + START_CPU_TIMEOUT_S
        self._connection, end = multiprocessing.Pipe()
        arguments = (options.folders, options.seed, file, end)
        self._process = multiprocessing.get_context("spawn").Process(target=_run_child, args=arguments)
        self._process.start()
        end.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def read(self, number: int, results: Results) -> bool:
        """Let the process read one file; return whether it can continue."""
        report: Report | None = None
        is_hanging = False
        with suppress(OSError, EOFError):  # it has crashed
            self._connection.send(number)
            is_hanging = not self._wait()
            if is_hanging:
                self.kill()
            report = None if is_hanging else self._connection.recv()
        with results.lock:
            if report is None:
                self._process.join()
                outcome = "hang" if is_hanging else f"crash (code {self._process.exitcode})"
                results.outcomes[outcome] += 1
                results.violations.append(f"{outcome}: {self._keep_file(number)}")
                return False
            results.outcomes[report.outcome] += 1
            results.slowest = max(results.slowest, (report.seconds, report.name))
            results.peak_mib = max(results.peak_mib, report.memory_mib)
            if report.violation:
                results.violations.append(
                    f"{report.violation}: {self._keep_file(number)}, from {report.name}"
                )
            if results.files % 2000 == 0:
                note(f"{results.files} files, {len(results.violations)} violations")
        return True

    def _wait(self) -> bool:
        """Wait for a report or the process's end; return False after a timeout."""
        assert self._process.pid
        start, start_cpu_s = time.monotonic(), cpu_seconds(self._process.pid)
        while not self._connection.poll(0.5):
            if cpu_seconds(self._process.pid) - start_cpu_s > self._cpu_timeout_s:
                return False
            if time.monotonic() - start > WALL_TIMEOUT_S:
                return False
        self._cpu_timeout_s = CPU_TIMEOUT_S
        return True

    def _keep_file(self, number: int) -> Path:
        self._options.keep.mkdir(parents=True, exist_ok=True)
        file = self._options.keep / f"seed-{self._options.seed}-{number:06}"
        file.write_bytes(self._file.read_bytes() if self._file.exists() else b"")
        return file


def _print_results(results: Results, wall_s: float) -> None:
    outcomes, (seconds, name) = results.outcomes, results.slowest
    print_table(("outcome", "files"), [*sorted(outcomes.items()), ("**total**", outcomes.total())])
    print(
        f"{wall_s:.0f} s; the slowest file, {name}, took {seconds:.2f} s. A process had at most {results.peak_mib:.0f} MiB.\n"
    )
    for violation in results.violations:
        print(f"- **problem**: {violation}")


def _run_child(folders: Iterable[Path], seed: int, path: Path, connection: Connection) -> None:
    """Corrupt and read a sample for each number that is received; send a report of each."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # decoders print what is broken
    samples = load_samples(folders)
    with suppress(EOFError):
        while True:
            number = connection.recv()
            rng = random.Random(f"{seed} {number}")
            name, data = rng.choice(samples)
            path.write_bytes(broken(data, [other for _, other in samples], rng))
            start = time.perf_counter()
            outcome, violation = _outcome(path, data, rng)
            seconds = time.perf_counter() - start
            connection.send(
                Report(f"{name} ({number})", outcome, violation, seconds, resident_mib(os.getpid()))
            )


def _outcome(path: Path, original: bytes, rng: random.Random) -> tuple[str, str]:
    """Return the outcome, and the violation or an empty text."""
    try:
        outcome = examine(path)
        if rng.random() < METADATA_SHARE:
            examine_metadata(original, rng)
    except Exception as error:  # noqa: BLE001 - any exception is a violation
        return type(error).__name__, f"{type(error).__name__}: {error}"[:300]
    return outcome, ""


if __name__ == "__main__":
    main()
