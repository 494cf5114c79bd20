"""What a program sets for its process: when Python collects garbage, and how the threads of engines wait."""

import gc
import os

THRESHOLD = 2000
"""New objects after which it looks at them: Python 3.13's default."""


def postpone_collection() -> None:
    """Collect hardly anything while a program starts: imports make 200,000 objects and no cycles, but a tenth of the start would be collection."""
    gc.set_threshold(100 * THRESHOLD)


def resume_collection() -> None:
    """Collect as usual what is made from now on. Processes that run long call it: they would keep the pixels of photos that failed."""
    gc.freeze()
    gc.set_threshold(THRESHOLD)


def quiet_threads() -> None:
    """Let no thread spin while it waits for work, on cores that others need. Entry points call it before they import numpy or torch.

    OpenMP's threads sleep between forward passes. OpenBLAS gets none besides the caller's: its other threads spin for a tenth of a second
    when numpy is imported, and again after each product.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
