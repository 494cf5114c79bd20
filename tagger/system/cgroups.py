"""Limits of processor time and memory that containers and systemd set with Linux' control groups."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def cpu_limit(root: Path = Path("/")) -> float | None:
    """The number of cores whose time this process may use, like 1.5; None without a limit. `root` has proc and sys."""
    folders = _groups(root, "cpu")
    limits = [
        limit for folder in folders if (limit := _cpu_limit_v2(folder) or _cpu_limit_v1(folder)) is not None
    ]
    return min(limits, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """The most memory in bytes that this process may take; None without a limit. `root` has proc and sys."""
    folders = _groups(root, "memory")
    limits: list[int] = []
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):  # of both versions of control groups
            with suppress(OSError, ValueError):  # no such file, or no limit: "max"
                limits.append(int((folder / name).read_text()))
    return min(limits, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's group and its parents, whose limits count too.

    In a container, the path can be that of the host. The folder of the container is then the root of the mount.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / controllers
        folder = base / path.strip("/")
        yield folder
        yield from (parent for parent in folder.parents if parent.is_relative_to(base))


def _cpu_limit_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or no limit: "max 100000"
        return None


def _cpu_limit_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
