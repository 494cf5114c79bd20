"""The schema of 2.0: tags as found, suggestions of models, visits; and no packs, providers and webhooks.

It says what it removes. Verdicts, landmarks and people stay.
"""

import logging

import sqlalchemy as sa
from alembic import op

revision = "1014"
down_revision = "1007"
branch_labels = None
depends_on = None

_TABLES = ("tags", "taught_tags")
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

log = logging.getLogger(__name__)


def upgrade() -> None:
    false = "0" if op.get_bind().dialect.name == "sqlite" else "false"
    _remove_packs()
    _remove_providers()
    _remove_webhooks()
    _remove_undo_of_merges()
    _add_suggestions()
    by_city = ["country", "region", "city", "latitude", "longitude", "photo_id"]
    op.create_index("ix_positions_country_region_city_latitude_longitude_photo_id", "positions", by_city)
    op.drop_index("ix_positions_country_latitude_longitude_photo_id", "positions")
    _keep_tags_as_found(false)
    _index_folders()
    _add_visits()
    op.execute("UPDATE ledgers SET settled_to = 0")


_OF_PACK = "SELECT count(*) FROM effective_tags WHERE pack IS NOT NULL AND state = 'accepted'"
_COMPARE_AGAIN = (
    "UPDATE classifiers SET applied = false,"
    " version = (SELECT m.taught_version + 1 FROM models AS m WHERE m.id = classifiers.model_id)"
    " WHERE pack = '' AND EXISTS (SELECT 1 FROM classifiers AS o WHERE o.pack <> ''"
    " AND o.model_id = classifiers.model_id AND o.landmark_id = classifiers.landmark_id)"
)
"""A taught tag of a pack may have been stored in place of one that was taught here."""


def _remove_packs() -> None:
    """What was learned by others goes, with the tags that follow from it alone."""
    names = op.get_bind().scalars(sa.text("SELECT name FROM packs ORDER BY name")).all()
    if names:
        tags = op.get_bind().scalar(sa.text(_OF_PACK))
        op.execute(_COMPARE_AGAIN)
        op.execute("UPDATE models SET taught_version = taught_version + 1")
        op.execute("DELETE FROM taught_tags WHERE pack <> ''")
        op.execute("DELETE FROM classifiers WHERE pack <> ''")
        log.warning(
            "removed: the packs %s, and the tags that images had from them alone (%d). Tags that people "
            "confirmed"
            " stay, and so do the landmarks: to find more photos of one, run `tagger teach LANDMARK "
            "PHOTO...`",
            ", ".join(names),
            tags,
        )
    op.drop_table("packs")
    op.drop_column("taught_tags", "pack")
    op.drop_column("effective_tags", "pack")
    with op.batch_alter_table("classifiers") as table:
        table.drop_constraint("pk_classifiers", type_="primary")
        table.drop_column("pack")
        table.create_primary_key("pk_classifiers", ["landmark_id", "model_id"])


_LINKED = "SELECT {} FROM users WHERE issuer IS NOT NULL"


def _remove_providers() -> None:
    """What links people to a provider of OpenID Connect goes, and their sessions end."""
    names = op.get_bind().scalars(sa.text(_LINKED.format("name") + " ORDER BY name")).all()
    op.execute(f"DELETE FROM page_sessions WHERE user_id IN ({_LINKED.format('id')})")  # noqa: S608 - no values
    op.drop_column("page_sessions", "id_token")
    op.drop_index("ix_users_issuer_subject", "users")
    op.drop_column("users", "issuer")
    op.drop_column("users", "subject")
    if names:
        log.warning(
            "removed: the sign-in of %s with OpenID Connect. They keep their names, roles and shares: let "
            "a proxy"
            " sign them in by these names, or give each a password with `tagger people user password NAME`",
            ", ".join(names),
        )


def _remove_webhooks() -> None:
    counts = "SELECT count(*), count(*) - count(delivered_at) FROM webhook_messages"
    events, undelivered = op.get_bind().execute(sa.text(counts)).one()
    op.drop_table("webhook_messages")
    if events:
        log.warning(
            "removed: the events of webhooks (%d, not delivered: %d). cron and `tagger status --json` tell"
            " what"
            " happened",
            events,
            undelivered,
        )


_ENTRIES = sa.table(
    "audit_log",
    sa.column("id", sa.BigInteger),
    sa.column("action", sa.Text),
    sa.column("subject", sa.Text),
    sa.column("details", sa.JSON),
)
_OF_UNDO = {"undo", "verdicts_before", "continues"}


def _remove_undo_of_merges() -> None:
    """What the audit log keeps to undo merges of landmarks goes. The entries stay."""
    connection = op.get_bind()
    merges = sa.select(_ENTRIES).where(_ENTRIES.c.action == "landmark-merge").order_by(_ENTRIES.c.id)
    names = []
    for row in connection.execute(merges).all():
        if _OF_UNDO & row.details.keys():
            kept = {name: value for name, value in row.details.items() if name not in _OF_UNDO}
            connection.execute(sa.update(_ENTRIES).where(_ENTRIES.c.id == row.id).values(details=kept))
            names += [row.subject] * ("undo" in row.details)
    if names:
        log.warning(
            "removed: what undoes the merges of %s. These landmarks stay merged, with all verdicts and tags",
            ", ".join(names),
        )


def _add_suggestions() -> None:
    """Manifests of earlier packages do not say from which score on a model suggests landmarks.

    Their scores are calibrated: from 0.5 on, a landmark is likelier than all else.
    """
    where = sa.text("state = 'suggested'")
    op.create_index(
        "ix_effective_tags_suggested_score",
        "effective_tags",
        ["score", "content_id", "landmark_id"],
        sqlite_where=where,
        postgresql_where=where,
    )
    op.add_column("models", sa.Column("suggestion_threshold", sa.Float))
    op.execute("UPDATE models SET suggestion_threshold = 0.5 WHERE file IS NULL")


def _keep_tags_as_found(false: str) -> None:
    """Tags keep whether the score is enough, and the odds of a position. The rest follows from these."""
    for table in _TABLES:
        op.create_index(f"ix_{table}_landmark_id_content_id", table, ["landmark_id", "content_id"])
        op.drop_index(f"ix_{table}_landmark_id_content_id_accepted", table)
        is_reason = "odds_reason IN ('position', 'speed')"
        column = f"odds_reason TEXT CONSTRAINT ck_{table}_odds_reason CHECK ({is_reason})"
        op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
        reason = "CASE doubtful WHEN 'speed' THEN 'speed' ELSE 'position' END"
        op.execute(f"UPDATE {table} SET odds_reason = {reason} WHERE position_odds IS NOT NULL")  # noqa: S608
    for name in ("ix_tags_candidate_score", "ix_tags_accepted_score_landmark"):
        op.drop_index(name, "tags")
    op.execute(
        "UPDATE tags SET accepted = (doubtful IS NOT NULL)"
        " WHERE doubtful IS NOT NULL OR position_odds IS NOT NULL"
    )
    op.execute("ALTER TABLE tags RENAME COLUMN accepted TO enough")
    is_candidate = sa.text(f"rank = 1 AND (enough = {false} OR position_odds IS NOT NULL)")
    op.create_index(
        "ix_tags_candidate",
        "tags",
        ["score", "content_id"],
        sqlite_where=is_candidate,
        postgresql_where=is_candidate,
    )
    op.drop_column("taught_tags", "accepted")
    for table in _TABLES:
        op.drop_column(table, "doubtful")


def _index_folders() -> None:
    """On SQLite; PostgreSQL reads the table faster."""
    if op.get_bind().dialect.name == "sqlite":
        folder = sa.text("rtrim(path, replace(path, '/', ''))")
        where = sa.text("gone_since IS NULL AND primary_id IS NULL AND length(path_bytes) = 0")
        columns: list[str | sa.TextClause] = ["root_id", folder]
        op.create_index("ix_photos_folder", "photos", columns, sqlite_where=where)


def _add_visits() -> None:
    """Visits of cameras, from which trips follow. All are out of date, and computed after the upgrade."""
    op.create_index(
        "ix_photos_camera",
        "photos",
        ["camera_id", "taken_at", "gone_since", "content_id", "id"],
        sqlite_where=sa.text("camera_id IS NOT NULL"),
        postgresql_where=sa.text("camera_id IS NOT NULL"),
    )
    op.drop_index("ix_photos_camera_id_taken_at", "photos")
    op.create_table(
        "visits",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("country", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("city", sa.Text, nullable=False),
        sa.Column("latitude", sa.Float),
        sa.Column("longitude", sa.Float),
        sa.Column("photos", sa.Integer, nullable=False),
        sa.Column("first_at", sa.DateTime, nullable=False),
        sa.Column("last_at", sa.DateTime, nullable=False),
        sa.Column("is_measured", sa.Boolean, nullable=False),
        sa.Column("is_dated", sa.Boolean, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
    )
    op.create_index("ix_visits_day_camera_id", "visits", ["day", "camera_id"])
    op.create_table(
        "visit_changes",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("camera_id", _ID, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
    )
    op.create_index("ix_visit_changes_camera_id_day", "visit_changes", ["camera_id", "day"])
    bind = op.get_bind()
    is_sqlite = bind.dialect.name == "sqlite"
    day = "substr(taken_at, 1, 10)" if is_sqlite else "taken_at::date"
    dated = "camera_id IS NOT NULL AND taken_at IS NOT NULL"
    found = f"SELECT DISTINCT camera_id, {day} FROM photos WHERE {dated}"  # noqa: S608 - no values
    bind.exec_driver_sql(f"INSERT INTO visit_changes (camera_id, day) {found}")
