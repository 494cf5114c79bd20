"""What an import leaves inactive, and the commands that activate it."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tagger.cli.output.formats import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tagger.transfer.importer import ImportedModel, Inactive, PausedJob

MOST_LINES = 20
"""The limit on the lines of one kind."""


def inactive_document(inactive: Inactive) -> dict[str, Any]:
    """What is inactive, as JSON; `activate` are the commands, in order."""
    return {
        "models": [asdict(model) | {"activate": _model_commands(model)} for model in inactive.models],
        "schedules": [{"name": name, "activate": [_schedule_command(name)]} for name in inactive.schedules],
        "jobs": [asdict(job) | {"activate": [_job_command(job)]} for job in inactive.paused_jobs],
        "cancelled_jobs": inactive.cancelled_jobs,
        "roots": [asdict(root) for root in inactive.roots],
    }


def inactive_lines(inactive: Inactive) -> Iterator[str]:
    """What is inactive, a line each."""
    yield from _first([_model_line(model) for model in inactive.models], "models")
    yield from _first(
        [
            f"schedule {name} is paused; resume it with: {_schedule_command(name)}"
            for name in inactive.schedules
        ],
        "schedules",
    )
    yield from _first([_job_line(job) for job in inactive.paused_jobs], "jobs")
    yield from _first(
        [
            f"job {number} is cancelled, because it ran in a command; run the same command again"
            for number in inactive.cancelled_jobs
        ],
        "jobs",
    )
    yield from _first(
        [f"photos of root {root.name} are expected in {root.folder}" for root in inactive.roots], "roots"
    )


def _first(lines: Sequence[str], kind: str) -> Iterator[str]:
    yield from map(printable, lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"and {len(lines) - MOST_LINES} more {kind}; --json lists all"


def _model_line(model: ImportedModel) -> str:
    used = " and was in use" if model.was_in_use else ""
    first, *others = _model_commands(model)
    use = f", then: {others[0]}" if others else ""
    return (
        f"model {model.name} (digest {model.digest[:12]}) was {model.file}{used}; if you trust that file, name it with: "
        f"{first}{use}"
    )


def _model_commands(model: ImportedModel) -> list[str]:
    """The file is left to the operator: the path in an export may be anybody's."""
    use = [f"tagger model use {shlex.quote(model.name)}"] if model.was_in_use else []
    return ["tagger model add FILE", *use]


def _schedule_command(name: str) -> str:
    return f"tagger schedule resume {shlex.quote(name)}"


def _job_line(job: PausedJob) -> str:
    writes = f", which writes metadata ({job.writes})" if job.writes else ""
    writes = ", which undoes metadata writes" if job.kind == "undo" else writes
    photos = f"{job.photos} photo{'' if job.photos == 1 else 's'}"
    return f"job {job.job} ({job.kind}, {photos}){writes}, is paused; resume it with: {_job_command(job)}"


def _job_command(job: PausedJob) -> str:
    return f"tagger job resume {job.job}"
