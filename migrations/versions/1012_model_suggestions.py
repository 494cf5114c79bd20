"""Suggestions of models: from which score on each suggests landmarks, and an index of all suggestions, the best first.

Manifests of earlier packages do not say it. Their scores are calibrated: from 0.5 on, a landmark is likelier than all else.
"""

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "1012"
down_revision = "1011"
branch_labels = None
depends_on = None

_INDEX = "ix_effective_tags_suggested_score"


def upgrade() -> None:
    columns = ["score", "content_id", "landmark_id"]
    create_index_concurrently(_INDEX, "effective_tags", columns, "state = 'suggested'")
    op.add_column("models", sa.Column("suggestion_threshold", sa.Float))
    op.execute("UPDATE models SET suggestion_threshold = 0.5 WHERE file IS NULL")
    op.execute("UPDATE ledgers SET settled_to = 0")


def downgrade() -> None:
    op.drop_column("models", "suggestion_threshold")
    op.drop_index(_INDEX, "effective_tags")
