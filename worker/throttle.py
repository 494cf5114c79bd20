"""The thread that makes a worker wait while a condition holds: the time outside its window, or a battery.

Meanwhile the worker releases its chunks and takes no other. It still sends heartbeats, recovers jobs and runs schedules.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import psutil

from tagger.settings import Settings
from tagger.system.metrics import WORKER_WAITS
from tagger.system.times_of_day import DailyWindow
from worker.queue_order import only_ticks

log = logging.getLogger(__name__)
CHECK_S = 1.0


@dataclass(frozen=True)
class Condition:
    """A reason to wait: its text, and whether it holds now."""

    text: str
    holds: Callable[[], bool]


def conditions(settings: Settings) -> list[Condition]:
    """The conditions of the settings."""
    found = []
    if settings.worker_window is not None:
        window = DailyWindow.parse(settings.worker_window)
        is_closed = lambda: not window.contains(datetime.now().astimezone().time())  # noqa: E731
        found.append(Condition(f"outside its window {window}", is_closed))
    if settings.worker_pause_on_battery:
        found.append(Condition("on battery", _is_on_battery))
    return found


class Throttle:
    """Checks the conditions every CHECK_S. `release_chunks` is called while one holds."""

    def __init__(self, reasons: Sequence[Condition], release_chunks: Callable[[], None]) -> None:
        self._conditions = reasons
        self._release_chunks = release_chunks
        self._holding: Condition | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="throttle", daemon=True)
        self.check()

    @property
    def reason(self) -> str | None:
        """Why the worker waits; None if it does not."""
        return None if self._holding is None else self._holding.text

    def start(self) -> None:
        if self._conditions:
            self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:  # the worker may stop before it started
            self._thread.join()
        only_ticks.clear()

    def check(self) -> None:
        """Check the conditions once."""
        holding = next((condition for condition in self._conditions if condition.holds()), None)
        if holding is not self._holding:
            log.warning("This worker %s", f"waits: {holding.text}" if holding else "goes on")
        self._holding = holding
        WORKER_WAITS.set(holding is not None)
        if holding is None:
            only_ticks.clear()
            return
        only_ticks.set()
        self._release_chunks()

    def _run(self) -> None:
        while not self._closed.wait(CHECK_S):
            self.check()


def _is_on_battery() -> bool:
    """Whether the machine has a battery and no other power."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return battery is not None and battery.power_plugged is False
