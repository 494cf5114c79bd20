"""The peers' database: photos and their tags in SQLite.

Follows SQLAlchemy's ORM quick start, https://docs.sqlalchemy.org/en/20/orm/quickstart.html. Several processes write, so it uses
write-ahead logging; pragmas are set as in https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#foreign-key-support.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, ForeignKey, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

LOCK_TIMEOUT_S = 30.0


class Base(DeclarativeBase):
    pass


class Photo(Base):
    __tablename__ = "photos"
    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(unique=True)
    tagged_at: Mapped[float]
    tags: Mapped[list["Tag"]] = relationship()


class Tag(Base):
    __tablename__ = "tags"
    photo_id: Mapped[int] = mapped_column(ForeignKey("photos.id"), primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str]
    score: Mapped[float]


def open_store(path: Path) -> Engine:
    """Open the database; create it if it does not exist."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": LOCK_TIMEOUT_S})
    event.listen(engine, "connect", _set_pragmas)
    Base.metadata.create_all(engine)
    return engine


def store_tags(engine: Engine, predictions: Iterable[tuple[str, Sequence[tuple[str, float]]]]) -> None:
    """Store photos (path, then slug and score of each tag, best first) in one transaction."""
    now = time.time()
    with Session(engine) as session:
        session.add_all(Photo(path=path, tagged_at=now, tags=_tags(scores)) for path, scores in predictions)
        session.commit()


def _tags(scores: Sequence[tuple[str, float]]) -> list[Tag]:
    return [Tag(rank=rank, slug=slug, score=score) for rank, (slug, score) in enumerate(scores, start=1)]


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
