"""Takes from a process what decoding a photo does not need: files, network, programs, processes, memory.

A photo that takes over its decoder finds nothing there, and one that needs too much memory ends its own
process, not the worker. Layers that the system lacks are left out. On Linux they are Landlock, with which a
process gives up all access by path, by port, and to processes outside, and a filter of system calls
(seccomp).

The filter is a list of allowed calls: a process that computes may use its memory, its pipes and its threads.
Calls that a new kernel or C library adds are refused with EPERM like all others, for which libraries are
prepared. The code is small, so it needs no library, which would have to be installed with the system.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tagger.model.devices import memory_limit

# System calls; their numbers are the same on all machines.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_GET_VERSION = 1
# How many rights to files the kernel knows, from each version on; each is a bit.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
# Binding and connecting TCP sockets.
_NETWORK_VERSION, _NETWORK_RIGHTS = 4, 0b11
# Abstract sockets and signals to processes outside.
_SCOPE_VERSION, _SCOPES = 6, 0b11
# Enough for Python, the decoders and a photo of a camera.
_LEAST_BYTES = 512 * 2**20
# The share of the machine's or the container's memory that may be used. The kernel needs some, too.
_SHARE = 0.9
# Addresses that libraries reserve for threads and never use.
_RESERVED_BYTES = 2**30
# Columns of /proc/self/statm: addresses in use, memory in use, and memory reserved for data.
_ADDRESSES, _RESIDENT, _DATA = 0, 1, 5


def confine() -> None:
    """Confine this process for good, once it has imported all it needs."""
    is_linux = platform.system() == "Linux"
    if is_linux:
        libc = ctypes.CDLL(None, use_errno=True)
        # Other processes of the user can then neither read this one's memory nor attach a debugger to it.
        libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _give_up_access()
    _limit_resources()  # after Landlock, which needs a descriptor
    if is_linux:
        # Without capabilities, limits and permissions bind root like any user.
        libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24))
        _filter_system_calls()


def is_due(cpu_s: float) -> bool:
    """Whether a process with this much processor time should be replaced, before its limit ends it."""
    return cpu_s > LIFETIME_CPU_S / 2


def memory_beside_this_process() -> int:
    """The memory of the machine or the container, in bytes, less what this process and the kernel take.

    The memory of other processes is not subtracted: what they take for a moment must not fail a photo.
    """
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (limit_bytes := memory_limit()) is not None:
        total_bytes = min(total_bytes, limit_bytes)
    return max(_LEAST_BYTES, int(_SHARE * total_bytes) - _statm_bytes(_RESIDENT))


def limit_memory(more_bytes: int) -> None:
    """Let allocations fail once this process has taken this much more, where the system has such a limit."""
    limit_data(more_bytes)
    # RLIMIT_DATA does not count shared memory.
    _limit("RLIMIT_AS", _statm_bytes(_ADDRESSES) + more_bytes + _RESERVED_BYTES)


def limit_data(more_bytes: int) -> None:
    """As `limit_memory`, without shared memory and mapped files."""
    # Libraries reserve much that they never use, for each core: it must not count.
    _limit("RLIMIT_DATA", _statm_bytes(_DATA) + more_bytes)


def _limit(name: str, limit_bytes: int) -> None:
    # Where the system lacks the limit, or a lower one holds already, nothing is to do.
    with suppress(OSError, ValueError):
        resource.setrlimit(getattr(resource, name), (limit_bytes, limit_bytes))


def _statm_bytes(column: int) -> int:
    # A column of /proc/self/statm, in bytes.
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[column])
    except OSError:
        return 0  # not Linux
    return pages * os.sysconf("SC_PAGE_SIZE")


def _limit_resources() -> None:
    # Allow no new descriptor, no file content, no core dump.
    #
    # Without a descriptor, a process can open no file and no socket. RLIMIT_NPROC stays: threads count.
    for name, most in (
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (most, most))
    _, most_s = resource.getrlimit(resource.RLIMIT_CPU)
    life_s = (
        LIFETIME_CPU_S
        if most_s == resource.RLIM_INFINITY
        else min(LIFETIME_CPU_S, most_s)
    )
    resource.setrlimit(resource.RLIMIT_CPU, (life_s, life_s))


def _give_up_access() -> None:
    # Give up access in this thread and those it starts, as far as the kernel knows Landlock.
    #
    # Open descriptors stay usable. The process must have set `no_new_privs`.
    libc = ctypes.CDLL(None, use_errno=True)
    version = int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _GET_VERSION))
    if version < 1:
        return
    # The kernel's `struct landlock_ruleset_attr`: all it knows is restricted, and no rule allows any.
    file_rights = max(
        count for since, count in _FILE_RIGHTS.items() if since <= version
    )
    fields = [(1 << file_rights) - 1]
    if version >= _NETWORK_VERSION:
        fields.append(_NETWORK_RIGHTS)
    if version >= _SCOPE_VERSION:
        fields.append(_SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(
        _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0
    )
    if ruleset >= 0:
        libc.syscall(_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)


@dataclass(frozen=True)
class _Machine:
    # `column`: in the tables of system calls. `audit_arch`: the kernel's number of the architecture.
    column: int
    audit_arch: int
    seccomp: int


_MACHINES = {
    "x86_64": _Machine(0, 0xC000003E, seccomp=317),
    "aarch64": _Machine(1, 0xC00000B7, seccomp=277),
}

_ABSENT = -1
_ALLOWED = {
    # On x86_64 and aarch64.
    "alarm": (37, _ABSENT),
    "brk": (12, 214),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "futex": (202, 98),
    "getcpu": (309, 168),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "lseek": (8, 62),
    "madvise": (28, 233),
    "membarrier": (324, 283),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "poll": (7, _ABSENT),
    "ppoll": (271, 73),
    "read": (0, 63),
    "readv": (19, 65),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
    "setitimer": (38, 103),
    "sigaltstack": (131, 132),
    "sysinfo": (99, 179),
    "time": (201, _ABSENT),
    "times": (100, 153),
    "write": (1, 64),
    "writev": (20, 66),
}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_MMAP, _MPROTECT = (9, 222), (10, 226)
_KILL, _TGKILL = (62, 129), (234, 131)
_PRLIMIT64 = (302, 261)

_CLONE_THREAD = 0x10000
_PROT_EXEC = 4

_ALLOW, _ERROR, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
# Instructions of the kernel's filter language (classic BPF).
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
# Offsets in the kernel's `struct seccomp_data`; the low half of an argument comes first on both
# machines.
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_system_calls() -> None:
    # Refuse this process and its threads all system calls but those of computing, permanently.
    #
    # Nothing is refused if the system has no such filters, or the tables do not cover the machine.
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return
    instructions = _instructions(machine, os.getpid())
    program = _Program(len(instructions), b"".join(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    filter_ = ctypes.byref(program)
    libc.syscall(machine.seccomp, _SET_MODE_FILTER, _ALL_THREADS, filter_)


def _instructions(machine: _Machine, pid: int) -> list[bytes]:
    refuse = _return(_ERROR | errno.EPERM)
    program = [
        _instruction(_LOAD, _ARCH_AT),
        _instruction(_IF_EQUAL, machine.audit_arch, 1, 0),
        _return(_KILL_PROCESS),  # the numbers of another architecture mean other calls
        _instruction(
            _LOAD, _NUMBER_AT
        ),  # calls of x32 have a bit that none of the numbers below has
    ]

    def on(numbers: tuple[int, int], *then: bytes) -> None:
        number = numbers[machine.column]
        if number != _ABSENT:
            program.extend((_instruction(_IF_EQUAL, number, 0, len(then)), *then))

    for numbers in _ALLOWED.values():
        on(numbers, _return(_ALLOW))
    # HEIF is decoded by threads. They share this filter.
    on(_CLONE, *_if(_IF_ANY_BIT, 0, _CLONE_THREAD, _return(_ALLOW), refuse))
    on(
        _CLONE3, _return(_ERROR | errno.ENOSYS)
    )  # its flags are in memory; the C library then calls clone
    for numbers in (_MMAP, _MPROTECT):
        on(numbers, *_if(_IF_ANY_BIT, 2, _PROT_EXEC, refuse, _return(_ALLOW)))
    for numbers in (_KILL, _TGKILL):  # abort() sends a signal to its own process
        on(numbers, *_if(_IF_EQUAL, 0, pid, _return(_ALLOW), refuse))
    on(_PRLIMIT64, *_if(_IF_EQUAL, 0, 0, _return(_ALLOW), refuse))
    program.append(refuse)
    return program


def _if(
    comparison: int, argument: int, value: int, then: bytes, otherwise: bytes
) -> Sequence[bytes]:
    # Do `then` if the comparison of an argument of the call with the value is true.
    load = _instruction(_LOAD, _ARGUMENTS_AT + 8 * argument)
    return load, _instruction(comparison, value, 0, 1), then, otherwise


def _return(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


# The most processor time that the kernel gives the process. It is replaced before (see `is_due`).
LIFETIME_CPU_S = 3600

# Operations of prctl.
_SET_DUMPABLE, _SET_NO_NEW_PRIVS = 4, 38
_CAPABILITY_VERSION_3 = 0x20080522
