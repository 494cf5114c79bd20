"""The processes of one `tagger worker`: each is a worker that claims chunks, and this one restarts them."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tagger.cli.supervised_process import REFUSED, SupervisedProcess, stop_processes
from tagger.model.devices import thread_share
from tagger.processes.interruption import EXIT_CODE, handle_own_signals
from tagger.processes.stall import watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tagger.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.5
# Longer than a worker takes to stop (see worker.tasks), and less than its supervisor usually waits.
STOP_TIMEOUT_S = 58.0


def run_worker_processes(settings: Settings, count: int, arguments: Sequence[str], *, beat: bool) -> int:
    """Run `tagger worker` with these arguments in `count` processes until stopped; returns the exit code.

    The first one is ready before the others start: what keeps it from starting is said once.
    """
    handle_own_signals()
    watch("worker", settings.data_folder, settings.stall_timeout_s)

    def start(number: int) -> SupervisedProcess:
        own = [*arguments, "--process", str(number)]
        return SupervisedProcess(
            f"tagger-{os.getpid()}.{number}",
            settings.data_folder,
            ["worker", *own, *(["--beat"] if beat and number == 1 else [])],
            is_logged=False,
            stall_name=f"worker.{number}",
            environment=_environment(settings, count, number),
            warn=log.warning,
        )

    processes = [start(1)]
    try:
        while not processes[0].child.is_ready:
            if processes[0].child.exit_code == REFUSED:
                return REFUSED
            processes[0].check()
            time.sleep(POLL_S)
        processes += map(start, range(2, count + 1))
        while True:
            for process in processes:
                process.check()
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return 0 if len(processes) > 1 else EXIT_CODE
    finally:
        with suppress(KeyboardInterrupt):  # of a second signal: they are killed
            stop_processes(processes, STOP_TIMEOUT_S)


def _environment(settings: Settings, count: int, number: int) -> Mapping[str, str]:
    """The environment of one of the processes: its threads, and a port for its metrics."""
    own = {
        "TAGGER_PROCESSES": str(count),
        "TAGGER_THREADS": str(thread_share(settings.threads, count, number)),
    }
    if settings.metrics_port is not None:
        own["TAGGER_METRICS_PORT"] = str(settings.metrics_port + number - 1)
    return {name: value for name, value in os.environ.items() if name.upper() not in own} | own
