"""Limits of processor time and memory, as Docker, Kubernetes and systemd set them, and processes within them."""

import os
from pathlib import Path

import pytest

from tagger.model import devices
from tagger.model.devices import core_count, cpu_limit, memory_limit, process_count, thread_share


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A root with this /proc/self/cgroup, and files of /sys/fs/cgroup."""
    paths = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups, **paths}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "limits"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, (1.5, None)),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, (None, None)),
        ("0::/system.slice/t.service\n", {"system.slice/t.service/cpu.max": "400000 100000"}, (4, None)),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"}, (2, None)),
        ("0::/of/the/host\n", {"cpu.max": "50000 100000"}, (0.5, None)),
        ("0::/a/b\n", {"a/memory.max": "4096\n", "a/b/memory.max": "8192\n"}, (None, 4096)),
        ("5:memory:/docker/a\n3:cpu:/x\n", {"memory/memory.limit_in_bytes": "8192\n"}, (None, 8192)),
    ],
)
def test_the_lowest_limits_of_the_groups_count(tmp_path, groups, files, limits):
    assert (cpu_limit(tmp_path), memory_limit(tmp_path)) == (None, None)
    root = machine(tmp_path, groups, files)
    assert (cpu_limit(root), memory_limit(root)) == limits


@pytest.mark.parametrize(("limit", "cores"), [(None, 8), (0.2, 1), (1.0, 1), (2.5, 3), (64.0, 8)])
def test_a_process_uses_the_cores_of_its_limit(monkeypatch, limit, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(devices, "cpu_limit", lambda: limit)
    assert core_count() == cores


GIB = 2**30


@pytest.mark.parametrize(
    ("cores", "memory", "threads", "count"),
    [
        (2, 8 * GIB, None, 1),
        (7, 64 * GIB, None, 1),
        (8, 64 * GIB, None, 2),
        (64, 512 * GIB, None, 16),
        (64, 1 * GIB, None, 1),
        (64, 512 * GIB, 8, 2),
    ],
)
def test_there_are_as_many_processes_as_cores_and_memory_allow(monkeypatch, cores, memory, threads, count):
    monkeypatch.setattr(devices, "core_count", lambda: cores)
    monkeypatch.setattr(devices, "_memory_bytes", lambda: memory)
    assert process_count(threads) == count


@pytest.mark.parametrize(("threads", "processes"), [(8, 2), (19, 4), (2, 3), (64, 16)])
def test_processes_share_out_the_threads(threads, processes):
    shares = [thread_share(threads, processes, number) for number in range(1, processes + 1)]
    assert sum(shares) == max(threads, processes)
    assert max(shares) - min(shares) <= 1
