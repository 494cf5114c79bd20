"""When Python's garbage collector looks for cycles of objects that nothing else refers to."""

import gc

THRESHOLD = 2000
"""New objects after which it looks at them: Python 3.13's default."""


def postpone_collection() -> None:
    """Collect hardly anything while a program starts: imports make 200,000 objects and no cycles, but a tenth of the start would be collection."""
    gc.set_threshold(100 * THRESHOLD)


def resume_collection() -> None:
    """Collect as usual what is made from now on. Processes that run long call it: they would keep the pixels of photos that failed."""
    gc.freeze()
    gc.set_threshold(THRESHOLD)
