"""Notes of jobs, runs and workers are translated by their messages."""

import re

import sqlalchemy as sa
from alembic import op

revision = "1003"
down_revision = "1002"
branch_labels = None
depends_on = None

NOTES = (("jobs", "note"), ("schedule_runs", "note"), ("workers", "waits_for"))
PAUSED = re.compile(
    r"paused at (?P<end>\S+) \((?P<zone>\S+)\); the next run of the schedule (?P<name>.*) continues it"
)
JOBS = sa.table(
    "jobs", sa.column("id"), sa.column("state"), sa.column("note"), sa.column("note_message", sa.JSON)
)


def upgrade() -> None:
    add_note_messages()


def downgrade() -> None:
    for table, column in NOTES:
        op.drop_column(table, f"{column}_message")


def add_note_messages() -> None:
    """Add the columns. The notes of paused jobs get their messages, by which the end of the pause knows them; others stay texts."""
    for table, column in NOTES:
        op.add_column(table, sa.Column(f"{column}_message", sa.JSON()))
    connection = op.get_bind()
    for job in connection.execute(sa.select(JOBS.c.id, JOBS.c.note).where(JOBS.c.state == "paused")).all():
        if found := PAUSED.fullmatch(job.note or ""):
            message = {"code": "paused-until-next-run", "values": found.groupdict()}
            connection.execute(JOBS.update().where(JOBS.c.id == job.id).values(note_message=message))
