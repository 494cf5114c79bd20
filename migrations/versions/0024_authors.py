"""Who started jobs and made shares: the audit log knows it only for a while."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

entries = sa.table(
    "audit_log",
    sa.column("id", sa.BigInteger),
    sa.column("actor", sa.Text),
    sa.column("action", sa.Text),
    sa.column("subject", sa.Text),
    sa.column("details", sa.JSON),
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("author", sa.Text()))
    op.add_column("shares", sa.Column("author", sa.Text()))
    _fill_jobs()
    _fill_shares()


def _fill_jobs() -> None:
    columns = (
        sa.column("id", sa.BigInteger),
        sa.column("parent_id", sa.BigInteger),
        sa.column("author", sa.Text),
    )
    jobs = sa.table("jobs", *columns)
    schedule = entries.c.details["schedule"].as_string()
    of_worker = entries.c.actor.startswith("worker ") & schedule.is_not(None)
    author = sa.case((of_worker, sa.literal("schedule ") + schedule), else_=entries.c.actor)
    of_job = (entries.c.action == "job-create", jobs.c.id == sa.cast(entries.c.subject, sa.BigInteger))
    op.execute(sa.update(jobs).values(author=author).where(*of_job))
    # Jobs that write tags were recorded as made by the worker that finished their parent.
    parent = jobs.alias("parent")
    of_worker_alone = (jobs.c.author.startswith("worker "), jobs.c.parent_id == parent.c.id)
    op.execute(sa.update(jobs).values(author=parent.c.author).where(*of_worker_alone))


def _fill_shares() -> None:
    shares = sa.table("shares", sa.column("id", sa.BigInteger), sa.column("author", sa.Text))
    of_share = (entries.c.action == "share-add", shares.c.id == entries.c.details["share"].as_integer())
    # SQLite may have given an id of a removed share again.
    newest = sa.select(entries.c.actor).where(*of_share).order_by(entries.c.id.desc()).limit(1)
    op.execute(sa.update(shares).values(author=newest.scalar_subquery()))


def downgrade() -> None:
    op.drop_column("shares", "author")
    op.drop_column("jobs", "author")
