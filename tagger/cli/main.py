"""The console script `tagger`. The commands are imported inside, where they can be interrupted."""

import gc

from tagger.system.interruption import open_closed_streams, run_interruptible


def main() -> None:
    """Run the command of the command line."""
    open_closed_streams()
    gc.set_threshold(2000)  # Python 3.13's default: imports make many objects and no garbage
    try:
        run_interruptible(_run, "no work is lost. Run the same command again to continue")
    finally:
        gc.freeze()  # Python would search all imported modules for cycles before it ends: a quarter of `tagger query`


def _run() -> None:
    from tagger.cli.program import run

    run()
