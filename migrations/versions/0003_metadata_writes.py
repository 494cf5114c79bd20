"""Metadata: what was written into which file and what undoes it; outcomes of jobs that write."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)

LOOKED = ("tagged", "unknown", "skipped", "failed", "cancelled")
WROTE = ("written", "unchanged", "refused")


def upgrade() -> None:
    for outcome in WROTE:
        op.add_column("chunks", sa.Column(outcome, sa.Integer(), server_default="0", nullable=False))
    _allow((*LOOKED[:2], *WROTE, *LOOKED[2:]))
    op.create_index(op.f("ix_jobs_parent_id"), "jobs", ["parent_id"])
    op.create_table(
        "metadata_writes",
        sa.Column("id", ID, nullable=False),
        sa.Column("photo_id", ID, nullable=True),
        sa.Column("job_id", ID, nullable=True),
        sa.Column(
            "picture",
            sa.Text(),
            nullable=False,
            comment="digest of the photo's content: known however it is moved",
        ),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column(
            "file",
            sa.Text(),
            nullable=False,
            comment="name of the file that was written, in the photo's folder",
        ),
        sa.Column(
            "written_digest",
            sa.Text(),
            nullable=False,
            comment="BLAKE3 of the whole file as it was written",
        ),
        sa.Column(
            "base_digest",
            sa.Text(),
            nullable=True,
            comment="the same of the file without what was added; null: there was no file",
        ),
        sa.Column(
            "undo",
            sa.LargeBinary(),
            nullable=True,
            comment="which bytes were replaced, and where; null: there was no file",
        ),
        sa.Column("landmarks", sa.JSON(), nullable=False, comment="slugs that were written"),
        sa.Column("written_at", TIME, nullable=False),
        sa.Column(
            "confirmed",
            sa.Boolean(),
            nullable=False,
            comment="false: about to be written; the file tells whether it was",
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.id"], name=op.f("fk_metadata_writes_photo_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_metadata_writes_job_id"), ondelete="SET NULL"
        ),
        sa.CheckConstraint("target IN ('sidecar', 'embed')", name=op.f("ck_metadata_writes_target")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metadata_writes")),
        comment="What this program wrote into which file, and what takes it back exactly.",
    )
    for column in ("photo_id", "picture", "written_digest", "job_id"):
        op.create_index(op.f(f"ix_metadata_writes_{column}"), "metadata_writes", [column])


def downgrade() -> None:
    op.drop_table("metadata_writes")
    op.drop_index(op.f("ix_jobs_parent_id"), table_name="jobs")
    # Jobs that wrote are not known to what comes before; photos they were about stay as they are.
    op.execute("DELETE FROM chunks WHERE job_id IN (SELECT id FROM jobs WHERE kind IN ('write', 'undo'))")
    op.execute("DELETE FROM job_items WHERE job_id IN (SELECT id FROM jobs WHERE kind IN ('write', 'undo'))")
    op.execute("DELETE FROM jobs WHERE kind IN ('write', 'undo')")
    _allow(LOOKED)
    for outcome in WROTE:
        op.drop_column("chunks", outcome)


def _allow(outcomes: Sequence[str]) -> None:
    """The outcomes that an item may have. SQLite knows no other way than a new table."""
    listed = ", ".join(f"'{outcome}'" for outcome in outcomes)
    check = f"outcome IN ({listed})"
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_job_items_outcome"), "job_items", type_="check")
        op.create_check_constraint(op.f("ck_job_items_outcome"), "job_items", check)
        return
    op.create_table(
        "job_items_new",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="dense from 0"),
        sa.Column("photo_id", ID, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True, comment="null: not yet"),
        sa.Column("reason", sa.Text(), nullable=True, comment="why skipped, or the kind of failure"),
        sa.Column("error_text", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_items_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.id"], name=op.f("fk_job_items_photo_id"), ondelete="SET NULL"
        ),
        sa.CheckConstraint(check, name=op.f("ck_job_items_outcome")),
        sa.PrimaryKeyConstraint("job_id", "position", name=op.f("pk_job_items")),
        sqlite_with_rowid=False,
    )
    columns = "job_id, position, photo_id, outcome, reason, error_text, attempts"
    op.execute(f"INSERT INTO job_items_new ({columns}) SELECT {columns} FROM job_items")  # noqa: S608 - ours
    op.drop_table("job_items")
    op.rename_table("job_items_new", "job_items")
    op.create_index(op.f("ix_job_items_photo_id"), "job_items", ["photo_id"])
