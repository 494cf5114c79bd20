"""The schema of 2.0, without statements: a new database gets the newest schema."""

# Versions before 2.0 used 0001 to 1013.
revision = "1014"
down_revision = None
