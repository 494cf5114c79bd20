"""Landlock: a process on Linux gives up permanently all access by path, by port, and to processes outside."""

import ctypes
import os
import struct

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
"""System calls; their numbers are the same on all machines."""
_GET_VERSION = 1

_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights to files the kernel knows, from each version on; each is a bit."""
_NETWORK_VERSION, _NETWORK_RIGHTS = 4, 0b11
"""Binding and connecting TCP sockets."""
_SCOPE_VERSION, _SCOPES = 6, 0b11
"""Abstract sockets and signals to processes outside."""


def give_up_access() -> int:
    """Give up access in this thread and those it starts. Returns Landlock's version; 0 if the system has none.

    Open descriptors stay usable. The process must have set `no_new_privs`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _GET_VERSION))
    if version < 1:
        return 0
    attributes = _attributes(version)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return 0
    is_restricted = libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return version if is_restricted else 0


def _attributes(version: int) -> bytes:
    """The kernel's `struct landlock_ruleset_attr`: everything it knows is restricted, and no rule allows any of it."""
    file_rights = max(count for since, count in _FILE_RIGHTS.items() if since <= version)
    fields = [(1 << file_rights) - 1]
    if version >= _NETWORK_VERSION:
        fields.append(_NETWORK_RIGHTS)
    if version >= _SCOPE_VERSION:
        fields.append(_SCOPES)
    return struct.pack(f"={len(fields)}Q", *fields)
