"""The memory of an idle CPU worker, step by step: imports, backend selection, loading the model, releasing memory.

    python -m bench.idle_memory [--backend auto|torchscript|openvino]

Each step runs in one process; the table shows its RSS and PSS afterwards. A large part is `import torch`: the build with CUDA
loads its libraries and registers its kernels on machines without a GPU too.
"""

import argparse
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from bench.limits import SHIPPED
from bench.report import print_heading, print_table

SMAPS = Path("/proc/self/smaps_rollup")
PASSES = 4


def main() -> None:
    """Print what each step adds to the memory of a worker."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle_memory", description=main.__doc__)
    parser.add_argument("--backend", choices=("auto", "torchscript", "openvino"), default="auto")
    backend = parser.parse_args().backend
    rows: list[tuple[object, ...]] = []

    def step(name: str, action: Callable[[], object]) -> None:
        before_mib = rows[-1][1] if rows else 0
        action()
        rss_mib, pss_mib = memory_mib()
        rows.append((name, rss_mib, pss_mib, rss_mib - before_mib))  # type: ignore[operator]

    step("Python, numpy", lambda: None)
    step("import celery, redis", lambda: [import_module(name) for name in ("celery", "redis")])
    step("import sqlalchemy, alembic", lambda: [import_module(name) for name in ("sqlalchemy", "alembic")])
    step("import torch", _import_torch)
    step(
        "import tagger, worker",
        lambda: [import_module(name) for name in ("tagger.processing.executor", "worker.engine")],
    )
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder:
        model = _ModelSteps(backend, Path(folder) / "backend-selections.json")
        step("load the model with backend selection", model.load)
        step("load it again by the stored choice", model.load)
        step(f"classify {PASSES} batches", model.classify)
        step("release memory", model.release)
    print_heading(
        f"An idle worker's memory: torch {import_module('torch').__version__}, {model.backend_name}"
    )
    print_table(("after", "RSS MiB", "PSS MiB", "RSS added"), rows)


def memory_mib() -> tuple[float, float]:
    """RSS and PSS of this process."""
    lines = (line.split() for line in SMAPS.read_text().splitlines()[1:])
    sizes = {fields[0]: int(fields[1]) / 1024 for fields in lines}
    return sizes["Rss:"], sizes["Pss:"]


def _import_torch() -> None:
    from tagger.inference.devices import quiet_threads

    quiet_threads()
    import_module("torch")


class _ModelSteps:
    """The shipped model on a CPU."""

    def __init__(self, backend: str, cache_file: Path) -> None:
        self._backend = backend
        self._cache_file = cache_file
        self.backend_name = ""

    def load(self) -> None:
        from tagger.inference.artifact import file_digest, read_manifest
        from tagger.inference.backends.protocol import BackendOptions
        from tagger.inference.devices import choose_device, passes_at_once
        from tagger.inference.model import load_fastest_model

        device = choose_device("cpu", None)
        name = None if self._backend == "auto" else self._backend
        options = BackendOptions(name, passes_at_once(device, None), None, self._cache_file)  # type: ignore[arg-type]
        self._model = None
        self._model = load_fastest_model(
            SHIPPED, file_digest(SHIPPED), read_manifest(SHIPPED), device, options
        )
        self.backend_name = self._model.backend_name

    def classify(self) -> None:
        size = self._model.manifest.input.size
        blank = np.zeros((size, size, 3), dtype=np.uint8)
        for _ in range(PASSES):
            self._model.predict([blank] * self._model.batch_size)

    def release(self) -> None:
        self._model.free_memory()


if __name__ == "__main__":
    main()
