"""The exceptions that a caller of the database catches, so that other packages need not import SQLAlchemy."""

from sqlalchemy.exc import SQLAlchemyError

DatabaseError = SQLAlchemyError
"""Any error of SQLAlchemy or the driver. `tagger.database.retry.is_transient` tells whether waiting can help."""

_INSUFFICIENT_PRIVILEGE = "42501"
"""PostgreSQL's code."""


def is_permission_missing(error: DatabaseError) -> bool:
    """Whether the server refused a statement because the role lacks a right."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) == _INSUFFICIENT_PRIVILEGE
