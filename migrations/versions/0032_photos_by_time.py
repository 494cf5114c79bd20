"""Photos of an image are read with their times from its index, and photos that wait or fail are found in order of time."""

from migrations.concurrent_indexes import create_index_concurrently, drop_index_concurrently

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

IS_UNTAGGED = (
    "gone_since IS NULL AND primary_id IS NULL AND failure_kind IS NULL AND (content_id IS NULL"
    " OR classified_mtime_ns IS NULL OR classified_mtime_ns != mtime_ns OR classified_size_bytes != size_bytes)"
)
WAITING, FAILING = "ix_photos_untagged_taken_at", "ix_photos_failing_taken_at"
OF_IMAGE, OF_IMAGE_BY_TIME = (
    "ix_photos_content_id_gone_since",
    "ix_photos_content_id_gone_since_taken_at_id",
)


def upgrade() -> None:
    create_index_concurrently(WAITING, "photos", ["taken_at", "id"], IS_UNTAGGED)
    create_index_concurrently(FAILING, "photos", ["taken_at", "id"], "failure_kind IS NOT NULL")
    create_index_concurrently(OF_IMAGE_BY_TIME, "photos", ["content_id", "gone_since", "taken_at", "id"])
    drop_index_concurrently(OF_IMAGE, "photos")


def downgrade() -> None:
    create_index_concurrently(OF_IMAGE, "photos", ["content_id", "gone_since"])
    for name in (OF_IMAGE_BY_TIME, FAILING, WAITING):
        drop_index_concurrently(name, "photos")
