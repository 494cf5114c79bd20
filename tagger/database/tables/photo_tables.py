"""The tables of photos, their images and cameras, and of where they were taken, with GPS tracks."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
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
    UniqueConstraint,
    and_,
    func,
    literal_column,
    or_,
)

from tagger.database import (
    ClockSource,
    FactProblem,
    FactSource,
    KeptStep,
    PositionSource,
    TripEditKind,
)
from tagger.database.statements import folder_of, name_of, part_of
from tagger.database.tables.column_types import (
    Id,
    PathText,
    UtcDateTime,
    add_partial_index,
    listed,
    metadata,
    one_of,
)

roots = Table(
    "roots",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column(
        "name",
        Text,
        nullable=False,
        unique=True,
        doc="name of the root in settings and messages",
    ),
    Column("location", PathText, nullable=False, doc="absolute path or address"),
    Column(
        "location_bytes",
        LargeBinary,
        nullable=False,
        doc="bytes of a path that is not UTF-8, else empty",
    ),
    Column("endpoint", Text, doc="URL of the S3 server, without credentials"),
    UniqueConstraint("location", "location_bytes"),
    info={
        "doc": "An outermost enqueued folder or bucket prefix. `TAGGER_ROOTS` maps it on a machine."
    },
)

mounts = Table(
    "mounts",
    metadata,
    Column(
        "root_id",
        Id,
        ForeignKey("roots.id", ondelete="CASCADE"),
        nullable=False,
        doc="the root",
    ),
    Column(
        "path",
        PathText,
        nullable=False,
        doc="path relative to the root; empty: the root itself; with a slash at the end: guarded",
    ),
    Column(
        "path_bytes",
        LargeBinary,
        nullable=False,
        doc="bytes of a path that is not UTF-8, else empty",
    ),
    PrimaryKeyConstraint("root_id", "path", "path_bytes"),
    info={
        "doc": "A disk or share that a scan found mounted in a root; or a guarded folder, which was a root "
        "or has become a link: photos in it are gone only once it is a folder with files again."
    },
)

contents = Table(
    "contents",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column(
        "digest",
        Text,
        nullable=False,
        unique=True,
        doc="digest of image data and orientation",
    ),
    Column("width", Integer, doc="pixels, as displayed"),
    Column("height", Integer, doc="pixels, as displayed"),
    Column(
        "colours",
        LargeBinary,
        doc="a preview: three rows of three colours, three bytes each",
    ),
    Column(
        "model_id",
        Id,
        ForeignKey("models.id"),
        doc="of the last classification; null: none",
    ),
    Column("top_k", Integer, doc="largest number of tags in that classification"),
    Column(
        "threshold", Float, doc="lowest score of an accepted tag in that classification"
    ),
    Column(
        "damaged",
        Boolean,
        nullable=False,
        server_default="0",
        doc="whether a part is missing",
    ),
    Column(
        "outcome",
        Text,
        doc="`tagged` (one of its `effective_tags` is accepted) or `unknown`; null: never classified",
    ),
    Column("classified_at", UtcDateTime, doc="when it was classified last"),
    Index(None, "model_id"),
    Index(None, "outcome", "id"),
    info={
        "doc": "An image, known by its digest. Copies of a photo share it, with its tags and verdicts."
    },
)

cameras = Table(
    "cameras",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column(
        "key",
        Text,
        nullable=False,
        unique=True,
        doc="make, model and serial number, or root and folder",
    ),
    Column(
        "name", Text, nullable=False, doc="name of the camera, or path of the folder"
    ),
    Column(
        "clock_offset_s",
        Integer,
        doc="seconds its clock is ahead of UTC, for photos that do not say; null: unknown",
    ),
    Column(
        "clock_source",
        Text,
        one_of("clock_source", ClockSource),
        doc=f"{listed(ClockSource)}: who says so",
    ),
    Column(
        "companions_id",
        Id,
        ForeignKey("cameras.id", name="fk_cameras_companions_id"),
        doc="the first camera used with it; null: used alone",
    ),
    info={
        "doc": "A camera. Photos of a folder that name no camera count as those of one camera."
    },
)

photos = Table(
    "photos",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("root_id", Id, ForeignKey("roots.id"), nullable=False, doc="the root"),
    Column(
        "path",
        PathText,
        nullable=False,
        doc="path relative to the root, with `/` as separator",
    ),
    Column(
        "path_bytes",
        LargeBinary,
        nullable=False,
        doc="bytes of a path that is not UTF-8, else empty",
    ),
    Column("size_bytes", BigInteger, nullable=False, doc="size of the file"),
    Column(
        "mtime_ns",
        BigInteger,
        nullable=False,
        doc="modification time (ns); of an object, with a digest of its ETag",
    ),
    Column(
        "taken_at", DateTime, doc="when the photo was taken, in the camera's local time"
    ),
    Column(
        "latitude",
        Float,
        doc="the position that the photo or a file beside it states, degrees",
    ),
    Column(
        "longitude",
        Float,
        doc="the position that the photo or a file beside it states, degrees",
    ),
    Column(
        "gps_error_m", Float, doc="its error, as the same file states it, in metres"
    ),
    Column(
        "utc_offset_s",
        Integer,
        doc="seconds that `taken_at` is ahead of UTC, if stated",
    ),
    Column(
        "taken_source",
        Text,
        one_of("taken_source", FactSource),
        nullable=False,
        server_default=FactSource.CAMERA.value,
        doc=f"{listed(FactSource)}: who says `taken_at`; `camera` also without one",
    ),
    Column(
        "gps_source",
        Text,
        one_of("gps_source", FactSource),
        nullable=False,
        server_default=FactSource.CAMERA.value,
        doc="`camera`, `sidecar` or `takeout`: who states the position; `camera` also without one",
    ),
    Column(
        "side_files",
        Text,
        doc="JSON of the files beside it, with size and modification time; null: none",
    ),
    Column(
        "unread_facts",
        Text,
        one_of("unread_facts", FactProblem),
        doc="`date` or `side-file`: unreadable",
    ),
    Column(
        "own_facts",
        JSON(none_as_null=True),
        doc="what a file beside it overruled of time and position",
    ),
    Column("origin", Text, doc="`screenshot`, `edited` or null: as a camera took it"),
    Column(
        "camera_id",
        Id,
        ForeignKey("cameras.id", name="fk_photos_camera_id"),
        doc="null: not read yet",
    ),
    Column(
        "gone_since", UtcDateTime, doc="since when the file is missing; null: it exists"
    ),
    Column(
        "primary_id",
        Id,
        ForeignKey("photos.id", name="fk_photos_primary_id"),
        doc="of a RAW file: the JPEG or HEIC whose row speaks for both",
    ),
    Column(
        "content_id",
        Id,
        ForeignKey("contents.id"),
        doc="the image in the file; null: not read yet",
    ),
    Column(
        "classified_size_bytes",
        BigInteger,
        doc="size of the file when it was classified",
    ),
    Column(
        "classified_mtime_ns",
        BigInteger,
        doc="modification time of the file when it was classified",
    ),
    Column(
        "failure_kind",
        Text,
        doc="kind of failure; null: no failure",
    ),
    Column("failure_text", Text, doc="the failure in words, with a remedy"),
    Column("failure_job_id", Id, doc="the job that failed last"),
    Column("failure_attempts", Integer, doc="failed attempts since the last success"),
    Column(
        "retry_at",
        UtcDateTime,
        doc="when it is tried again by itself; null: not before it changes",
    ),
    UniqueConstraint("root_id", "path", "path_bytes"),
    Index(None, "content_id", "gone_since", "taken_at", "id"),
    Index(None, "taken_at"),
    info={
        "doc": "A photo: a file below a root. With a `primary_id`, a further file of another one."
    },
)

FAILING = photos.c.failure_kind.is_not(None)
add_partial_index("ix_photos_failing", photos.c.id, where=FAILING)
add_partial_index(
    "ix_photos_failing_taken_at", photos.c.taken_at, photos.c.id, where=FAILING
)

Index("ix_photos_name", name_of(photos.c.path))
Index("ix_photos_part", part_of(photos.c.taken_at, photos.c.id))

# Of all photos, SQLite would read it instead of the index in the order of images, which takes longer.
add_partial_index(
    "ix_photos_camera",
    photos.c.camera_id,
    photos.c.taken_at,
    photos.c.gone_since,
    photos.c.content_id,
    photos.c.id,
    where=photos.c.camera_id.is_not(None),
)

add_partial_index(
    "ix_photos_unread_facts", photos.c.id, where=photos.c.unread_facts.is_not(None)
)

add_partial_index(
    "ix_photos_primary_id", photos.c.primary_id, where=photos.c.primary_id.is_not(None)
)

# Photos that exist, each once. RAW files with a JPEG have no content.
PRESENT = and_(photos.c.gone_since.is_(None), photos.c.primary_id.is_(None))

# Photos that a folder lists: those that exist and whose path is text.
IN_FOLDERS = and_(PRESENT, func.length(photos.c.path_bytes) == literal_column("0"))
add_partial_index(
    "ix_photos_folder", photos.c.root_id, folder_of(photos.c.path), where=IN_FOLDERS
)
# PostgreSQL would look up each photo of it, and reads the table faster.
next(index for index in photos.indexes if index.name == "ix_photos_folder").ddl_if(
    dialect="sqlite"
)

# Photos whose current file no model has classified, without those that failed. Partial indexes hold
# them.
UNTAGGED = and_(
    PRESENT,
    photos.c.failure_kind.is_(None),
    or_(
        photos.c.content_id.is_(None),
        photos.c.classified_mtime_ns.is_(None),
        photos.c.classified_mtime_ns != photos.c.mtime_ns,
        photos.c.classified_size_bytes != photos.c.size_bytes,
    ),
)
add_partial_index("ix_photos_untagged", photos.c.id, where=UNTAGGED)
add_partial_index(
    "ix_photos_untagged_taken_at", photos.c.taken_at, photos.c.id, where=UNTAGGED
)

# The values that clear a photo's failure.
# The values that clear a photo's failure.
NO_FAILURE: dict[str, None] = dict.fromkeys(
    ("failure_kind", "failure_text", "failure_job_id", "failure_attempts", "retry_at")
)
tracks = Table(
    "tracks",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column(
        "digest", Text, nullable=False, unique=True, doc="BLAKE3 digest of the GPX file"
    ),
    Column("name", Text, nullable=False, doc="name of the file"),
    Column("points", Integer, nullable=False, doc="number of points with a time"),
    Column("added_at", UtcDateTime, nullable=False),
    info={"doc": "A GPS track: where somebody was, and when."},
)
track_parts = Table(
    "track_parts",
    metadata,
    Column(
        "track_id",
        Id,
        ForeignKey("tracks.id", ondelete="CASCADE"),
        nullable=False,
        doc="the track",
    ),
    Column("part", Integer, nullable=False, doc="0, 1, 2, …"),
    Column("first_at", UtcDateTime, nullable=False, doc="time of its first point"),
    Column("last_at", UtcDateTime, nullable=False, doc="time of its last point"),
    Column(
        "data",
        LargeBinary,
        nullable=False,
        doc="its points: time, latitude, longitude (float64, little-endian)",
    ),
    PrimaryKeyConstraint("track_id", "part"),
    Index(None, "last_at", "first_at"),
    info={
        "doc": "Points of a track, of at most a day. A part begins with the last point before it."
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
    Column(
        "latitude",
        Float,
        nullable=False,
        doc="degrees (WGS 84); south and west are negative",
    ),
    Column(
        "longitude",
        Float,
        nullable=False,
        doc="degrees (WGS 84); south and west are negative",
    ),
    Column(
        "error_m",
        Float,
        nullable=False,
        doc="metres; in 90 % of cases, the true position is nearer",
    ),
    Column(
        "source",
        Text,
        one_of("source", PositionSource),
        nullable=False,
        doc=listed(PositionSource),
    ),
    Column(
        "evidence",
        JSON,
        nullable=False,
        doc="`landmark`, `track` or `trip`: its id; `before`, `after`: photos, seconds",
    ),
    Column("country", Text, doc="the nearest city and its country"),
    Column("region", Text, doc="its region or state"),
    Column("city", Text, doc="the nearest city and its country"),
    Column("sight", Text, doc="the sight at which it was taken"),
    Index(None, "sight", "photo_id"),
    Index(None, "latitude", "longitude", "photo_id"),
    Index(None, "source", "photo_id"),
    Index(None, "country", "region", "city", "latitude", "longitude", "photo_id"),
    info={
        "doc": "Where a photo was taken. Derived from GPS, landmarks, tracks, other photos and trips."
    },
)

_PART = (
    "the day, counted from 1 January 1; below 0: photos without a time, by their ids"
)

changed_days = Table(
    "changed_days",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column(
        "step", Text, one_of("step", KeptStep), nullable=False, doc=listed(KeptStep)
    ),
    Column("part", Integer, doc=f"{_PART}; null: those of a photo or an image"),
    Column("photo_id", Id, doc="the photo"),
    Column("content_id", Id, doc="the image"),
    Column("camera_id", Id, doc="of `positions`: the photo's camera before the change"),
    Column(
        "taken_at", DateTime, doc="of `positions`: the photo's time before the change"
    ),
    Index(None, "step", "part", "id"),
    info={
        "doc": "A day of which something kept is out of date. Triggers insert most rows."
    },
)

visits = Table(
    "visits",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("part", Integer, nullable=False, doc=_PART),
    Column("camera_id", Id, nullable=False, doc="the camera"),
    Column("country", Text, nullable=False, doc="country of its city; empty at sea"),
    Column("region", Text, nullable=False, doc="region of its city"),
    Column("city", Text, nullable=False, doc="the city; empty at sea"),
    Column(
        "latitude", Float, doc="mean position of the photos, degrees; null: unknown"
    ),
    Column(
        "longitude", Float, doc="mean position of the photos, degrees; null: unknown"
    ),
    Column("photos", Integer, nullable=False, doc="number of photos"),
    Column("first_at", DateTime, nullable=False, doc="local time of the first photo"),
    Column("last_at", DateTime, nullable=False, doc="local time of the last photo"),
    Column(
        "is_measured", Boolean, nullable=False, doc="a GPS receiver measured a position"
    ),
    Column(
        "is_dated",
        Boolean,
        nullable=False,
        doc="the date is not one at which clocks begin that were never set",
    ),
    Column(
        "folder",
        Text,
        nullable=False,
        doc="the folder of all its photos; empty: they are in several",
    ),
    Index(None, "part"),
    info={
        "doc": "The photos of a camera in one place on one day. Follows from `photos` and `positions`."
    },
)

trips = Table(
    "trips",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("first_at", DateTime, nullable=False, doc="local time of its first photo"),
    Column("last_at", DateTime, nullable=False, doc="local time of its last photo"),
    Column(
        "summary",
        JSON,
        nullable=False,
        doc="its cameras' times, places, landmarks, number of photos, cover",
    ),
    info={
        "doc": "A trip with what its photos show. Follows from `visits`, `trip_edits` and tags."
    },
)

day_places = Table(
    "day_places",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("part", Integer, nullable=False, doc=_PART),
    Column("country", Text, doc="country of their positions"),
    Column("region", Text, doc="region of their positions"),
    Column("city", Text, doc="city of their positions"),
    Column("sight", Text, doc="sight at which they were taken"),
    Column(
        "cell_row",
        Integer,
        doc="row of a grid of a quarter of a degree from the south pole; null: no position",
    ),
    Column(
        "cell_column",
        Integer,
        doc="column of the grid from 180° west; null: no position",
    ),
    Column(
        "classified",
        Integer,
        nullable=False,
        doc="number of classified photos, of copies the first",
    ),
    Column(
        "tagged", Integer, nullable=False, doc="number of those with an accepted tag"
    ),
    Column(
        "located",
        Integer,
        nullable=False,
        doc="number of positions, of copies the first at each",
    ),
    Column(
        "classified_aspect",
        Float,
        nullable=False,
        doc="sum of widths divided by heights",
    ),
    Column(
        "tagged_aspect", Float, nullable=False, doc="sum of widths divided by heights"
    ),
    Column("south", Float, doc="least latitude, degrees"),
    Column("north", Float, doc="greatest latitude, degrees"),
    Column("west", Float, doc="least longitude, degrees"),
    Column("east", Float, doc="greatest longitude, degrees"),
    Column("photo_id", Id, nullable=False, doc="one of the photos"),
    Index(None, "part"),
    info={
        "doc": "Numbers of the photos of a day in a place. Follows from `photos` and `positions`."
    },
)
day_landmarks = Table(
    "day_landmarks",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("part", Integer, nullable=False, doc=_PART),
    Column("landmark_id", Id, nullable=False, doc="the landmark"),
    Column(
        "photos",
        Integer,
        nullable=False,
        doc="number of photos with it as an accepted tag",
    ),
    Column("images", Integer, nullable=False, doc="the same, of copies the first"),
    Index(None, "part"),
    info={
        "doc": "Numbers of the photos of a day by landmark. Follows from `photos` and `effective_tags`."
    },
)

trip_edits = Table(
    "trip_edits",
    metadata,
    Column(
        "id", Id, primary_key=True, doc="primary key, in the order in which they apply"
    ),
    Column(
        "kind",
        Text,
        one_of("kind", TripEditKind),
        nullable=False,
        doc=listed(TripEditKind),
    ),
    Column(
        "camera_id",
        Id,
        ForeignKey("cameras.id"),
        nullable=False,
        doc="a camera of the trip",
    ),
    Column(
        "taken_at",
        DateTime,
        nullable=False,
        doc="a local time of that camera on the (later) trip",
    ),
    Column("name", Text, doc="the name; null: that of its place"),
    Column("split_at", DateTime, doc="the midnight at which it is split"),
    Column(
        "other_camera_id",
        Id,
        ForeignKey("cameras.id"),
        doc="a camera of the other trip",
    ),
    Column(
        "other_taken_at", DateTime, doc="a local time of that camera on the other trip"
    ),
    info={
        "doc": "A change of a trip by a person. Trips are grouped anew each time, and then changed so."
    },
)
