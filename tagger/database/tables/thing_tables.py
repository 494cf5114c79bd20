"""The tables of things: what else images show, such as a dog, snow or a kitchen."""

from sqlalchemy import (
    JSON,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from tagger.database.enums import VerdictKind
from tagger.database.tables.column_types import Id, UtcDateTime, listed, metadata, one_of

things = Table(
    "things",
    metadata,
    Column("slug", Text, primary_key=True, doc="identifier that never changes, like `dog`"),
    Column("name", Text, nullable=False, doc="name in English"),
    Column("names", JSON, nullable=False, doc='by language, like `{"de": "Hund"}`'),
    Column("aliases", JSON, nullable=False, doc="list of other names, of any language"),
    Column("parent", Text, ForeignKey("things.slug"), doc="the thing that it is a kind of, like `animal`"),
    info={"doc": "A thing that a model names. Things are no landmarks: no place follows from them."},
)


def _thing() -> Column[str]:
    return Column("thing", Text, ForeignKey("things.slug"), nullable=False, doc="the thing")


thing_labels = Table(
    "thing_labels",
    metadata,
    Column("model_id", Id, ForeignKey("models.id", ondelete="CASCADE"), nullable=False, doc="the model"),
    Column("position", Integer, nullable=False, doc="index of the label in the model's scores"),
    _thing(),
    PrimaryKeyConstraint("model_id", "position"),
    info={"doc": "A label of a model of things."},
)

image_things = Table(
    "image_things",
    metadata,
    Column("content_id", Id, ForeignKey("contents.id", ondelete="CASCADE"), nullable=False, doc="the image"),
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
    Column("content_id", Id, ForeignKey("contents.id"), nullable=False, doc="the image"),
    _thing(),
    Column("verdict", Text, one_of("verdict", VerdictKind), nullable=False, doc=listed(VerdictKind)),
    Column("given_by", Text, doc="who gave the verdict"),
    Column("given_at", UtcDateTime, nullable=False, doc="when"),
    PrimaryKeyConstraint("content_id", "thing"),
    Index(None, "thing", "content_id"),
    info={"doc": "A person's decision whether an image shows a thing, in every copy and for later models."},
)
