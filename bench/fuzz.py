"""Broken photos by the thousand through everything that reads them: what the tagger makes of each, and at what cost.

    python -m bench.fuzz [FOLDER…] --files 20000 --seed 1

Breaks small drawn photos of every format, and the files of the folders, each in its own way that the seed decides.
Child processes read them, so that a photo that takes its process down is seen; what went wrong is kept in `--keep`,
and `python -m bench.fuzz --again FILE` reads such a file once more. Ends with code 1 where a process crashed, a file
took more than 20 s of a processor, or anything but a photo's own failure came out.
"""

import argparse
import json
import os
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
from bench.process_tree import cpu_seconds
from bench.report import note, print_heading, print_table
from tagger.errors import FailureKind, PhotoFailed
from tagger.images import Pixels, Resize, decode_photo
from tagger.metadata.camera import camera_facts
from tagger.photos import digest_photo, read_photo
from tests.support.mutations import broken, with_other_metadata
from tests.support.odd_photos import small_photos

HANG_S = 20.0
"""Of a processor's time, for one file."""
SLEEP_S = 300.0
"""Of any time, so that waiting for ever is seen too."""
START_S = 60.0
LARGEST_VICTIM_BYTES = 2 * 2**20
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
RESIZE = Resize(short_side=256, size=224)
SHOWN = "shown"
WARM_UP_FILES = 300
SLOWEST = 10
METADATA_SHARE = 0.1
"""Of how many files the unbroken original is also read with other metadata."""


class Wrong(Exception):
    """Reading a photo did something that no photo may make it do."""


def examine(path: Path) -> str:
    """All that reading does, on one file: `shown`, or the kind of its failure.

    Raises:
        Wrong: the digest differs from itself, a failure that blames the program, or a senseless text.
    """
    try:
        data = read_photo(path, max_bytes=MAX_BYTES).data
        _check_facts(data)
        image = decode_photo(data, RESIZE, max_pixels=MAX_PIXELS)
    except PhotoFailed as failed:
        return _kind(failed)
    if image.pixels.shape != (RESIZE.size, RESIZE.size, 3) or min(image.width, image.height) < 1:
        raise Wrong(f"pixels of shape {image.pixels.shape} for {image.width} x {image.height}")
    return SHOWN


def examine_metadata(data: bytes, chance: random.Random) -> None:
    """A picture that can be shown stays the same picture when something is written beside it.

    Raises:
        Wrong: it does not.
    """
    dressed = with_other_metadata(data, chance)
    try:
        shown = _pixels(data)
    except PhotoFailed:
        return
    if dressed is None:
        return
    if digest_photo(dressed) != digest_photo(data):
        raise Wrong("metadata changed the digest")
    if not np.array_equal(_pixels(dressed), shown):
        raise Wrong("metadata changed the pixels")


def _check_facts(data: bytes) -> None:
    digest = digest_photo(data)
    if digest != digest_photo(bytes(bytearray(data))):
        raise Wrong("two digests of the same bytes differ")
    facts = camera_facts(data)
    if abs(facts.latitude or 0) > 90 or abs(facts.longitude or 0) > 180:
        raise Wrong(f"a position that is none: {facts}")


def _kind(failed: PhotoFailed) -> str:
    kind, text = failed.failure.kind, failed.failure.text
    if kind in (FailureKind.INTERNAL, FailureKind.GONE, FailureKind.UNREADABLE):
        raise Wrong(f"{kind}: {text}")
    if not text.isprintable() or not text.endswith(".") or len(text) > 400:
        raise Wrong(f"a text that nobody can read: {text!r}")
    return str(kind)


def _pixels(data: bytes) -> Pixels:
    return decode_photo(data, RESIZE, max_pixels=MAX_PIXELS).pixels


# --- the parent: hands out numbers, and watches


@dataclass
class Tally:
    """What became of the files so far, of all children together."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    memory: list[list[float]] = field(default_factory=list)
    files: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Numbers:
    """Numbers of files, each handed out once."""

    def __init__(self, count: int) -> None:
        self._left = iter(range(count))
        self._lock = threading.Lock()

    def next(self) -> int | None:
        with self._lock:
            return next(self._left, None)


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line."""

    folders: Sequence[Path]
    files: int
    seed: int
    processes: int
    keep: Path


def main() -> None:
    """Break photos in many ways and read them all."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--files", type=int, default=20_000, help="how many to break (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides how (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="that read them (%(default)s)")
    parser.add_argument(
        "--keep", type=Path, default=Path("build/fuzz"), help="for what goes wrong (%(default)s)"
    )
    parser.add_argument("--again", type=Path, help="read one file once more, and nothing else")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.again:
        print(examine(asked.again))
    elif asked.child:
        _serve(asked.folders, asked.seed)
    else:
        raise SystemExit(
            _fuzz(Asked(asked.folders, asked.files, asked.seed, max(1, asked.processes), asked.keep))
        )


def _fuzz(asked: Asked) -> int:
    print_heading("Fuzzing")
    tally, numbers = Tally(), Numbers(asked.files)
    began = time.monotonic()
    threads = [threading.Thread(target=_watch, args=(asked, numbers, tally)) for _ in range(asked.processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _report(tally, time.monotonic() - began)
    return 1 if tally.wrong or tally.files < asked.files else 0


def _watch(asked: Asked, numbers: Numbers, tally: Tally) -> None:
    """Have one child read until there are no more numbers; start another where one crashed or hung."""
    with tempfile.TemporaryDirectory(prefix="tagger-fuzz-") as folder:
        child: _Child | None = None
        while (number := numbers.next()) is not None:
            child = child or _Child(asked, Path(folder) / "photo")
            if not child.read(number, tally):
                child.end(tally)
                child = None
        if child:
            child.end(tally)


class _Child:
    """One process that breaks and reads the photos whose numbers it is told."""

    def __init__(self, asked: Asked, place: Path) -> None:
        self._asked, self._place = asked, place
        self.memory: list[float] = []
        command = [
            sys.executable,
            "-m",
            "bench.fuzz",
            "--child",
            "--seed",
            str(asked.seed),
            *map(str, asked.folders),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )

    def end(self, tally: Tally) -> None:
        """End the process, if it has not ended by itself, and leave its figures."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        with tally.lock:
            tally.memory.append(self.memory)

    def read(self, number: int, tally: Tally) -> bool:
        """Have one photo read; whether the child can go on."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):  # it has crashed: that shows in its answer
            self._process.stdin.write(f"{number} {self._place}\n".encode())
        answered = self._answers()
        line = self._process.stdout.readline() if answered else b""
        with tally.lock:
            tally.files += 1
            if tally.files % 2000 == 0:
                note(f"{tally.files} files, {len(tally.wrong)} wrong")
            if not line:
                what = f"crash (code {self._process.wait()})" if answered else "hang"
                tally.outcomes[what] += 1
                tally.wrong.append(f"{what}: {self._kept(number)}")
                return False
            self._note(json.loads(line), number, tally)
        return True

    def _answers(self) -> bool:
        """Wait for an answer, or for the end; false if it works on one file for too long, or sleeps."""
        began, began_cpu_s = time.monotonic(), cpu_seconds(self._process.pid)
        start_s = START_S if not self.memory else 0.0
        while not select.select([self._process.stdout], [], [], 0.5)[0]:
            if cpu_seconds(self._process.pid) - began_cpu_s > HANG_S + start_s:
                return False
            if time.monotonic() - began > SLEEP_S:
                return False
        return True

    def _note(self, document: dict[str, object], number: int, tally: Tally) -> None:
        self.memory.append(float(str(document["memory_mib"])))
        tally.outcomes[str(document["outcome"])] += 1
        tally.slowest = sorted([*tally.slowest, (float(str(document["seconds"])), str(document["name"]))])[
            -SLOWEST:
        ]
        if document["wrong"]:
            tally.wrong.append(f"{document['wrong']}: {self._kept(number)}, from {document['name']}")

    def _kept(self, number: int) -> str:
        self._asked.keep.mkdir(parents=True, exist_ok=True)
        kept = self._asked.keep / f"seed-{self._asked.seed}-{number:06}"
        kept.write_bytes(self._place.read_bytes() if self._place.exists() else b"")
        return str(kept)


def _report(tally: Tally, wall_s: float) -> None:
    print(f"{tally.files} files in {wall_s:.0f} s.\n")
    print_table(
        ("outcome", "files"), [*sorted(tally.outcomes.items()), ("**total**", tally.outcomes.total())]
    )
    print_table(("slowest", "seconds"), [(name, seconds) for seconds, name in reversed(tally.slowest)])
    rows = [
        (f"process {k}", seen[min(WARM_UP_FILES, len(seen) - 1)], max(seen), seen[-1], len(seen))
        for k, seen in enumerate(tally.memory, start=1)
        if seen
    ]
    print_table(("resident MiB", f"after {WARM_UP_FILES} files", "most", "at the end", "files"), rows)
    for wrong in tally.wrong:
        print(f"- **wrong**: {wrong}")


# --- the child


def _serve(folders: Iterable[Path], seed: int) -> None:
    victims = victims_of(folders)
    for line in sys.stdin:
        number, _, place = line.rstrip("\n").partition(" ")
        chance = random.Random(f"{seed} {number}")
        name, data = chance.choice(victims)
        path = Path(place)
        path.write_bytes(broken(data, [other for _, other in victims], chance))
        began = time.perf_counter()
        outcome, wrong = _outcome(path, data, chance)
        document = {
            "name": f"{name} ({number})",
            "outcome": outcome,
            "wrong": wrong,
            "seconds": time.perf_counter() - began,
            "memory_mib": _resident_mib(),
        }
        print(json.dumps(document), flush=True)


def _outcome(path: Path, whole: bytes, chance: random.Random) -> tuple[str, str]:
    try:
        outcome = examine(path)
        if chance.random() < METADATA_SHARE:
            examine_metadata(whole, chance)
    except Exception as error:  # noqa: BLE001 - that nothing else comes out is what is asked here
        return type(error).__name__, f"{type(error).__name__}: {error}"[:300]
    return outcome, ""


def victims_of(folders: Iterable[Path]) -> list[tuple[str, bytes]]:
    """What is to be broken: the drawn photos, as often as the files of the folders together, and those."""
    drawn = sorted(small_photos().items())
    found = [
        (f"{path.parent.name}/{path.name}", path.read_bytes())
        for folder in folders
        for path in files_in(folder)
        if path.is_file() and 0 < path.stat().st_size <= LARGEST_VICTIM_BYTES
    ]
    return drawn * max(1, len(found) // len(drawn)) + found


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
