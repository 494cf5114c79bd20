"""Corrupts thousands of photos and reads them: each must be decoded or fail alone.

    python -m bench.fuzz [FOLDER…] --files 20000 --seed 1

Corrupts small drawn photos of every format and the files of the folders; the seed determines how. Child processes read them, so
that a crash is noticed. Files that cause a violation are kept in the folder `--keep`; `python -m bench.fuzz --again FILE` reads one
of them again. The exit code is 1 if a process crashed, a file took more than 20 s of CPU time, or anything except a failure of the
photo occurred.
"""

import argparse
import json
import os
import queue
import random
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.outcomes import files_in
from bench.process_tree import cpu_seconds, resident_mib
from bench.report import note, print_heading, print_table
from tagger.errors import FailureKind, PhotoFailed
from tagger.images import Pixels, Resize, decode_photo
from tagger.metadata.camera import camera_facts, short_text
from tagger.photos.digest import digest_photo
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
WARM_UP_FILES = 300
SLOWEST_FILES = 10
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
    slowest: list[tuple[float, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    memory_mib: list[list[float]] = field(default_factory=list)
    """Of each process, after each file."""
    files: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


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
    parser.add_argument("--again", type=Path, metavar="FILE", help="only read this file again")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.again:
        print(examine(args.again))
    elif args.child:
        _run_child(args.folders, args.seed)
    else:
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
                    child.stop(results)
                    child = None
        if child:
            child.stop(results)


class ChildProcess:
    """A process that corrupts and reads the samples whose numbers it receives."""

    def __init__(self, options: Options, file: Path) -> None:
        self._options, self._file = options, file
        self._memory_mib: list[float] = []
        command = ["-m", "bench.fuzz", "--child", "--seed", str(options.seed), *map(str, options.folders)]
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )

    def kill(self) -> None:
        self._process.kill()

    def stop(self, results: Results) -> None:
        """Kill the process if it is running, and add its memory to the results."""
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        with results.lock:
            results.memory_mib.append(self._memory_mib)

    def read(self, number: int, results: Results) -> bool:
        """Let the process read one file; return whether it can continue."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):  # after a crash, readline returns nothing
            self._process.stdin.write(f"{number} {self._file}\n".encode())
        finished = self._wait()
        line = self._process.stdout.readline() if finished else b""
        with results.lock:
            results.files += 1
            if results.files % 2000 == 0:
                note(f"{results.files} files, {len(results.violations)} violations")
            if not line:
                outcome = f"crash (code {self._process.wait()})" if finished else "hang"
                results.outcomes[outcome] += 1
                results.violations.append(f"{outcome}: {self._keep_file(number)}")
                return False
            self._add(json.loads(line), number, results)
        return True

    def _wait(self) -> bool:
        """Wait for a line or the process's end; return False after a timeout."""
        assert self._process.stdout
        start, start_cpu_s = time.monotonic(), cpu_seconds(self._process.pid)
        cpu_timeout_s = CPU_TIMEOUT_S if self._memory_mib else CPU_TIMEOUT_S + START_CPU_TIMEOUT_S
        while not select.select([self._process.stdout], [], [], 0.5)[0]:
            if cpu_seconds(self._process.pid) - start_cpu_s > cpu_timeout_s:
                return False
            if time.monotonic() - start > WALL_TIMEOUT_S:
                return False
        return True

    def _add(self, document: dict[str, str], number: int, results: Results) -> None:
        self._memory_mib.append(float(document["memory_mib"]))
        results.outcomes[document["outcome"]] += 1
        durations = [*results.slowest, (float(document["seconds"]), document["name"])]
        results.slowest = sorted(durations)[-SLOWEST_FILES:]
        if document["violation"]:
            results.violations.append(
                f"{document['violation']}: {self._keep_file(number)}, from {document['name']}"
            )

    def _keep_file(self, number: int) -> Path:
        self._options.keep.mkdir(parents=True, exist_ok=True)
        file = self._options.keep / f"seed-{self._options.seed}-{number:06}"
        file.write_bytes(self._file.read_bytes() if self._file.exists() else b"")
        return file


def _print_results(results: Results, wall_s: float) -> None:
    print(f"{results.files} files in {wall_s:.0f} s.\n")
    outcomes = results.outcomes
    print_table(("outcome", "files"), [*sorted(outcomes.items()), ("**total**", outcomes.total())])
    print_table(("slowest", "seconds"), [(name, seconds) for seconds, name in reversed(results.slowest)])
    rows = [
        (f"process {number}", sizes[min(WARM_UP_FILES, len(sizes) - 1)], max(sizes), sizes[-1], len(sizes))
        for number, sizes in enumerate(results.memory_mib, start=1)
        if sizes
    ]
    print_table(("resident MiB", f"after {WARM_UP_FILES} files", "maximum", "at the end", "files"), rows)
    for violation in results.violations:
        print(f"- **problem**: {violation}")


def _run_child(folders: Iterable[Path], seed: int) -> None:
    """Corrupt and read a sample for each line `NUMBER FILE` on stdin; print the result as JSON."""
    samples = load_samples(folders)
    for line in sys.stdin:
        number, _, file = line.rstrip("\n").partition(" ")
        rng = random.Random(f"{seed} {number}")
        name, data = rng.choice(samples)
        path = Path(file)
        path.write_bytes(broken(data, [other for _, other in samples], rng))
        start = time.perf_counter()
        outcome, violation = _outcome(path, data, rng)
        document = {
            "name": f"{name} ({number})",
            "outcome": outcome,
            "violation": violation,
            "seconds": time.perf_counter() - start,
            "memory_mib": resident_mib(os.getpid()),
        }
        print(json.dumps(document), flush=True)


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
