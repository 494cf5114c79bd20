"""A writer that is killed, or fails, at every single step: the file is the complete old or new one.

Run as a program, this file is the writer: for each line of JSON it forks a child that writes and stops before a step.
"""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.format_photos import temporary_path

from tagger.metadata import WriteFailed, WriteRefused
from tagger.metadata.photo_files import remove_leftovers
from tagger.metadata.replacement import prepare, read_for_writing

OLD, NEW = b"old" * 1000, b"new" * 1500
MODE, TIME_NS = 0o640, 1_111_111_111_123_456_789
LIMIT = 1 << 20
OS_CALLS = """open close write stat fstat access fchown fchmod utime fsync replace unlink
posix_fadvise listxattr getxattr setxattr removexattr"""
# Every system call of a writer.
STEPS = [
    *((os, name) for name in re.split(r"\s", OS_CALLS) if hasattr(os, name)),
    (fcntl, "flock"),
    (fcntl, "fcntl"),
]
CASES = {
    "photo": (OLD, NEW),
    "new sidecar": (None, NEW),
    "sidecar": (OLD, NEW),
    "removed sidecar": (OLD, None),
}


def write(path: Path, data: bytes | None) -> None:
    photo = path.with_name("photo.jpg")
    prepare(read_for_writing(path, max_bytes=LIMIT), data, photo=photo).replace()


@contextmanager
def call_before_step(step: int, act: Callable[[str], None]) -> Iterator[None]:
    calls = count()
    originals = [(module, name, getattr(module, name)) for module, name in STEPS]

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if next(calls) == step:
                act(name)
            return call(*args, **options)

        return wrapped

    for module, name, call in originals:
        setattr(module, name, wrap(name, call))
    try:
        # Functions with this argument look it up themselves.
        os.supports_effective_ids.add(os.access)
        yield
    finally:
        os.supports_effective_ids.discard(os.access)
        for module, name, call in originals:
            setattr(module, name, call)


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            with call_before_step(order["step"], lambda name: os.kill(os.getpid(), signal.SIGKILL)):
                write(Path(order["path"]), order["data"] and order["data"].encode())
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)  # noqa: T201 - to the test


@pytest.fixture(scope="module")
def writer() -> Iterator[Callable[[Path, bytes | None, int], int]]:
    """Writes in a process that is killed before a step; the exit code is 0 after the last step."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin
        assert process.stdout

        def order(path: Path, data: bytes | None, step: int) -> int:
            print(
                json.dumps({"path": str(path), "data": data and data.decode(), "step": step}),
                file=process.stdin,
                flush=True,
            )
            return int(process.stdout.readline())

        yield order
        process.stdin.close()


def set_up(folder: Path, case: str) -> Path:
    path = folder / ("photo.jpg" if case == "photo" else "photo.jpg.xmp")
    for old in folder.iterdir():
        old.unlink()
    for file in {folder / "photo.jpg", path}:
        file.write_bytes(OLD)
        file.chmod(MODE)
        if hasattr(os, "setxattr"):
            with suppress(OSError):  # Not every file system has attributes.
                os.setxattr(file, "user.test", b"kept")
        os.utime(file, ns=(TIME_NS, TIME_NS))
    if CASES[case][0] is None:
        path.unlink()
    return path


def state(path: Path, *modes: int) -> bytes | None:
    """The file's content, None without a file; checks that permissions, unless they are one of `modes`, and time are unchanged."""
    if not path.exists():
        return None
    status = path.stat()
    assert status.st_mode & 0o7777 in (MODE, *modes)
    if path.suffix == ".jpg":
        assert status.st_mtime_ns == TIME_NS
    return path.read_bytes()


def write_again(path: Path, data: bytes | None, *modes: int) -> None:
    """The next write succeeds and leaves no other file."""
    if data is None and not path.exists():
        remove_leftovers(path.parent)
    else:
        write(path, data)
    assert state(path, *modes) == data
    assert {file.name for file in path.parent.iterdir()} <= {"photo.jpg", "photo.jpg.xmp"}


@pytest.mark.parametrize("leftover", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_file_is_complete_after_a_kill_at_any_step(case, leftover, tmp_path, writer):
    old, new = CASES[case]
    states = []
    for step in count():
        path = set_up(tmp_path, case)
        if leftover:
            temporary_path(path).write_bytes(b"half of somethi")
        code = writer(path, new, step)
        assert code in (0, -signal.SIGKILL)
        states.append(state(path))
        assert states[-1] in (old, new), f"neither old nor new after a death before step {step}"
        write_again(path, new)
        if code == 0:
            break
    assert len(states) > 20
    # The file was the old one up to one step, and the new one from then on.
    assert states == [old] * states.count(old) + [new] * states.count(new)
    assert states.count(new) > 1


@pytest.mark.parametrize("trouble", ["ENOSPC", "EIO", "EACCES", "EPERM", "ENOENT", "ESTALE", "EINVAL"])
@pytest.mark.parametrize("case", CASES)
def test_any_failing_call_leaves_the_file_complete_and_no_descriptor_open(case, trouble, tmp_path):
    old, new = CASES[case]
    troubles = 0
    descriptors = open_descriptors()
    for step in count():
        path = set_up(tmp_path, case)
        calls: list[str] = []
        with call_before_step(step, partial(fail, calls, getattr(errno, trouble))):
            try:
                write(path, new)
            except (WriteRefused, WriteFailed):
                troubles += 1
        if not calls:
            break
        # A share may refuse the permissions of a new sidecar: then only its owner can read it.
        modes = [0o600] if old is None else []
        assert state(path, *modes) in (old, new)
        write_again(path, new, *modes)
    assert troubles > 5
    assert open_descriptors() == descriptors


def open_descriptors() -> int:
    listed = Path("/proc/self/fd")
    return len(list(listed.iterdir())) if listed.is_dir() else 0


def fail(calls: list[str], number: int, name: str) -> None:
    calls.append(name)
    if name != "close":  # The descriptor is closed even if `close` reports an error.
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    serve()
