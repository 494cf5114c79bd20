"""The console script `tagger`. The commands are imported inside, where they can be interrupted.

As a module, `python -m tagger.cli.main worker`, a command ends with the process that started it (see
processes.lifeline).
"""

import gc

from tagger.processes.interruption import open_closed_streams, run_interruptible
from tagger.processes.process import postpone_collection, quiet_threads


def main() -> None:
    """Run the command of the command line."""
    open_closed_streams()
    postpone_collection()
    quiet_threads()
    try:
        run_interruptible(_run, "no work is lost. Run the same command again to continue")
    finally:
        gc.freeze()  # Python would search all modules for cycles before it ends: a quarter of `tagger query`


def _run() -> None:
    from tagger.cli.program import run

    run()


if __name__ == "__main__":
    from tagger.processes.lifeline import follow_parent

    follow_parent()
    main()
