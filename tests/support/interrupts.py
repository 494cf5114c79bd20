"""Ctrl-C, and the end of the terminal, for tests that are started in the background.

Shells start background jobs (`&` in a script, `nohup`) with SIGINT or SIGHUP ignored. Child processes inherit
this, so those that a test ends with such a signal would run on.
"""

import signal


def accept_interrupts() -> None:
    """Let this process, and those that it starts, end on SIGINT and SIGHUP as in a terminal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
