"""How the C library hands out memory, where that decides how fast a CPU trains."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_HELD_BYTES = 2**30


def keep_freed_memory() -> None:
    """Let the process keep up to a gigabyte that it has freed, on Linux with glibc; elsewhere nothing is done.

    Every step of training frees and asks again for the same large blocks. By default each goes back to the system and
    comes back as empty pages, which costs a seventh of the time.
    """
    if sys.platform != "linux":
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _HELD_BYTES)
        set_option(_TRIM_THRESHOLD, _HELD_BYTES)
