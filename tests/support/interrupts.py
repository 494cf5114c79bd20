"""Ctrl-C for tests that are started in the background.

Shells start background jobs (`&` in a script, `nohup`) with SIGINT ignored. Child processes inherit this, so those that a test
interrupts would run on.
"""

import signal


def accept_interrupts() -> None:
    """Let this process, and those that it starts, end on SIGINT as in a terminal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
