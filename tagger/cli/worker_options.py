"""The options of `tagger worker` about when, how fast and for how long it works, and how long it keeps its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True)
class WorkerOptions:
    """Each field is a setting, without the prefix `worker_` and its unit."""

    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            metavar="FROM-TO",
            help="Process jobs only at this time of day, like 22:00-06:00, in local time. (env: TAGGER_WORKER_WINDOW, default: all day)",
        ),
    ] = None
    photos_per_second: Annotated[
        float | None,
        typer.Option(
            "--photos-per-second",
            min=0.001,
            help="Limit of this worker. (env: TAGGER_WORKER_PHOTOS_PER_SECOND, default: none)",
        ),
    ] = None
    max_load: Annotated[
        float | None,
        typer.Option(
            "--max-load",
            min=0.01,
            help="Start no new chunk while the load average of the last minute per core is higher. 1 is a busy machine. (env: TAGGER_WORKER_MAX_LOAD, default: none)",
        ),
    ] = None
    nice: Annotated[
        int | None,
        typer.Option(
            "--nice",
            min=1,
            max=19,
            help="Lower the CPU priority, 19 most; on Linux, also use disks only when nothing else does. (env: TAGGER_WORKER_NICE)",
        ),
    ] = None
    pause_on_battery: Annotated[
        bool | None,
        typer.Option(
            "--pause-on-battery",
            help="Wait while the machine runs on battery. (env: TAGGER_WORKER_PAUSE_ON_BATTERY)",
        ),
    ] = None

    idle_exit: Annotated[
        float | None,
        typer.Option(
            "--idle-exit",
            min=0.01,
            metavar="MINUTES",
            help="Exit with code 0 after this time without work. (env: TAGGER_WORKER_IDLE_EXIT_MINUTES, default: never)",
        ),
    ] = None

    unload_after: Annotated[
        float | None,
        typer.Option(
            "--unload-after",
            min=0.01,
            metavar="MINUTES",
            help="Unload the model after this time without work, to free its memory. (env: TAGGER_WORKER_UNLOAD_AFTER_MINUTES, default: never)",
        ),
    ] = None

    def settings(self) -> dict[str, object]:
        """The values by the names of the settings."""
        units = {"idle_exit": "idle_exit_minutes", "unload_after": "unload_after_minutes"}
        return {f"worker_{units.get(name, name)}": value for name, value in vars(self).items()}
