"""Disks that tests mount on folders and take away again, which only root may do."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


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
        """Take it away from all folders."""
        while self._mounted:
            subprocess.run(["umount", "--lazy", self._mounted.pop()], check=True)

    def close(self) -> None:
        """Discard it with its files."""
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
