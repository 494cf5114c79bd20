"""The exceptions that a caller of the database catches, so that other packages need not import SQLAlchemy."""

from sqlalchemy.exc import SQLAlchemyError

DatabaseError = SQLAlchemyError
"""Any error of SQLAlchemy or the driver. `tagger.database.retry.is_transient` tells whether waiting can help."""
