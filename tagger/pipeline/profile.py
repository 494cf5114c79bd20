"""Measures the CPU time of a run by stage, for `tagger tag --profile`.

Our own threads measure their stages (see metrics). The model runs on threads of its engine: all threads that Python did not
start. On systems that do not list a process's threads as Linux does, their time is part of the remainder.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.samples import Sample

from tagger.system.metrics import STAGE_CPU_SECONDS, STAGES

THREAD_EXIT_S = 0.01
"""How long a thread that has ended in Python may remain in the system's list."""
_THREADS = Path("/proc/self/task")


@dataclass(frozen=True)
class Profile:
    """CPU seconds of each stage and of the whole process, and wall-clock seconds, during a run."""

    stages: Mapping[str, float]
    total_s: float
    wall_s: float

    @property
    def rest_s(self) -> float:
        """CPU seconds outside all stages: passing work between threads, printing, leases."""
        return max(0.0, self.total_s - sum(self.stages.values()))


class Profiler:
    """Measures from construction until `profile`."""

    def __init__(self) -> None:
        self._stages = _stage_seconds()
        self._engine_s = _engine_seconds()
        self._cpu_s, self._start = time.process_time(), time.monotonic()

    def profile(self) -> Profile:
        """Return the profile so far. Call it before the engine's threads end, whose clocks end with them."""
        stages = {stage: used_s - self._stages[stage] for stage, used_s in _stage_seconds().items()}
        stages["model"] += _engine_seconds() - self._engine_s
        return Profile(stages, time.process_time() - self._cpu_s, time.monotonic() - self._start)


def _stage_seconds() -> dict[str, float]:
    seconds = {
        sample.labels["stage"]: sample.value for sample in _samples() if sample.name.endswith("_total")
    }
    return {stage: seconds.get(stage, 0.0) for stage in STAGES}


def _samples() -> Iterator[Sample]:
    for metric in STAGE_CPU_SECONDS.collect():
        yield from metric.samples


def _engine_seconds() -> float:
    """CPU seconds of the threads that Python did not start. They live as long as the engine; Python's own may end at any time."""
    if not _THREADS.is_dir():
        return 0.0
    engine_threads = _thread_ids() - {thread.native_id for thread in threading.enumerate()}
    time.sleep(THREAD_EXIT_S)
    return sum(map(_cpu_seconds, engine_threads & _thread_ids()))


def _thread_ids() -> set[int]:
    return {int(entry.name) for entry in _THREADS.iterdir()}


def _cpu_seconds(thread_id: int) -> float:
    # Linux derives the id of a thread's clock from the thread id. `pthread_getcpuclockid` may crash if the thread has just ended.
    try:
        return time.clock_gettime(~thread_id << 3 | 6)
    except OSError:
        return 0.0
