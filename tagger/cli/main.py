"""The console script `tagger`. The commands are imported inside, where they can be interrupted."""

from tagger.system.interruption import run_interruptible
from tagger.system.standard_streams import open_closed_streams


def main() -> None:
    """Run the command of the command line."""
    open_closed_streams()
    run_interruptible(_run, "no work is lost. Run the same command again to continue")


def _run() -> None:
    from tagger.cli.program import run

    run()
