"""The memory that a process which reads one photo may take: a photo that needs more ends its own process, not the worker."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LEAST_BYTES = 512 * 2**20
"""Enough for Python, the decoders and a photo of a camera."""
SHARE = 0.9
"""Of the machine's or the container's memory. The kernel needs some, too."""
_RESERVED_BYTES = 2**30
"""Addresses that libraries reserve for threads and never use."""

_CGROUPS = Path("/sys/fs/cgroup")
_ADDRESSES, _RESIDENT, _DATA = 0, 1, 5
"""Columns of /proc/self/statm: addresses in use, memory in use, and memory reserved for data."""


def memory_beside_this_process() -> int:
    """What the machine or the container has, in bytes, without what this process takes.

    The memory of other processes is not subtracted: what they take for a moment must not fail a photo.
    """
    return max(LEAST_BYTES, int(SHARE * _total_bytes()) - _statm_bytes(_RESIDENT))


def limit_memory(more_bytes: int) -> None:
    """Let allocations fail once this process has taken this much more. No effect on systems without such a limit."""
    try:
        import resource
    except ImportError:
        return
    # Libraries reserve much that they never use, for each core: it must not count.
    data_bytes = _statm_bytes(_DATA) + more_bytes
    # RLIMIT_DATA does not count shared memory.
    address_bytes = _statm_bytes(_ADDRESSES) + more_bytes + _RESERVED_BYTES
    for name, limit_bytes in ((resource.RLIMIT_DATA, data_bytes), (resource.RLIMIT_AS, address_bytes)):
        with suppress(OSError, ValueError):  # a lower limit holds already
            resource.setrlimit(name, (limit_bytes, limit_bytes))


def _total_bytes() -> int:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_cgroup_limits()])


def _cgroup_limits() -> Iterator[int]:
    """The limits of this process's cgroup and those above it, of both versions of cgroups."""
    groups = ""
    with suppress(OSError):
        groups = Path("/proc/self/cgroup").read_text()
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "memory":
            yield from _limits(_CGROUPS / "memory", group, "memory.limit_in_bytes")
        elif not controllers:
            yield from _limits(_CGROUPS, group, "memory.max")


def _limits(mount: Path, group: str, name: str) -> Iterator[int]:
    own = mount / group.lstrip("/")
    for folder in (own, *own.parents):
        with suppress(OSError, ValueError):  # not there in a container; "max"
            yield int((folder / name).read_text())
        if folder == mount:
            return


def _statm_bytes(column: int) -> int:
    """A column of /proc/self/statm, in bytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[column])
    except OSError:
        return 0  # not Linux
    return pages * os.sysconf("SC_PAGE_SIZE")
