"""What a photo could do that has taken over its decoder. Attacks raise OSError if refused."""

import ctypes
import errno
import mmap
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

TARGET = Path("/tmp/written-by-a-photo")
# System calls that Python has no function for, on x86_64.
_NUMBERS = {
    "memfd_create": 319,
    "io_uring_setup": 425,
    "bpf": 321,
    "keyctl": 250,
    "userfaultfd": 323,
    "ptrace": 101,
}
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(name: str) -> None:
    if _LIBC.syscall(_NUMBERS[name], 0, 0, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), name)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)  # its end is a signal, which would stop this process after ptrace


def _read_the_parent() -> None:
    local = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(local), 8)
    remote = (ctypes.c_void_p * 2)(0x10000, 8)
    if _LIBC.process_vm_readv(os.getppid(), vector, 1, remote, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")


ATTACKS: dict[str, Callable[[], object]] = {
    "read a file": lambda: Path("/etc/passwd").read_bytes(),
    "read the program": lambda: Path(sys.executable).read_bytes(),
    "read the environment of the parent": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "write a file": lambda: TARGET.write_text("x"),
    "make a folder": TARGET.mkdir,
    "make a link": lambda: TARGET.symlink_to("/etc"),
    "remove a file": TARGET.unlink,
    "rename a file": lambda: TARGET.rename(f"{TARGET}.old"),
    "change permissions": lambda: TARGET.chmod(0o777),
    "list a folder": lambda: list(Path("/").iterdir()),
    "connect by TCP": lambda: socket.socket().connect(("127.0.0.1", 9)),
    "open a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "open a Unix socket": lambda: socket.socket(socket.AF_UNIX),
    "make a pair of sockets": socket.socketpair,
    "make a pipe": os.pipe,
    "fork": _fork,
    "start a program": lambda: subprocess.run(["/bin/true"], check=True),
    "become another program": lambda: os.execv("/bin/true", ["true"]),
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "signal all processes": lambda: os.kill(-1, 0),
    "read the memory of the parent": _read_the_parent,
    "make executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_EXEC | mmap.PROT_READ),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    "become root": lambda: os.setuid(0),
    **{name: (lambda name=name: _call(name)) for name in _NUMBERS},
}


def results() -> dict[str, str]:
    """Try every attack. Returns the name of each one's error, or `succeeded`."""
    outcomes = {}
    for name, attempt in ATTACKS.items():
        try:
            attempt()
        except (OSError, ValueError) as error:  # setrlimit raises ValueError
            outcomes[name] = type(error).__name__
        else:
            outcomes[name] = "succeeded"
    return outcomes


def surroundings() -> dict[str, object]:
    """What the process has from its start: environment variables and open descriptors."""
    return {
        "environment": sorted(os.environ),
        "descriptors": [each for each in range(1024) if _is_open(each)],
    }


def _is_open(descriptor: int) -> bool:
    try:
        os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError as error:
        return error.errno != errno.EBADF
    return True
