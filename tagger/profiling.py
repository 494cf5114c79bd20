"""Where a run's processor time goes, stage by stage: what `tagger tag --profile` shows.

Our own threads count what they use (see metrics). Engines run the model on threads of theirs: those that Python has
not started. Where a system does not list a process's threads as Linux does, that cannot be told from the rest.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.samples import Sample

from tagger.metrics import STAGE_CPU_SECONDS, STAGES

ENDING_S = 0.01
"""A thread that Python has seen the end of is a moment longer in the system's list."""
_THREADS = Path("/proc/self/task")


@dataclass(frozen=True)
class Profile:
    """Processor seconds of a run: of each stage, and of this whole process meanwhile."""

    stages: Mapping[str, float]
    total_s: float
    wall_s: float

    @property
    def rest_s(self) -> float:
        """What no stage accounts for: handing over between threads, printing, leases."""
        return max(0.0, self.total_s - sum(self.stages.values()))


class Profiler:
    """Counts from its making until `profile`."""

    def __init__(self) -> None:
        self._stages = _stages()
        self._engines_s = _engines_s()
        self._used_s, self._began = time.process_time(), time.monotonic()

    def profile(self) -> Profile:
        """What was used since; to be asked while the engines live, whose threads take their clocks along."""
        stages = {stage: used - self._stages[stage] for stage, used in _stages().items()}
        stages["model"] += _engines_s() - self._engines_s
        return Profile(stages, time.process_time() - self._used_s, time.monotonic() - self._began)


def _stages() -> dict[str, float]:
    known = {sample.labels["stage"]: sample.value for sample in _samples() if sample.name.endswith("_total")}
    return {stage: known.get(stage, 0.0) for stage in STAGES}


def _samples() -> Iterator[Sample]:
    for metric in STAGE_CPU_SECONDS.collect():
        yield from metric.samples


def _engines_s() -> float:
    """Processor seconds of the threads that Python has not started. Its own may end at any time, these live on."""
    if not _THREADS.is_dir():
        return 0.0
    theirs = _threads() - {thread.native_id for thread in threading.enumerate()}
    time.sleep(ENDING_S)
    return sum(map(_used_s, theirs & _threads()))


def _threads() -> set[int]:
    return {int(each.name) for each in _THREADS.iterdir()}


def _used_s(thread: int) -> float:
    # Linux makes the number of a thread's clock of the thread's own. `pthread_getcpuclockid` may crash on one that has just ended.
    try:
        return time.clock_gettime(~thread << 3 | 6)
    except OSError:  # as this does not
        return 0.0
