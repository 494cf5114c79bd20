"""The tables of who may do what on the page, and who did."""

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, PrimaryKeyConstraint, Table, Text

from tagger.database.enums import Role
from tagger.database.tables.column_types import Id, UtcDateTime, metadata, one_of

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("name", Text, nullable=False, unique=True, doc="name in commands"),
    Column(
        "digest",
        Text,
        nullable=False,
        unique=True,
        doc="SHA-256 of the token; of `TAGGER_WEB_TOKEN`, its argon2id hash",
    ),
    Column("read_only", Boolean, nullable=False, doc="whether it allows searching, but no changes"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, doc="when it becomes invalid; null: never"),
    Column(
        "last_used_at",
        UtcDateTime,
        doc="when it or one of its sessions was used last, to the minute; null: never",
    ),
    info={"doc": "A token that gives access to the page, until it expires or is revoked."},
)

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("name", Text, nullable=False, unique=True, doc="name to sign in with, in lower case"),
    Column("role", Text, nullable=False, doc="`viewer`, `editor` or `admin`"),
    Column("password_hash", Text, doc="argon2id hash; null: sign-in at a reverse proxy only"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime, doc="when the person used the page last, to the minute; null: never"),
    one_of("role", Role),
    info={"doc": "A person who signs in to the page by name."},
)

sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("account", Text, nullable=False, doc="SHA-256 of the name, which may be unknown"),
    Column("network", Text, nullable=False, doc="address of the client; of IPv6, its /64 network"),
    Column("at", UtcDateTime, nullable=False, doc="when it was"),
    Index(None, "account", "at"),
    Index(None, "network", "at"),
    Index(None, "at"),
    info={"doc": "An attempt to sign in with a name and a wrong password, within the last hour."},
)

page_sessions = Table(
    "page_sessions",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("digest", Text, nullable=False, unique=True, doc="hash of the session id in the browser's cookie"),
    Column(
        "token_id",
        Id,
        ForeignKey("access_tokens.id", ondelete="CASCADE"),
        doc="the token; null: another sign-in",
    ),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), doc="the person; null: a token"),
    Column("network", Text, doc="address of the client; of IPv6, its /64 network"),
    Column("browser", Text, doc="User-Agent of the browser"),
    Column("created_at", UtcDateTime, nullable=False, doc="when the person signed in"),
    Column("last_used_at", UtcDateTime, nullable=False, doc="when it was used last, to the minute"),
    Column("expires_at", UtcDateTime, nullable=False, doc="when it becomes invalid"),
    Index(None, "token_id"),
    Index(None, "user_id"),
    info={"doc": "A browser that is signed in to the page. Signing out deletes it."},
)

shares = Table(
    "shares",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key, by which commands name it"),
    Column("digest", Text, nullable=False, unique=True, doc="SHA-256 of the link's token"),
    Column("name", Text, nullable=False, doc="title that visitors see"),
    Column("options", JSON(none_as_null=True), doc="its query; null: `share_photos`"),
    Column("with_positions", Boolean, nullable=False, doc="whether visitors see where photos were taken"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, doc="when it ends by itself; null: never"),
    Column("revoked_at", UtcDateTime, doc="when it was revoked; null: it was not"),
    Column("author", Text, doc="who made it, like `audit_log.actor`; null: unknown"),
    info={"doc": "A link that shows some photos without sign-in. Kept for 90 days after its end."},
)

share_photos = Table(
    "share_photos",
    metadata,
    Column("share_id", Id, ForeignKey("shares.id", ondelete="CASCADE"), doc="the share"),
    Column("photo_id", Id, ForeignKey("photos.id", ondelete="CASCADE"), doc="a selected photo"),
    PrimaryKeyConstraint("share_id", "photo_id"),
    Index(None, "photo_id"),
    info={"doc": "The photos of a share that is a fixed selection."},
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key, in the order of writing"),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False, doc="`cli`, `web` or `worker`, and who used it"),
    Column("action", Text, nullable=False, doc="what was done, like `job-create`"),
    Column("subject", Text, doc="the number of a job, or the name of a schedule, model, token or user"),
    Column("details", JSON, nullable=False, doc="more about it, without secrets"),
    Index(None, "at"),
    Index(None, "action", "id"),
    info={"doc": "Who did what, for 400 days and at most a million entries. `tagger people audit` lists it."},
)
