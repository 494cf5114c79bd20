"""Which batch size and how many threads suit a CPU: the tagger's own pipeline, without a database.

    python -m bench.batches FOLDER [--batch-sizes 8,16,32] [--threads 1,2] [--readers 1,2] [--rounds 3]

Every combination is a process of its own, for what the allocator and OpenMP remember. `--model-only` leaves reading
and decoding out. Other settings come from the environment, as OMP_WAIT_POLICY does, or MALLOC_MMAP_THRESHOLD_ (GNU).
"""

import argparse
import itertools
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.copies import photos_in
from bench.processes import run
from bench.report import median, note, print_heading, print_table, spread

if TYPE_CHECKING:
    from tagger.model import Model
    from tagger.reading import Answer

SHIPPED = Path(__file__).parent.parent / "tagger" / "shipped" / "landmarks.pt"
MAX_BYTES, MAX_PIXELS = 512 * 2**20, 250_000_000
MODEL_ONLY_IMAGES = 256


@dataclass(frozen=True)
class Way:
    """One combination: images per forward pass, the model's threads, reader threads (0: the model alone)."""

    batch_size: int
    threads: int
    readers: int


@dataclass(frozen=True)
class Cost:
    """What one run cost, its start left out. `faults`: pages that had to be given anew."""

    photos_per_s: float
    cpu_ms: float
    system_ms: float
    faults: float
    peak_mib: float


def main() -> None:
    """Try batch sizes and threads on this CPU."""
    asked = _arguments()
    if asked.one:
        print(json.dumps(asdict(cost(Way(*asked.one), asked.folder))))
        return
    print_heading("Batch sizes and threads")
    readers = [0] if asked.model_only else asked.readers
    ways = [Way(*numbers) for numbers in itertools.product(asked.batch_sizes, asked.threads, readers)]
    costs: dict[Way, list[Cost]] = {way: [] for way in ways}
    for number, way in itertools.product(range(asked.rounds), ways):
        note(f"round {number + 1}: {way}")
        costs[way].append(_in_its_own_process(way, asked.folder))
    _print(costs)


def cost(way: Way, folder: Path) -> Cost:
    """Measure one combination in this process."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    model = _model(way)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    count = _run_pipeline(model, photos_in(folder), way.readers) if way.readers else _run_model(model)
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    system_s = after.ru_stime - before.ru_stime
    return Cost(
        photos_per_s=count / wall_s,
        cpu_ms=(after.ru_utime - before.ru_utime + system_s) * 1000 / count,
        system_ms=system_s * 1000 / count,
        faults=(after.ru_minflt - before.ru_minflt) / count,
        peak_mib=after.ru_maxrss / 1024,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.batches", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    for name, default in (("--batch-sizes", "8,16,32"), ("--threads", "1,2"), ("--readers", "1,2")):
        parser.add_argument(name, type=_numbers, default=_numbers(default), help=f"[{default}]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model-only", action="store_true")
    parser.add_argument("--one", type=_numbers, help=argparse.SUPPRESS)
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _in_its_own_process(way: Way, folder: Path) -> Cost:
    numbers = f"{way.batch_size},{way.threads},{way.readers}"
    done = run([sys.executable, "-m", "bench.batches", folder, "--one", numbers], os.environ)
    return Cost(**json.loads(done.checked().out))


def _model(way: Way) -> "Model":
    from tagger.artifact import file_digest, read_manifest
    from tagger.devices import choose_device
    from tagger.model import load_model

    device = choose_device("cpu", way.batch_size)
    return load_model(SHIPPED, file_digest(SHIPPED), read_manifest(SHIPPED), device, threads=way.threads)


def _run_model(model: "Model") -> int:
    import numpy as np

    size = model.manifest.input.size
    noise = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    runs = max(2, MODEL_ONLY_IMAGES // model.batch_size)
    for _ in range(runs):
        model.scores([noise] * model.batch_size)
    return runs * model.batch_size


def _run_pipeline(model: "Model", files: Sequence[Path], readers: int) -> int:
    from tagger.pipeline import Pipeline
    from tagger.reading import Limits, Request

    pipeline = Pipeline(model, Limits(readers, MAX_BYTES, MAX_PIXELS))
    sink = _Counting(len(files))
    for file in files:
        pipeline.submit(Request(file, sink))
    sink.finished.wait()
    pipeline.close()
    return len(files)


class _Counting:
    """A sink that stores nothing."""

    top_k = 5
    threshold = 0.5

    def __init__(self, expected: int) -> None:
        self._left = expected
        self._lock = threading.Lock()
        self.finished = threading.Event()

    def is_known(self, digest: str) -> bool:  # noqa: ARG002 - the pipeline's protocol
        return False

    def deliver(self, answers: "Sequence[Answer]") -> None:
        with self._lock:
            self._left -= len(answers)
            if not self._left:
                self.finished.set()

    def broken(self, error: Exception) -> None:
        raise SystemExit(f"the model failed: {error}")


def _print(costs: dict[Way, list[Cost]]) -> None:
    names = (
        "batch",
        "model threads",
        "readers",
        "photos/s",
        "least to greatest",
        "CPU ms/photo",
        "of it system",
        "page faults/photo",
        "peak MiB",
    )
    print_table(names, [_row(way, each) for way, each in costs.items()])


def _row(way: Way, costs: Sequence[Cost]) -> list[object]:
    rates = [cost.photos_per_s for cost in costs]
    return [
        way.batch_size,
        way.threads,
        way.readers or "-",
        median(rates),
        spread(rates),
        median(cost.cpu_ms for cost in costs),
        median(cost.system_ms for cost in costs),
        round(median(cost.faults for cost in costs)),
        round(median(cost.peak_mib for cost in costs)),
    ]


if __name__ == "__main__":
    main()
