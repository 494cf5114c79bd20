"""Calls a function of C unless it is renewed in time, also where no Python runs any more.

A POSIX timer expires STEPS times within the limit. Each time, C takes a character from a stream, in a thread
of its own; `renew` fills the stream, and to read beyond its end is to call the function. While a process is
stopped (Ctrl-Z, a paused container, a debugger), all expirations become one, so this time does not count. For
the timer of `faulthandler`, it does.
"""

import ctypes
import fcntl
import os
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_long, c_void_p, cast
from functools import cache

# The GNU library and musl accept so many characters that are put back into a stream.
STEPS = 7
_CLOCK_MONOTONIC = 1
_SIGEV_THREAD = 2


class _StreamFunctions(Structure):
    _fields_ = (("read", c_void_p), ("write", c_void_p), ("seek", c_void_p), ("close", c_void_p))


class _Event(Structure):
    """`struct sigevent`, whose size is 64 bytes."""

    _fields_ = (
        ("value", c_void_p),
        ("signal", c_int),
        ("notify", c_int),
        ("function", c_void_p),
        ("attributes", c_void_p),
        ("reserved", c_void_p * 4),
    )


class _Interval(Structure):
    """`struct itimerspec`: the time between expirations, and until the first one."""

    _fields_ = (("interval_s", c_long), ("interval_ns", c_long), ("first_s", c_long), ("first_ns", c_long))


_SIGNATURES = {
    "fopencookie": (c_void_p, (c_void_p, c_char_p, _StreamFunctions)),
    "fgetc": (c_int, (c_void_p,)),
    "ungetc": (c_int, (c_int, c_void_p)),
    "__fpurge": (None, (c_void_p,)),
    "flockfile": (None, (c_void_p,)),
    "funlockfile": (None, (c_void_p,)),
    "timer_create": (c_int, (c_int, POINTER(_Event), POINTER(c_void_p))),
    "timer_settime": (c_int, (c_void_p, c_int, POINTER(_Interval), c_void_p)),
    "timer_delete": (c_int, (c_void_p,)),
}


@cache
def _library() -> ctypes.CDLL:
    """The C library.

    Raises:
        AttributeError: it lacks a function, as on macOS.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Countdown:
    """Calls the C function `name`, whose first argument is `number`, if `renew` is not called for `limit_s`.

    It may take one step longer, or none if an expiration comes with a renewal. Further arguments are a buffer
    and its size, as for `read`.

    Raises:
        AttributeError, OSError: this system lacks what is needed.
    """

    def __init__(self, limit_s: float, name: str, number: int) -> None:
        library = _library()
        functions = _StreamFunctions(read=_address(library[name]))
        self._stream = library.fopencookie(number, b"r", functions)
        event = _Event(value=self._stream, notify=_SIGEV_THREAD, function=_address(library.fgetc))
        self._timer = c_void_p()
        if library.timer_create(_CLOCK_MONOTONIC, byref(event), byref(self._timer)):
            raise OSError(ctypes.get_errno(), "timer_create")
        step_s, step_ns = divmod(round(limit_s * 1e9 / STEPS), 10**9)
        self._interval = _Interval(step_s, step_ns, step_s, step_ns)
        self.renew()

    def renew(self) -> None:
        """Begin the time again."""
        library = _library()
        library.timer_settime(self._timer, 0, byref(self._interval), None)
        library.flockfile(self._stream)  # else a thread that has just begun may find it empty
        getattr(library, "__fpurge")(self._stream)
        for _ in range(STEPS):
            library.ungetc(0, self._stream)
        library.funlockfile(self._stream)

    def close(self) -> None:
        """Call nothing any more. The stream stays, since a thread that has just begun may read it."""
        _library().timer_delete(self._timer)


class SignallingPipe:
    """A pipe. Who writes into it as `writer` sends this process a signal.

    Raises:
        AttributeError, OSError: this system lacks what is needed.
    """

    def __init__(self, signal: int) -> None:
        self._reader, self.writer = _pipe()
        os.set_blocking(self.writer, False)
        fcntl.fcntl(self._reader, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._reader, fcntl.F_SETSIG, signal)
        fcntl.fcntl(self._reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)

    def clear(self) -> bool:
        """Remove what was written; returns whether something was."""
        try:
            return bool(os.read(self._reader, 2**16))
        except BlockingIOError:
            return False


@cache
def _pipe() -> tuple[int, int]:
    """It is never closed: its number could become a photo's, into which C would then write."""
    return os.pipe()


def _address(function: object) -> int | None:
    return cast(function, c_void_p).value  # type: ignore[arg-type]
