"""An index of positions by city, which has what cities are counted from. It takes the place of that by country."""

from alembic import op

from migrations.concurrent_indexes import create_index_concurrently

revision = "1013"
down_revision = "1012"
branch_labels = None
depends_on = None

_BY_CITY = "ix_positions_country_region_city_latitude_longitude_photo_id"
_BY_COUNTRY = "ix_positions_country_latitude_longitude_photo_id"


def upgrade() -> None:
    columns = ["country", "region", "city", "latitude", "longitude", "photo_id"]
    create_index_concurrently(_BY_CITY, "positions", columns)
    op.drop_index(_BY_COUNTRY, "positions")


def downgrade() -> None:
    op.create_index(_BY_COUNTRY, "positions", ["country", "latitude", "longitude", "photo_id"])
    op.drop_index(_BY_CITY, "positions")
