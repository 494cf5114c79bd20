"""Photos of a country are found by their positions in it, and those of a landmark by score."""

from migrations.concurrent_indexes import create_index_concurrently, drop_index_concurrently

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

COUNTRY, POSITIONS_OF_COUNTRY = (
    "ix_positions_country_photo_id",
    "ix_positions_country_latitude_longitude_photo_id",
)
SCORE, SCORES_OF_LANDMARK = "ix_tags_accepted_score", "ix_tags_accepted_score_landmark"


def upgrade() -> None:
    create_index_concurrently(
        POSITIONS_OF_COUNTRY, "positions", ["country", "latitude", "longitude", "photo_id"]
    )
    create_index_concurrently(
        SCORES_OF_LANDMARK, "tags", ["score", "content_id", "landmark_id"], "accepted = true"
    )
    drop_index_concurrently(COUNTRY, "positions")
    drop_index_concurrently(SCORE, "tags")


def downgrade() -> None:
    create_index_concurrently(COUNTRY, "positions", ["country", "photo_id"])
    create_index_concurrently(SCORE, "tags", ["score", "content_id"], "accepted = true")
    drop_index_concurrently(POSITIONS_OF_COUNTRY, "positions")
    drop_index_concurrently(SCORES_OF_LANDMARK, "tags")
