"""The schema of 1.0, without statements: a new database gets the newest schema."""

# Versions before 1.0 used 0001 to 0033.
revision = "1001"
down_revision = None
branch_labels = None
depends_on = None
