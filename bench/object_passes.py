"""The pipeline over the photos of one folder or bucket, in a process of its own: the child of bench.objects.

Reads the names of programs from stdin, one a line, and prints the figures of each pass as JSON.
"""

import json
import queue
import resource
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from bench.models import MAX_BYTES, MAX_PIXELS, SHIPPED, load_model
from tagger.images import DecodedImage, Pixels, Resize
from tagger.inference.artifact import read_manifest
from tagger.inference.devices import core_count
from tagger.inference.model import Model
from tagger.inference.predictions import ImageOutput
from tagger.photos.files import PhotoBytes, PhotoVersion
from tagger.photos.folder_walk import FolderProblem, FoundPhoto
from tagger.photos.mounts import MountState
from tagger.photos.other_files import OtherFiles
from tagger.photos.source import PhotoSource, open_source
from tagger.pipeline.pipeline import Pipeline
from tagger.pipeline.requests import Limits, OpenPhoto, Request, RequestResult, open_bytes
from tagger.pipeline.results import Classified
from tagger.pipeline.sandbox import Sandbox

PROGRAMS = {"model": 1, "decode": 1, "read": 4}
"""How often a pass goes over the photos: reading alone is over too soon to be measured."""
RESULT_TIMEOUT_S = 120.0
LIMITS = Limits(core_count(), MAX_BYTES, MAX_PIXELS)


@dataclass(frozen=True)
class Pass:
    """What one pass took. `in_flight` is the largest number of reads at once, `peak_mib` that of the process so far."""

    photos: int
    wall_s: float
    cpu_s: float
    in_flight: int
    peak_mib: float


class CountedSource:
    """A source that counts the reads in flight."""

    def __init__(self, source: PhotoSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._in_flight = self.most_in_flight = 0
        self.location = source.location
        self.extra_reads = source.extra_reads

    def read(self, path: str, *, max_bytes: int, settle_s: float = 0.0) -> PhotoBytes:
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            return self._source.read(path, max_bytes=max_bytes, settle_s=settle_s)
        finally:
            with self._lock:
                self._in_flight -= 1

    def mount_state(self) -> MountState:
        return self._source.mount_state()

    def photos(
        self,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        other_files: OtherFiles | None = None,
    ) -> Iterator[FoundPhoto | FolderProblem]:
        return self._source.photos(include=include, exclude=exclude, other_files=other_files)

    def version(self, path: str) -> PhotoVersion | None:
        return self._source.version(path)

    def missing(self, paths: Collection[str]) -> set[str]:
        return self._source.missing(paths)


class FreeModel:
    """A model that costs nothing."""

    batch_size = 32
    at_once = 1

    def __init__(self) -> None:
        self.manifest = read_manifest(SHIPPED)

    def predict(self, images: Sequence[Pixels]) -> list[ImageOutput]:
        return [ImageOutput(np.zeros(1, np.float32), None)] * len(images)

    def free_memory(self) -> None:
        pass


class FreeDecoding:
    """Stands in for a sandbox, so that decoding costs nothing; photos are read and digested in this process."""

    threads: Collection[int] = frozenset()

    def open(self, photo: PhotoBytes, resize: Resize) -> OpenPhoto:
        blank = DecodedImage(np.zeros((resize.size, resize.size, 3), np.uint8), resize.size, resize.size)
        return replace(open_bytes(photo, resize, LIMITS), decode=lambda: blank)


class CountingSink:
    """Counts results."""

    top_k, threshold = 5, 0.5

    def __init__(self) -> None:
        self.results: queue.SimpleQueue[Sequence[RequestResult] | Exception] = queue.SimpleQueue()

    def is_classified(self, digest: str) -> bool:  # noqa: ARG002 - the protocol's
        return False

    def deliver(self, results: Sequence[RequestResult]) -> None:
        self.results.put(results)

    def fail(self, error: Exception) -> None:
        self.results.put(error)

    def wait_for(self, count: int) -> None:
        """Wait for so many results.

        Raises:
            SystemExit: a photo was not classified.
        """
        while count:
            delivery = self.results.get(timeout=RESULT_TIMEOUT_S)
            if isinstance(delivery, Exception):
                raise SystemExit(f"the pipeline failed: {delivery}")
            for request, result in delivery:
                if not isinstance(result, Classified):
                    raise SystemExit(f"{request.path}: {result}")
            count -= len(delivery)


def main() -> None:
    """Run a pass for each line of stdin."""
    location, cache_folder = sys.argv[1:]
    source = open_source(location)
    found = [
        (photo.path.name, photo.size_bytes) for photo in source.photos() if isinstance(photo, FoundPhoto)
    ]
    free = cast("Model", FreeModel())
    models = {"model": load_model(SHIPPED, Path(cache_folder)), "decode": free, "read": free}
    print(json.dumps(len(found)), flush=True)
    for line in sys.stdin:
        program = line.strip()
        sandbox = cast("Sandbox", FreeDecoding()) if program == "read" else None
        measured = _run(models[program], sandbox, source, found * PROGRAMS[program])
        print(json.dumps(asdict(measured)), flush=True)


def _run(
    model: Model, sandbox: Sandbox | None, source: PhotoSource, found: Sequence[tuple[str, int]]
) -> Pass:
    counted, sink = CountedSource(source), CountingSink()
    pipeline = Pipeline(model, LIMITS, sandbox)
    start, cpu_start = time.monotonic(), time.process_time()
    for name, size_bytes in found:
        pipeline.submit(Request(counted, name, sink, size_bytes=size_bytes))
    sink.wait_for(len(found))
    wall_s, cpu_s = time.monotonic() - start, time.process_time() - cpu_start
    pipeline.close()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Pass(len(found), wall_s, cpu_s, counted.most_in_flight, peak_mib)


if __name__ == "__main__":
    main()
