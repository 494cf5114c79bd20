"""The whole database as lines of JSON, out and in again: from SQLite to PostgreSQL and back, with every id as it was.

It goes by the tables there are (tagger.tables.metadata), so a new table comes along by itself.
"""

from tagger.transfer.arriving import Arrived, import_database
from tagger.transfer.leaving import Left, export_database

__all__ = ["Arrived", "Left", "export_database", "import_database"]
