"""The schema of 3.0: without people, their sessions and tokens, and links for visitors.

It says what ends. The log of changes stays.
"""

import logging

import sqlalchemy as sa
from alembic import op

revision = "1020"
down_revision = "1017"
branch_labels = None
depends_on = None

_IS_VALID = "(expires_at IS NULL OR expires_at > CURRENT_TIMESTAMP)"
_USERS = "SELECT name FROM users ORDER BY name"
_TOKENS = f"SELECT name FROM access_tokens WHERE name <> 'TAGGER_WEB_TOKEN' AND {_IS_VALID} ORDER BY name"  # noqa: S608
_SHARES = f"SELECT count(*) FROM shares WHERE revoked_at IS NULL AND {_IS_VALID}"  # noqa: S608

log = logging.getLogger(__name__)


def upgrade() -> None:
    _say_what_ends()
    for table in (
        "share_photos",
        "shares",
        "page_sessions",
        "sign_in_attempts",
        "access_tokens",
        "users",
    ):
        op.drop_table(table)


def _say_what_ends() -> None:
    connection = op.get_bind()
    names = dict.fromkeys((*connection.scalars(sa.text(_USERS)), *connection.scalars(sa.text(_TOKENS))))
    shares = connection.scalar(sa.text(_SHARES))
    if names:
        log.warning(
            "removed: the access of %s to the page. Without TAGGER_WEB_TOKEN, every user of this machine may "
            "do everything there. TAGGER_WEB_VIEW_TOKEN may look, and a proxy can name people",
            ", ".join(names),
        )
    if shares:
        log.warning("removed: links for visitors (%d). The photos stay", shares)
