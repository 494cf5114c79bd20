"""Corrupts thousands of photos and reads them: each must be decoded or fail alone.

    python -m tests.rig.fuzz [FOLDER…] --files 20000 --seed 1

Corrupts small drawn photos of every format and the files of the folders; the seed determines how. Child processes read them, so
that a crash is noticed. Files that cause a violation are kept in the folder `--keep`. The exit code is 1 if a process crashed, a file took more than 20 s of CPU time, or anything except a failure of the
photo occurred.
"""

import argparse
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.report import note, print_heading, print_table
from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.camera import camera_facts, short_text
from tagger.photos.containers import digest_photo
from tagger.photos.decoding import Pixels, Resize, decode_photo
from tagger.photos.files import read_photo
from tests.rig.mutations import broken, with_other_metadata
from tests.rig.odd_photos import small_photos

CPU_TIMEOUT_S = 20
"""The limit for one file. The kernel ends a process that takes longer."""
WALL_TIMEOUT_S = 300
"""The limit for one file, because a deadlock uses no CPU time."""
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
        if digest_photo(data) != digest_photo(bytes(bytearray(data))):
            raise Violation("two digests of the same bytes differ")
        facts = camera_facts(data)
        if abs(facts.latitude or 0) > 90 or abs(facts.longitude or 0) > 180:
            raise Violation(f"an impossible position: {facts}")
        if any(
            text is not None and text != short_text(text) for text in (facts.make, facts.model, facts.serial)
        ):
            raise Violation(f"an unprintable camera: {facts}")
        image = decode_photo(data, RESIZE, max_pixels=MAX_PIXELS)
    except PhotoFailed as failed:
        kind, text = failed.failure.kind, failed.failure.text
        if kind in (FailureKind.INTERNAL, FailureKind.GONE, FailureKind.UNREADABLE):
            raise Violation(f"{kind}: {text}") from failed
        if not text.isprintable() or not text.endswith(".") or len(text) > MAX_TEXT:
            raise Violation(f"an unreadable text: {text!r}") from failed
        return str(kind)
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
        for path in sorted(folder.resolve().rglob("*"))
        if path.is_file() and 0 < path.stat().st_size <= MAX_SAMPLE_BYTES
    ]
    return drawn * max(1, len(files) // len(drawn)) + files


def _pixels(data: bytes) -> Pixels:
    return decode_photo(data, RESIZE, max_pixels=MAX_PIXELS).pixels


class Report(NamedTuple):
    """What a child process says of one file."""

    name: str
    outcome: str
    violation: str
    seconds: float
    peak_mib: float


def main() -> None:
    """Corrupt photos and read them."""
    parser = argparse.ArgumentParser(prog="python -m tests.rig.fuzz", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--files", type=int, default=20_000, help="files to corrupt [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="[%(default)s]")
    parser.add_argument("--processes", type=int, default=2, help="child processes [%(default)s]")
    keep = Path("build") / "fuzz"
    parser.add_argument("--keep", type=Path, default=keep, help="folder for violations [%(default)s]")
    args = parser.parse_args()
    print_heading("Fuzzing")
    start = time.monotonic()
    shares = [range(first, args.files, args.processes) for first in range(args.processes)]
    with ThreadPoolExecutor(args.processes) as threads:
        parts = list(threads.map(partial(_read_files, args), shares))
    reports = [report for part in parts for report in part]
    _print_results(reports, time.monotonic() - start)
    raise SystemExit(1 if any(report.violation for report in reports) else 0)


def _read_files(args: argparse.Namespace, numbers: Iterable[int]) -> list[Report]:
    """Let a child process read files; start another one when it has crashed, or was ended because it hung."""
    reports = []
    with tempfile.TemporaryDirectory(prefix="tagger-fuzz-") as folder, ExitStack() as stack:
        file = Path(folder) / "photo"
        child: ProcessPoolExecutor | None = None
        for number in numbers:
            if child is None:
                child = ProcessPoolExecutor(1, get_context("spawn"), _start_child, (args.folders,))
                stack.enter_context(child)
            try:
                report = child.submit(_read_sample, number, args.seed, file).result()
            except BrokenProcessPool:
                child = None
                report = Report(str(number), "crash or hang", "crash or hang", 0.0, 0.0)
            if report.violation:
                args.keep.mkdir(parents=True, exist_ok=True)
                kept = args.keep / f"seed-{args.seed}-{number:06}"
                kept.write_bytes(file.read_bytes() if file.exists() else b"")
                report = report._replace(violation=f"{report.violation}: {kept}, from {report.name}")
            reports.append(report)
            if len(reports) % 1000 == 0:
                note(f"{len(reports)} files in each process")
    return reports


def _print_results(reports: Sequence[Report], wall_s: float) -> None:
    outcomes = Counter(report.outcome for report in reports)
    print_table(("outcome", "files"), [*sorted(outcomes.items()), ("**total**", len(reports))])
    slowest = max(reports, key=lambda report: report.seconds)
    peak_mib = max(report.peak_mib for report in reports)
    print(
        f"{wall_s:.0f} s; the slowest file, {slowest.name}, took {slowest.seconds:.2f} s. A process had at most {peak_mib:.0f} MiB.\n"
    )
    for report in reports:
        if report.violation:
            print(f"- **problem**: {report.violation}")


_samples: list[tuple[str, bytes]] = []
"""The photos that a child process corrupts."""


def _start_child(folders: Iterable[Path]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # decoders print what is broken
    _samples.extend(load_samples(folders))


def _read_sample(number: int, seed: int, file: Path) -> Report:
    """Corrupt and read the sample with this number, within the time for one file."""
    rng = random.Random(f"{seed} {number}")
    name, data = rng.choice(_samples)
    file.write_bytes(broken(data, [other for _, other in _samples], rng))
    cpu_s = math.ceil(time.process_time()) + CPU_TIMEOUT_S
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, resource.RLIM_INFINITY))
    signal.alarm(WALL_TIMEOUT_S)
    start = time.perf_counter()
    outcome, violation = _outcome(file, data, rng)
    seconds = time.perf_counter() - start
    signal.alarm(0)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Report(f"{name} ({number})", outcome, violation, seconds, peak_mib)


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
