"""The machine that a worker runs on: its load and its battery, and the priority of this process on it."""

import logging
import os

import psutil

log = logging.getLogger(__name__)


def lower_priority(nice: int) -> None:
    """Set the CPU priority; on Linux, also the idle class for disks. To be called before threads are started, which inherit both.

    Where the system refuses, this is logged, and the process goes on.
    """
    process = psutil.Process()
    try:
        process.nice(nice)
        if psutil.LINUX:
            process.ionice(psutil.IOPRIO_CLASS_IDLE)
    except (psutil.Error, OSError) as error:
        log.warning("The priority of this worker stays as it is: %s", error)


def is_on_battery() -> bool:
    """Whether the machine has a battery and no other power."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return battery is not None and battery.power_plugged is False


def load_per_core() -> float:
    """The load average of the last minute, divided by the number of cores."""
    return float(psutil.getloadavg()[0]) / (os.cpu_count() or 1)
