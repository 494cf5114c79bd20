"""Disks and shares that are mounted, full, read-only or dead, and a user without root's rights."""

import ctypes
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted_disk(folder: Path, size: str = "16m") -> Iterator[Path]:
    """A file system of this size in the folder, which is created."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"]
    mounted = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this user may not mount a disk: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while filler.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


class Disk:
    """A file system in memory, whose files stay while it is away."""

    def __init__(self, medium: Path) -> None:
        self._medium = medium
        self._mounted: list[Path] = []
        medium.mkdir()
        mounting = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", medium], capture_output=True, check=False)
        if mounting.returncode:
            pytest.skip(f"nothing can be mounted here: {mounting.stderr.decode().strip()}")

    def mount(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", self._medium, folder], check=True)
        self._mounted.append(folder)
        return folder

    def unmount(self) -> None:
        while self._mounted:
            subprocess.run(["umount", "--lazy", self._mounted.pop()], check=True)

    def close(self) -> None:
        self.unmount()
        subprocess.run(["umount", "--lazy", self._medium], check=True)


@contextmanager
def dead_share(folder: Path) -> Iterator[None]:
    """Mount a share on the folder whose server has died: each call fails with ENOTCONN."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no share can be mounted here: {error}")
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    result = ctypes.CDLL(None).mount(b"fuse", os.fsencode(folder), b"fuse", 0, options)
    os.close(server)
    if result:
        pytest.skip("no share can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


NOBODY = 65534


@contextmanager
def without_root_privileges() -> Iterator[None]:
    if os.geteuid():
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """Let writes beyond this size of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
