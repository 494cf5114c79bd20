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
from typing import TYPE_CHECKING

import numpy as np
import psutil

from bench.models import SHIPPED, load_model
from bench.report import print_heading, print_table

if TYPE_CHECKING:
    from tagger.inference.model import Model

PASSES = 4


def main() -> None:
    """Print what each step adds to the memory of a worker."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle_memory", description=main.__doc__)
    parser.add_argument("--backend", choices=("auto", "torchscript", "openvino"), default="auto")
    backend = parser.parse_args().backend
    rows: list[tuple[str, float, float, float]] = []

    def step(name: str, action: Callable[[], object]) -> None:
        before_mib = rows[-1][1] if rows else 0.0
        action()
        memory = psutil.Process().memory_full_info()
        rss_mib, pss_mib = memory.rss / 2**20, memory.pss / 2**20
        rows.append((name, rss_mib, pss_mib, rss_mib - before_mib))

    step("Python, numpy", lambda: None)
    step("import celery, redis", lambda: [import_module(name) for name in ("celery", "redis")])
    step("import sqlalchemy, alembic", lambda: [import_module(name) for name in ("sqlalchemy", "alembic")])
    step("import torch", _import_torch)
    step(
        "import tagger, worker",
        lambda: [import_module(name) for name in ("tagger.processing.executor", "worker.engine")],
    )
    models: list[Model] = []

    def load() -> None:
        models.clear()
        models.append(load_model(SHIPPED, Path(folder), backend=None if backend == "auto" else backend))

    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder:
        step("load the model with backend selection", load)
        step("load it again with the cached selection", load)
        step(f"classify {PASSES} batches", lambda: _classify(models[0]))
        step("release memory", models[0].free_memory)
    print_heading(
        f"An idle worker's memory: torch {import_module('torch').__version__}, {models[0].backend_name}"
    )
    print_table(("after", "RSS MiB", "PSS MiB", "RSS added"), rows)


def _import_torch() -> None:
    from tagger.inference.devices import quiet_threads

    quiet_threads()
    import_module("torch")


def _classify(model: "Model") -> None:
    size = model.manifest.input.size
    blank = np.zeros((size, size, 3), dtype=np.uint8)
    for _ in range(PASSES):
        model.predict([blank] * model.batch_size)


if __name__ == "__main__":
    main()
