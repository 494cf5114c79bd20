"""The tables of landmarks and of the registered models whose labels name them."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from tagger.database.tables.column_types import Id, UtcDateTime, metadata

models = Table(
    "models",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("digest", Text, nullable=False, unique=True, doc="BLAKE3 digest of the model file"),
    Column("name", Text, nullable=False, unique=True, doc="name in commands and settings"),
    Column(
        "file",
        Text,
        doc="path of the model file; null: the model of the package; empty: imported without a file",
    ),
    Column(
        "manifest",
        JSON,
        nullable=False,
        doc="labels, input size, default threshold, metrics",
    ),
    Column("registered_at", UtcDateTime, nullable=False, doc="when the model was registered"),
    Column("in_use", Boolean, nullable=False, doc="whether new jobs use it by default"),
    Column(
        "taught_version",
        Integer,
        nullable=False,
        server_default="0",
        doc="counts the changes of its classifiers of taught landmarks",
    ),
    info={"doc": "A registered model."},
)

landmarks = Table(
    "landmarks",
    metadata,
    Column("id", Id, primary_key=True, doc="primary key"),
    Column("slug", Text, nullable=False, unique=True, doc="identifier that never changes, like `alai-minar`"),
    Column("name", Text, nullable=False, doc="name in the model's language"),
    Column(
        "names",
        JSON,
        nullable=False,
        server_default="{}",
        doc='names by language tag, like `{"de": "Kölner Dom"}`',
    ),
    Column("aliases", JSON, nullable=False, server_default="[]", doc="list of other names"),
    Column("country", Text, doc="country"),
    Column("region", Text, doc="region or state"),
    Column("city", Text, doc="city"),
    Column("latitude", Float, doc="degrees (WGS 84), south is negative"),
    Column("longitude", Float, doc="degrees (WGS 84), west is negative"),
    Column("extent", Text, doc="shape on the map: `point`, `line`, `area` or `multi` (several points)"),
    Column(
        "edited",
        JSON,
        nullable=False,
        server_default="[]",
        doc="list of columns that a person set; models do not change them",
    ),
    Column(
        "merged_slugs",
        JSON,
        nullable=False,
        server_default="[]",
        doc="list of slugs of landmarks merged into this one; they still find it",
    ),
    info={"doc": "A landmark that a model or a user named."},
)

model_labels = Table(
    "model_labels",
    metadata,
    Column("model_id", Id, ForeignKey("models.id", ondelete="CASCADE"), nullable=False, doc="the model"),
    Column("position", Integer, nullable=False, doc="index of the label in the model's scores"),
    Column("label", Text, nullable=False, doc="name of the label in the model"),
    Column("landmark_id", Id, ForeignKey("landmarks.id"), nullable=False, doc="the landmark"),
    PrimaryKeyConstraint("model_id", "position"),
    UniqueConstraint("model_id", "landmark_id"),
    info={"doc": "A label of a model and the landmark that it stands for."},
)
