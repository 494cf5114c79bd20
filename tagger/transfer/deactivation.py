"""Makes an imported database inert: nothing that the export names runs, is loaded or is written before the operator names it.

Models are not in use and have no file, schedules are paused, open jobs are paused, or cancelled if no worker could continue
them.
"""

from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, case, literal, or_, select, update

from tagger.database.enums import JobKind, JobState, Runner
from tagger.database.tables import jobs, models, roots, schedules
from tagger.ledger.jobs import OPEN_STATES, WRITE, cancel_job
from tagger.ledger.ownership import UNFILLED
from tagger.library.catalog import shipped_model
from tagger.library.catalog.registered_models import UNNAMED
from tagger.photos.paths import path_from_text

PAUSED_NOTE = "paused by the import"
CANCELLED_NOTE = "its process did not move with the import; run the same command again to continue"


@dataclass(frozen=True)
class ImportedModel:
    """A model whose file has to be named again. `file` is its path where it was exported."""

    name: str
    digest: str
    file: str
    was_in_use: bool


@dataclass(frozen=True)
class PausedJob:
    """A paused job. `writes`: where it writes metadata, now or once its photos are classified; null: nowhere."""

    job: int
    kind: str
    photos: int
    writes: str | None


@dataclass(frozen=True)
class ImportedRoot:
    """A folder that photos are read from, and tags written in, once a job runs."""

    name: str
    folder: str


@dataclass(frozen=True)
class Inactive:
    """What an export would have activated, and what the operator has to name to activate it here."""

    models: list[ImportedModel] = field(default_factory=list)
    schedules: list[str] = field(default_factory=list)
    paused_jobs: list[PausedJob] = field(default_factory=list)
    cancelled_jobs: list[int] = field(default_factory=list)
    roots: list[ImportedRoot] = field(default_factory=list)


def deactivate(connection: Connection) -> Inactive:
    """Deactivate what was imported in this transaction."""
    return Inactive(
        models=_forget_model_files(connection),
        schedules=_pause_schedules(connection),
        cancelled_jobs=_cancel_local_jobs(connection),
        paused_jobs=_pause_jobs(connection),
        roots=[
            ImportedRoot(row.name, path_from_text(row.location, row.location_bytes))
            for row in connection.execute(select(roots).order_by(roots.c.id))
        ],
    )


def _forget_model_files(connection: Connection) -> list[ImportedModel]:
    """A file that an export names may be anybody's. The model of this package needs no other file."""
    own = or_(models.c.file.is_(None), models.c.digest == (shipped_model.shipped_digest() or ""))
    imported = [
        ImportedModel(row.name, row.digest, row.file, row.in_use)
        for row in connection.execute(select(models).where(~own).order_by(models.c.id))
    ]
    connection.execute(update(models).values(in_use=False, file=case((own, models.c.file), else_=UNNAMED)))
    return imported


def _pause_schedules(connection: Connection) -> list[str]:
    connection.execute(update(schedules).values(paused=True))
    return list(connection.scalars(select(schedules.c.name).order_by(schedules.c.name)))


def _cancel_local_jobs(connection: Connection) -> list[int]:
    """Cancel the open jobs of processes of another machine, like those of a process that died."""
    local = (jobs.c.runner == Runner.LOCAL, jobs.c.state.in_(OPEN_STATES))
    numbers = list(connection.scalars(select(jobs.c.id).where(*local).order_by(jobs.c.id)))
    for number in numbers:
        cancel_job(connection, number, CANCELLED_NOTE)
    return numbers


def _pause_jobs(connection: Connection) -> list[PausedJob]:
    """Pause the other open jobs. A scan does not continue: a process of another machine was its owner.

    Any process may add the items of a job that writes the tags of another, which changes no file.
    """
    is_open = jobs.c.state.in_(OPEN_STATES)
    from_parent = and_(jobs.c.kind == JobKind.WRITE, jobs.c.parent_id.is_not(None), jobs.c.owner.is_not(None))
    connection.execute(
        update(jobs)
        .where(is_open)
        .values(
            state=JobState.PAUSED,
            note=PAUSED_NOTE,
            owner=case((from_parent, literal(UNFILLED)), else_=None),
            owner_lease_until=None,
        )
    )
    rows = connection.execute(select(jobs).where(is_open).order_by(jobs.c.id))
    return [
        PausedJob(row.id, row.kind, row.total, row.options[WRITE]["to"] if WRITE in row.options else None)
        for row in rows
    ]
