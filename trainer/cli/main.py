"""The console script `trainer`. The commands are imported inside, where they can be interrupted."""

from tagger.processes import (
    open_closed_streams,
    quiet_threads,
    run_interruptible,
)


def main() -> None:
    open_closed_streams()
    quiet_threads()
    run_interruptible(_run, "finished work is kept")


def _run() -> None:
    from trainer.cli.program import run

    run()
