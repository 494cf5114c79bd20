"""The tables of landmarks, things and models, and of what images show."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Computed,
    DateTime,
    Float,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    literal_column,
    or_,
    true,
)

from tagger.database import (
    LookAnswer,
    OddsReason,
    TagReason,
    TagState,
    VerdictKind,
)
from tagger.database.tables.column_types import (
    Id,
    UtcDateTime,
    add_partial_index,
    counter,
    listed,
    metadata,
    one_of,
    views,
)
from tagger.database.tables.photo_tables import photos

models = Table(
    "models",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column(
        "digest",
        Text,
        nullable=False,
        unique=True,
        doc="BLAKE3 digest of the model file",
    ),
    Column(
        "name", Text, nullable=False, unique=True, doc="name in commands and settings"
    ),
    Column(
        "kind",
        Text,
        nullable=False,
        server_default="landmarks",
        doc="`landmarks` or `things`: its labels",
    ),
    Column(
        "file",
        Text,
        doc="path of the file; null: the model of the package; empty: imported without one",
    ),
    Column(
        "manifest",
        JSON,
        nullable=False,
        doc="labels, input size, default threshold, metrics",
    ),
    Column(
        "suggestion_threshold",
        Float,
        doc="lowest score of a suggestion; null: it suggests nothing",
    ),
    Column("registered_at", UtcDateTime, nullable=False),
    Column("in_use", Boolean, nullable=False, doc="whether new jobs use it by default"),
    Column(
        "use_order",
        Integer,
        doc="1 for the first model in use, 2 for the next, …; null: not in use",
    ),
    counter(
        "taught_version", "counts the changes of its classifiers of taught landmarks"
    ),
    info={"doc": "A registered model."},
)
landmarks = Table(
    "landmarks",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column(
        "slug",
        Text,
        nullable=False,
        unique=True,
        doc="identifier that never changes",
    ),
    Column("name", Text, nullable=False, doc="name in the model's language"),
    Column(
        "names",
        JSON,
        nullable=False,
        server_default="{}",
        doc='by language, like `{"de": "Kölner Dom"}`',
    ),
    Column(
        "aliases", JSON, nullable=False, server_default="[]", doc="list of other names"
    ),
    Column("country", Text),
    Column("region", Text, doc="region or state"),
    Column("city", Text),
    Column("latitude", Float, doc="degrees (WGS 84); south and west are negative"),
    Column("longitude", Float, doc="degrees (WGS 84); south and west are negative"),
    Column(
        "extent",
        Text,
        doc="shape on the map: `point`, `line`, `area` or `multi` (several points)",
    ),
    Column(
        "edited",
        JSON,
        nullable=False,
        server_default="[]",
        doc="columns that a person set; models keep them",
    ),
    Column(
        "merged_slugs",
        JSON,
        nullable=False,
        server_default="[]",
        doc="slugs merged into it",
    ),
    Index(None, "country"),
    info={"doc": "A landmark that a model or a user named."},
)
model_labels = Table(
    "model_labels",
    metadata,
    Column(
        "model_id",
        Id,
        ForeignKey("models.id", ondelete="CASCADE"),
        nullable=False,
        doc="the model",
    ),
    Column(
        "position",
        Integer,
        nullable=False,
        doc="index of the label in the model's scores",
    ),
    Column("label", Text, nullable=False, doc="name of the label in the model"),
    Column(
        "landmark_id",
        Id,
        ForeignKey("landmarks.id"),
        nullable=False,
        doc="the landmark",
    ),
    PrimaryKeyConstraint("model_id", "position"),
    UniqueConstraint("model_id", "landmark_id"),
    info={"doc": "A label of a model and the landmark that it stands for."},
)
_AS_IN_TAGS = "as in `tags`"


def _odds_reason_column(doc: str) -> Column[str]:
    return Column("odds_reason", Text, one_of("odds_reason", OddsReason), doc=doc)


def _image() -> Column[int]:
    image = ForeignKey("contents.id", ondelete="CASCADE")
    return Column("content_id", Id, image, nullable=False, doc="the image")


def _image_key() -> Column[int]:
    # The key of a table with at most one row for each image.
    image = ForeignKey("contents.id")
    return Column(
        "content_id", Id, image, primary_key=True, autoincrement=False, doc="the image"
    )


tags = Table(
    "tags",
    metadata,
    _image(),
    Column(
        "rank",
        Integer,
        nullable=False,
        doc="1 for the highest score, 2 for the next, …",
    ),
    Column(
        "landmark_id",
        Id,
        ForeignKey("landmarks.id"),
        nullable=False,
        doc="the landmark",
    ),
    Column("score", Float, nullable=False, doc="calibrated score, 0 to 1"),
    Column(
        "enough", Boolean, nullable=False, doc="whether the score reaches the threshold"
    ),
    Column("model_id", Id, ForeignKey("models.id"), nullable=False, doc="the model"),
    Column(
        "position_odds",
        Float,
        doc="factor by which the position changes the odds of the landmark, if that decides",
    ),
    Column(
        "distance_m",
        Float,
        doc="from that position to the landmark, in metres, if `position_odds` follow from one",
    ),
    _odds_reason_column(
        "what `position_odds` follow from: `position`, without `distance_m` by the other photos of the "
        "day; `speed` (its camera cannot have been there)"
    ),
    Column(
        "counts",
        Boolean,
        nullable=False,
        server_default="1",
        doc="false: another model in use gives a higher score, or its own is not in use",
    ),
    PrimaryKeyConstraint("content_id", "model_id", "rank"),
    Index(None, "landmark_id", "content_id"),
    sqlite_with_rowid=False,
    info={
        "doc": "One of the best predictions for an image, by a model, before verdicts."
    },
)


def is_candidate(tag: FromClause) -> ColumnElement[bool]:
    """Whether a row of `tags` is a model's best prediction for an image that, as it was found, is no tag."""
    is_none = or_(tag.c.enough == false(), tag.c.position_odds.is_not(None))
    return and_(tag.c.rank == literal_column("1"), is_none)


add_partial_index(
    "ix_tags_candidate", tags.c.score, tags.c.content_id, where=is_candidate(tags)
)

classifications = Table(
    "classifications",
    metadata,
    _image(),
    Column("model_id", Id, ForeignKey("models.id"), nullable=False, doc="the model"),
    Column("top_k", Integer, nullable=False, doc="largest number of tags"),
    Column("threshold", Float, nullable=False, doc="lowest score of an accepted tag"),
    Column("classified_at", UtcDateTime, doc="when that was; null: before 2.1"),
    PrimaryKeyConstraint("content_id", "model_id"),
    Index(None, "model_id"),
    sqlite_with_rowid=False,
    info={
        "doc": "A classification of an image by another model than its last one, `contents.model_id`."
    },
)

embeddings = Table(
    "embeddings",
    metadata,
    _image(),
    Column(
        "model_id",
        Id,
        ForeignKey("models.id"),
        nullable=False,
        doc="the model that made it",
    ),
    Column(
        "taught_version",
        Integer,
        nullable=False,
        doc="`models.taught_version` that was compared",
    ),
    Column(
        "data",
        LargeBinary,
        nullable=False,
        doc="lowest and highest value (float32), then 4 bits per dimension",
    ),
    PrimaryKeyConstraint("content_id", "model_id"),
    Index(None, "model_id", "taught_version"),
    info={
        "doc": "The embedding of an image by a model. Only those of one model are compared."
    },
)

# The images of a row of `sketches`: those whose ids have the same quotient by it.
SKETCHED_BLOCK = 4096


def _taught_landmark() -> Column[int]:
    landmark = ForeignKey("landmarks.id", ondelete="CASCADE")
    return Column(
        "landmark_id", Id, landmark, nullable=False, doc="the taught landmark"
    )


def _model_of_embeddings() -> Column[int]:
    model = ForeignKey("models.id", ondelete="CASCADE")
    return Column(
        "model_id", Id, model, nullable=False, doc="the model of the embeddings"
    )


sketches = Table(
    "sketches",
    metadata,
    _model_of_embeddings(),
    Column(
        "block",
        Integer,
        nullable=False,
        doc=f"a {SKETCHED_BLOCK}th of the images' ids, rounded down",
    ),
    Column(
        "data",
        LargeBinary,
        nullable=False,
        doc="ids and sketches of its images",
    ),
    PrimaryKeyConstraint("model_id", "block"),
    info={
        "doc": "Short forms of embeddings, by which similar photos are found. Missing ones are computed."
    },
)

classifiers = Table(
    "classifiers",
    metadata,
    _taught_landmark(),
    _model_of_embeddings(),
    Column(
        "version",
        Integer,
        nullable=False,
        doc="`models.taught_version` when it was learned",
    ),
    Column("examples", Integer, nullable=False, doc="number of confirmed images"),
    Column("rejected", Integer, nullable=False, doc="number of rejected images"),
    Column(
        "evidence",
        Text,
        nullable=False,
        doc="BLAKE3 digest of the method and these verdicts",
    ),
    Column(
        "data",
        LargeBinary,
        nullable=False,
        doc="weights of the dimensions and a bias (float32), for up to 16 examples",
    ),
    Column(
        "applied",
        Boolean,
        nullable=False,
        doc="whether all embeddings were compared with it",
    ),
    Column(
        "share",
        Float,
        doc="share of the library's photos that show it, as scores assume",
    ),
    Column("learned_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("landmark_id", "model_id"),
    Index(None, "model_id"),
    info={
        "doc": "What was learned of a taught landmark, from verdicts, for embeddings of one model."
    },
)

taught_tags = Table(
    "taught_tags",
    metadata,
    _image(),
    _taught_landmark(),
    Column("score", Float, nullable=False, doc="calibrated score, 0 to 1"),
    Column(
        "model_id",
        Id,
        ForeignKey("models.id"),
        nullable=False,
        doc="the model of the embedding",
    ),
    Column("position_odds", Float, doc=_AS_IN_TAGS),
    Column("distance_m", Float, doc=_AS_IN_TAGS),
    _odds_reason_column(_AS_IN_TAGS),
    PrimaryKeyConstraint("content_id", "landmark_id", "model_id"),
    Index(None, "landmark_id", "content_id"),
    sqlite_with_rowid=False,
    info={
        "doc": "A taught landmark that an image probably shows. Derived from verdicts."
    },
)
for _table in (tags, taught_tags):
    add_partial_index(
        f"ix_{_table.name}_position_odds",
        _table.c.content_id,
        where=_table.c.position_odds.is_not(None),
    )

verdicts = Table(
    "verdicts",
    metadata,
    Column(
        "content_id", Id, ForeignKey("contents.id"), nullable=False, doc="the image"
    ),
    Column(
        "landmark_id",
        Id,
        ForeignKey("landmarks.id"),
        nullable=False,
        doc="the landmark",
    ),
    Column(
        "verdict",
        Text,
        one_of("verdict", VerdictKind),
        nullable=False,
        doc=listed(VerdictKind),
    ),
    Column("given_by", Text),
    Column("given_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("content_id", "landmark_id"),
    Index(None, "landmark_id", "content_id"),
    info={
        "doc": "A person's decision about a landmark on an image, in every copy and for later models."
    },
)

dismissals = Table(
    "dismissals",
    metadata,
    _image_key(),
    Column("given_by", Text),
    Column("given_at", UtcDateTime, nullable=False),
    info={
        "doc": "An image that a person dismissed as no landmark. A confirmed landmark deletes it."
    },
)

favourites = Table(
    "favourites",
    metadata,
    _image_key(),
    Column("given_by", Text),
    Column("given_at", UtcDateTime, nullable=False),
    info={"doc": "An image that a person marked with a star, in every copy."},
)

looks = Table(
    "looks",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column(
        "sight",
        Text,
        doc="its name in the table of sights; null: a landmark that people added",
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
        "landmark_id",
        Id,
        ForeignKey("landmarks.id", ondelete="SET NULL"),
        doc="the landmark that people added there, or that the answer names",
    ),
    Column(
        "model_id",
        Id,
        ForeignKey("models.id", ondelete="SET NULL"),
        doc="the model of the embeddings",
    ),
    Column(
        "evidence",
        Text,
        nullable=False,
        doc="tells the near photos from those of other times",
    ),
    Column("scenes", Integer, nullable=False, doc="number of near photos that differ"),
    Column(
        "photos",
        Integer,
        nullable=False,
        doc="number of those that are alike; 0: no look",
    ),
    Column("days", Integer, nullable=False, doc="on how many days they were taken"),
    Column(
        "likely",
        Integer,
        nullable=False,
        doc="photos elsewhere that very probably show it",
    ),
    Column("data", LargeBinary, doc="as in `classifiers`; null: no look"),
    Column(
        "compared_to",
        Id,
        nullable=False,
        doc="the last image that was compared with it",
    ),
    Column(
        "answer",
        Text,
        one_of("answer", LookAnswer),
        doc="`yes` or `none`; null: no answer",
    ),
    Column("answered_scenes", Integer, doc="`scenes` at the answer"),
    Column("answered_by", Text),
    Column("answered_at", UtcDateTime),
    Column(
        "added_landmark",
        Boolean,
        nullable=False,
        server_default="0",
        doc="whether the answer added the landmark",
    ),
    Index(None, "sight"),
    Index(None, "landmark_id"),
    info={
        "doc": "What photos taken near a place have in common. It makes no tag before a person answers."
    },
)

look_photos = Table(
    "look_photos",
    metadata,
    Column(
        "look_id",
        Id,
        ForeignKey("looks.id", ondelete="CASCADE"),
        nullable=False,
        doc="the look",
    ),
    _image(),
    Column(
        "score",
        Float,
        doc="chance that it shows the same; null: taken there, and learned from",
    ),
    PrimaryKeyConstraint("look_id", "content_id"),
    Index(None, "content_id"),
    sqlite_with_rowid=False,
    info={"doc": "An image from which a look was learned, or that may show the same."},
)

effective_tags = Table(
    "effective_tags",
    metadata,
    _image(),
    Column(
        "landmark_id",
        Id,
        ForeignKey("landmarks.id", ondelete="CASCADE"),
        nullable=False,
        doc="the landmark",
    ),
    Column(
        "state", Text, one_of("state", TagState), nullable=False, doc=listed(TagState)
    ),
    Column(
        "reason",
        Text,
        one_of("reason", TagReason),
        doc="why it is doubtful, only suggested, or accepted with a low score: `position` or `speed`, as in "
        "`tags`; `damaged` (a part of the image is missing); or another landmark of the image: "
        "`confirmed-other`, `taught-other`, `scored-other`, `certain-other` (a model is nearly "
        "certain of it)",
    ),
    Column("score", Float, doc="score of the tag; null: only confirmed"),
    Column(
        "source",
        Text,
        nullable=False,
        doc="`model`, `taught` or `verdict` (only confirmed)",
    ),
    Column(
        "rank",
        Integer,
        doc="1 for the highest score; null: not among the best predictions",
    ),
    Column("model_id", Id, ForeignKey("models.id"), doc="its model; null like `score`"),
    Column("position_odds", Float, doc=_AS_IN_TAGS),
    Column("distance_m", Float, doc=_AS_IN_TAGS),
    Column(
        "accepted",
        Boolean,
        Computed("state IN ('accepted', 'confirmed')", persisted=True),
        nullable=False,
        doc="whether it is a tag: it is `accepted` or `confirmed`",
    ),
    Column(
        "verdict",
        Text,
        Computed(
            "CASE WHEN state IN ('confirmed', 'rejected') THEN state END",
            persisted=True,
        ),
        doc="`confirmed` or `rejected`; null: no verdict",
    ),
    Column(
        "doubtful",
        Text,
        Computed("CASE WHEN state = 'doubtful' THEN reason END", persisted=True),
        doc="the `reason`, if it is `doubtful`",
    ),
    PrimaryKeyConstraint("content_id", "landmark_id"),
    sqlite_with_rowid=False,
    info={
        "doc": "A landmark of an image, by predictions, teaching, positions and verdicts together."
    },
)
_IS_TAG = effective_tags.c.accepted == true()
add_partial_index(
    "ix_effective_tags_accepted_landmark",
    effective_tags.c.landmark_id,
    effective_tags.c.score,
    effective_tags.c.content_id,
    where=_IS_TAG,
)
add_partial_index(
    "ix_effective_tags_accepted_score",
    effective_tags.c.score,
    effective_tags.c.content_id,
    effective_tags.c.landmark_id,
    where=_IS_TAG,
)
add_partial_index(
    "ix_effective_tags_suggested",
    effective_tags.c.landmark_id,
    effective_tags.c.score,
    effective_tags.c.content_id,
    where=effective_tags.c.state == literal_column(f"'{TagState.SUGGESTED}'"),
)
add_partial_index(
    "ix_effective_tags_suggested_score",
    effective_tags.c.score,
    effective_tags.c.content_id,
    effective_tags.c.landmark_id,
    where=effective_tags.c.state == literal_column(f"'{TagState.SUGGESTED}'"),
)
add_partial_index(
    "ix_effective_tags_landmark_reason",
    effective_tags.c.reason,
    effective_tags.c.landmark_id,
    effective_tags.c.content_id,
    where=effective_tags.c.reason.is_not(None),
)

# Things: what else images show, such as a dog, snow or a kitchen.
things = Table(
    "things",
    metadata,
    Column("slug", Text, primary_key=True, doc="identifier that never changes"),
    Column("name", Text, nullable=False, doc="name in English"),
    Column(
        "names", JSON, nullable=False, doc='by language, like `{"de": "Kölner Dom"}`'
    ),
    Column("aliases", JSON, nullable=False, doc="list of other names"),
    Column(
        "parent",
        Text,
        ForeignKey("things.slug"),
        doc="the thing that it is a kind of, like `animal`",
    ),
    info={
        "doc": "A thing that a model names. Things are no landmarks: no place follows from them."
    },
)


def _thing() -> Column[str]:
    return Column(
        "thing", Text, ForeignKey("things.slug"), nullable=False, doc="the thing"
    )


thing_labels = Table(
    "thing_labels",
    metadata,
    Column(
        "model_id",
        Id,
        ForeignKey("models.id", ondelete="CASCADE"),
        nullable=False,
        doc="the model",
    ),
    Column(
        "position",
        Integer,
        nullable=False,
        doc="index of the label in the model's scores",
    ),
    _thing(),
    PrimaryKeyConstraint("model_id", "position"),
    info={"doc": "A label of a model of things."},
)

image_things = Table(
    "image_things",
    metadata,
    _image(),
    _thing(),
    Column(
        "model_id",
        Id,
        ForeignKey("models.id"),
        nullable=False,
        doc="the model that found it; it counts while that is in use",
    ),
    Column("score", Float, nullable=False, doc="calibrated score, 0 to 1"),
    PrimaryKeyConstraint("content_id", "thing", "model_id"),
    Index(None, "thing", "content_id"),
    Index(None, "model_id", "content_id"),
    sqlite_with_rowid=False,
    info={"doc": "A thing that a model finds on an image, before verdicts."},
)

thing_verdicts = Table(
    "thing_verdicts",
    metadata,
    Column(
        "content_id", Id, ForeignKey("contents.id"), nullable=False, doc="the image"
    ),
    _thing(),
    Column(
        "verdict",
        Text,
        one_of("verdict", VerdictKind),
        nullable=False,
        doc=listed(VerdictKind),
    ),
    Column("given_by", Text),
    Column("given_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("content_id", "thing"),
    Index(None, "thing", "content_id"),
    info={
        "doc": "A person's decision whether an image shows a thing, in every copy and for later models."
    },
)

sight_verdicts = Table(
    "sight_verdicts",
    metadata,
    Column(
        "content_id", Id, ForeignKey("contents.id"), nullable=False, doc="the image"
    ),
    Column(
        "sight", Text, nullable=False, doc="the sight, as `positions.sight` named it"
    ),
    Column(
        "verdict",
        Text,
        one_of("verdict", VerdictKind),
        nullable=False,
        doc="`rejected`",
    ),
    Column("given_by", Text),
    Column("given_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("content_id", "sight"),
    info={
        "doc": "A person's decision that an image was not taken at a sight, which it may show."
    },
)

_PATH = "absolute path or address of the photo, where it was scanned"
photo_tags = Table(
    "photo_tags",
    views,
    Column("photo_id", Id, ForeignKey(photos.c.id), nullable=False, doc="the photo"),
    Column("path", Text, nullable=False, doc=_PATH),
    Column("root", Text, nullable=False, doc="name of its root"),
    Column("landmark", Text, nullable=False, doc="slug of the landmark"),
    Column("name", Text, nullable=False, doc="name of the landmark"),
    Column("country", Text, doc="the landmark's"),
    Column("city", Text, doc="the landmark's"),
    Column("score", Float, doc="calibrated score, 0 to 1; null: only confirmed"),
    Column("accepted", Boolean, nullable=False, doc="always true"),
    Column("verdict", Text, doc="`confirmed`; null: no verdict"),
    Column(
        "source",
        Text,
        nullable=False,
        doc="`model`, `taught` or `verdict` (only confirmed)",
    ),
    Column(
        "taken_at", DateTime, doc="when the photo was taken, in the camera's local time"
    ),
    Column("latitude", Float, doc="degrees"),
    Column("longitude", Float, doc="degrees"),
    Column("position_source", Text, doc="`positions.source`; null: no position"),
    Column("error_m", Float, doc="error of the position, in metres"),
    Column("model", Text, doc="name of the model; null: only confirmed"),
    Column(
        "taken_source", Text, doc="who says `taken_at`, as in `photos`; null: no date"
    ),
    info={
        "doc": "An accepted tag of a photo that exists. Two copies of a photo have a row each."
    },
)

photos_view = Table(
    "photos_view",
    views,
    Column("photo_id", Id, ForeignKey(photos.c.id), nullable=False, doc="the photo"),
    Column("path", Text, nullable=False, doc=_PATH),
    Column("root", Text, nullable=False, doc="name of its root"),
    Column(
        "outcome",
        Text,
        nullable=False,
        doc="`tagged`, `unknown`, `failed` or `untagged` (not classified yet)",
    ),
    Column(
        "taken_at", DateTime, doc="when the photo was taken, in the camera's local time"
    ),
    Column("camera", Text),
    Column("latitude", Float, doc="degrees"),
    Column("longitude", Float, doc="degrees"),
    Column("position_source", Text, doc="`positions.source`; null: no position"),
    Column("error_m", Float, doc="error of the position, in metres"),
    Column("country", Text, doc="the nearest city and its country"),
    Column("city", Text, doc="the nearest city and its country"),
    Column("sight", Text, doc="the sight at which it was taken"),
    Column("width", Integer, doc="pixels, as displayed"),
    Column("height", Integer, doc="pixels, as displayed"),
    Column("digest", Text, doc="digest of image data and orientation"),
    Column("failure_kind", Text, doc="kind of failure; null: no failure"),
    Column("failure_text", Text, doc="the failure in words, with a remedy"),
    Column(
        "taken_source", Text, doc="who says `taken_at`, as in `photos`; null: no date"
    ),
    info={"doc": "A photo that exists, once, with its outcome after verdicts."},
)
