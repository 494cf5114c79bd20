"""The tables of derived facts: where photos were taken, with the GPS tracks."""

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from tagger.database.enums import PositionSource
from tagger.database.tables.column_types import Id, UtcDateTime, listed, metadata, one_of

tracks = Table(
    "tracks",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("digest", Text, nullable=False, unique=True, doc="BLAKE3 digest of the GPX file"),
    Column("name", Text, nullable=False, doc="name of the file"),
    Column("points", Integer, nullable=False, doc="number of points with a time"),
    Column("added_at", UtcDateTime, nullable=False, doc="when it was added"),
    info={"doc": "A GPS track: where somebody was, and when."},
)
track_parts = Table(
    "track_parts",
    metadata,
    Column("track_id", Id, ForeignKey("tracks.id", ondelete="CASCADE"), nullable=False, doc="the track"),
    Column("part", Integer, nullable=False, doc="0, 1, 2, …"),
    Column("first_at", UtcDateTime, nullable=False, doc="time of its first point"),
    Column("last_at", UtcDateTime, nullable=False, doc="time of its last point"),
    Column(
        "data",
        LargeBinary,
        nullable=False,
        doc="its points in order of time: seconds since 1970, latitude, longitude (float64, little-endian)",
    ),
    PrimaryKeyConstraint("track_id", "part"),
    Index(None, "last_at", "first_at"),
    info={
        "doc": "Successive points of a track, of at most a day. A part that continues another begins with its last point."
    },
)
positions = Table(
    "positions",
    metadata,
    Column(
        "photo_id",
        Id,
        ForeignKey("photos.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        doc="the photo",
    ),
    Column("latitude", Float, nullable=False, doc="degrees (WGS 84), south is negative"),
    Column("longitude", Float, nullable=False, doc="degrees (WGS 84), west is negative"),
    Column(
        "error_m",
        Float,
        nullable=False,
        doc="metres; in 90 % of cases, the true position is nearer",
    ),
    Column("source", Text, one_of("source", PositionSource), nullable=False, doc=listed(PositionSource)),
    Column(
        "evidence",
        JSON,
        nullable=False,
        doc="`landmark` or `track` with its id, or `before` and `after` with photos and seconds",
    ),
    Column("country", Text, doc="country of the nearest city"),
    Column("region", Text, doc="region or state of the nearest city"),
    Column("city", Text, doc="the nearest city"),
    Index(None, "latitude", "longitude", "photo_id"),
    Index(None, "source", "photo_id"),
    Index(None, "country", "latitude", "longitude", "photo_id"),
    info={
        "doc": "Where a photo was taken. Derived from GPS, landmarks, tracks and neighbouring photos; replaced when these change."
    },
)
position_changes = Table(
    "position_changes",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("photo_id", Id, doc="the photo; null: all photos of an image"),
    Column("camera_id", Id, doc="its camera before the change"),
    Column("taken_at", DateTime, doc="its time before the change"),
    Column("content_id", Id, doc="the image"),
    info={
        "doc": "A photo or an image whose evidence has changed since `positions` was updated. Changes insert rows; the update deletes them."
    },
)
