"""The console script `tagger`. The commands are imported inside, where they can be interrupted.

As a module, `python -m tagger.cli.main worker`, a command ends with the process that started it, which holds
the other end of its standard input, a socket. When the parent ends, even by SIGKILL, the system closes it,
and the command stops as after SIGTERM.
"""

import gc
import os
import signal
import socket
import threading
from contextlib import suppress

from tagger.system.interruption import open_closed_streams, run_interruptible
from tagger.system.process import postpone_collection, quiet_threads

STDIN = 0


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


def _follow_parent() -> None:
    """Wait until the parent ends."""
    with suppress(OSError), socket.socket(fileno=os.dup(STDIN)) as parent:
        parent.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    main()
