"""The console script `tagger`. The commands are imported inside, where they can be interrupted.

As a module, `python -m tagger.cli.main worker`, a command ends with the process that started it (see
processes.pool).
"""

import gc
import sys

from tagger.processes import (
    open_closed_streams,
    postpone_collection,
    quiet_threads,
    run_interruptible,
)

# Commands that are watched from their start: their imports, too, may hold the interpreter's lock
# for good. Those of others are over sooner without the watch.
WATCHED = frozenset({"beat", "serve", "tag", "up", "watch", "worker"})


def main() -> None:
    open_closed_streams()
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if WATCHED.intersection(words[:1]):
        from tagger.processes.stall import watch_start

        watch_start()
    postpone_collection()
    quiet_threads()
    try:
        run_interruptible(
            _run, "no work is lost. Run the same command again to continue"
        )
    finally:
        # Commands are watched from their start, or since they have opened a database.
        if "tagger.processes.stall" in sys.modules:
            from tagger.processes.stall import unwatch

            unwatch()
        gc.freeze()  # Python would search all modules for cycles before it ends: a quarter of `tagger query`


def _run() -> None:
    from tagger.cli.program import run

    run()


if __name__ == "__main__":
    from tagger.processes.pool import follow_parent

    follow_parent()
    main()
