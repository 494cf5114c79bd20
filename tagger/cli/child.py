"""A `tagger` command that ends with the process that started it: `python -m tagger.cli.child worker`.

The parent holds the other end of the command's standard input. When the parent ends, even by SIGKILL, the system closes
it, and the command stops as after SIGTERM.
"""

import os
import signal
import threading

STDIN = 0


def run() -> None:
    """Run the command of the command line."""
    threading.Thread(target=_stop_with_parent, name="parent", daemon=True).start()
    from tagger.cli.main import main

    main()


def _stop_with_parent() -> None:
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run()
