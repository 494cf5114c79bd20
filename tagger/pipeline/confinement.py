"""Takes from a process everything that decoding a photo does not need: files, network, other programs and processes.

A photo that takes over its decoder finds nothing there. Layers that the system lacks are left out; `tagger doctor` names
those that are active.
"""

import ctypes
import platform
import struct
from contextlib import suppress

from tagger.pipeline.landlock import give_up_access
from tagger.pipeline.seccomp import filter_system_calls

LIFETIME_CPU_S = 3600
"""The most processor time that the kernel gives the process. It is replaced before (see `is_due`)."""

_SET_DUMPABLE, _SET_NO_NEW_PRIVS = 4, 38
"""Operations of prctl."""
_CAPABILITY_VERSION_3 = 0x20080522


def confine() -> list[str]:
    """Confine this process permanently, once it has imported all that it needs. Returns the names of the active layers."""
    is_linux = platform.system() == "Linux"
    layers = []
    if is_linux:
        libc = ctypes.CDLL(None, use_errno=True)
        # Other processes of the user can then neither read this one's memory nor attach a debugger to it.
        libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if version := give_up_access():
            layers.append(f"Landlock {version}")
    if _limit_resources():  # after Landlock, which needs a descriptor
        layers.append("resource limits")
    if is_linux:
        _drop_capabilities(libc)
        if filter_system_calls():
            layers.append("seccomp")
    return sorted(layers)


def limit_cpu(more_s: float) -> None:
    """Let the kernel end this process once it has used this much more processor time, unless it is called again.

    The parent ends a process that takes too long. This holds when the parent hangs or is gone. (PR_SET_PDEATHSIG would also
    end a process whose parent lives, when the thread that started it ends.)
    """
    with suppress(ImportError, OSError, ValueError):
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        limit_s = int(usage.ru_utime + usage.ru_stime + more_s) + 1
        _, most_s = resource.getrlimit(resource.RLIMIT_CPU)
        if most_s != resource.RLIM_INFINITY:
            limit_s = min(limit_s, most_s)
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, most_s))


def is_due(cpu_s: float) -> bool:
    """Whether a process that has used this much processor time should be replaced, before its limit ends it."""
    return cpu_s > LIFETIME_CPU_S / 2


def _limit_resources() -> bool:
    """Allow no new descriptor, no file content, no core dump.

    Without a descriptor, a process can open no file and no socket. RLIMIT_NPROC is left alone: threads count too.
    """
    try:
        import resource
    except ImportError:
        return False
    for name, most in ((resource.RLIMIT_NOFILE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(name, (most, most))
    _, most_s = resource.getrlimit(resource.RLIMIT_CPU)
    life_s = LIFETIME_CPU_S if most_s == resource.RLIM_INFINITY else min(LIFETIME_CPU_S, most_s)
    resource.setrlimit(resource.RLIMIT_CPU, (life_s, life_s))
    return True


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Without them, limits and permissions bind root like any user."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    libc.capset(header, bytes(24))
