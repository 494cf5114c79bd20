"""Alembic migrations of the tagger's database; run by `tagger db upgrade`."""
