"""Measures the memory that decoding takes in a process of its own. Linux only.

    python -m tests.rig.decoding_memory SIDE THREADS BUDGET_BYTES SMALL_FILE LARGE_FILE

The first file loads the decoder's libraries. SIDE is the model's input in pixels.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from tagger.errors import PhotoFailed
from tagger.photos import decoding
from tagger.photos.decoding import Resize, decode_photo, raw_development
from tagger.photos.decoding.limits import MemoryBudget, trim_memory
from tagger.photos.decoding.raw_development import RAW_DEVELOPER

from .large_images import LARGE_IMAGES, Size

REPOSITORY = Path(__file__).parents[2]
SMALL = (96, 64)
MAX_PIXELS = 2**30
CLEAR_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class DecodingMemory:
    """What was counted for one image, and what decoding all took at most."""

    counted_bytes: int
    peak_bytes: int


def measure_decoding(
    kind: str, size: Size, *, side: int = 112, threads: int = 1, budget_bytes: int = 2**40
) -> DecodingMemory:
    """Decode an image of this kind (see large_images), in several threads if so told."""
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / "small", Path(name) / "large"]
        for file, each in zip(files, (SMALL, size), strict=True):
            file.write_bytes(LARGE_IMAGES[kind](each))
        options = [str(side), str(threads), str(budget_bytes)]
        command = [sys.executable, "-m", "tests.rig.decoding_memory", *options, *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return DecodingMemory(**json.loads(done.stdout))


class _CountingBudget(MemoryBudget):
    """Keeps the largest reservation."""

    largest_bytes = 0

    @contextmanager
    def reserve(self, needed_bytes: int) -> Iterator[None]:
        self.largest_bytes = max(self.largest_bytes, needed_bytes)
        with super().reserve(needed_bytes):
            yield


def _measure(small: Path, large: Path, side: int, threads: int, budget_bytes: int) -> DecodingMemory:
    failures: list[PhotoFailed] = []

    def decode_file(data: bytes) -> None:
        try:
            decode_photo(data, Resize(side * 8 // 7, side), max_pixels=MAX_PIXELS)
        except PhotoFailed as failure:
            failures.append(failure)

    RAW_DEVELOPER.load()
    decode_file(small.read_bytes())
    data = large.read_bytes()
    budget = _CountingBudget(budget_bytes)
    for module in (decoding, raw_development):
        module.MEMORY_BUDGET = budget
    trim_memory()
    CLEAR_PEAK.write_text("5")
    before = _status_bytes("VmRSS")
    readers = [Thread(target=decode_file, args=(data,)) for _ in range(threads)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    if failures:
        raise failures[0]
    # Short of memory, the system may have taken back pages of libraries meanwhile: these were not there at
    # the peak either.
    before = min(before, _status_bytes("VmRSS"))
    return DecodingMemory(budget.largest_bytes, _status_bytes("VmHWM") - before)


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    side, threads, budget_bytes = map(int, sys.argv[1:4])
    small, large = (Path(name) for name in sys.argv[4:])
    json.dump(vars(_measure(small, large, side, threads, budget_bytes)), sys.stdout)
