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
    Column("score", Float, doc="calibrated score, 0 to 1; null: only a person says so"),
    Column(
        "model_id",
        Id,
        ForeignKey("models.id", ondelete="SET NULL"),
        doc="the model that found it; it counts while that is in use",
    ),
    Column(
        "verdict",
        Text,
        one_of("verdict", VerdictKind),
        doc=f"{listed(VerdictKind)}; null: nobody decided",
    ),
    Column("given_by", Text, doc="who gave the verdict"),
    Column("given_at", UtcDateTime, doc="when"),
    PrimaryKeyConstraint("content_id", "thing"),
    Index(None, "thing", "content_id"),
    Index(None, "model_id", "content_id"),
    sqlite_with_rowid=False,
    info={"doc": "A thing that an image shows, by a model or a person, or does not show, by a person."},
)
