"""Photos and tags inserted as rows, for tests of queries."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import func, insert, select, update
from support.artifacts import tiny_artifact
from support.databases import read_scalar

from tagger.cameras import camera_of, ensure_cameras
from tagger.database.connection import Database
from tagger.database.tables import (
    classifiers,
    contents,
    dismissals,
    landmarks,
    photos,
    positions,
    roots,
    tags,
    taught_tags,
    verdicts,
)
from tagger.photos import CameraFacts
from tagger.photos.paths import path_text
from tagger.registry import RegisteredModel, add_model
from tagger.tags.settlement import settle

COLOURS = bytes(range(27))
CLASSIFIED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class StoredPhotos:
    """Inserts photos of one root. `model` is the default for the model that classified a photo."""

    def __init__(self, database: Database, root: Path, model: RegisteredModel) -> None:
        self.database = database
        self.root = root
        self.model = model
        location, location_bytes = path_text(str(root))
        with database.write() as connection:
            values = {"name": root.name, "location": location, "location_bytes": location_bytes}
            self.root_id = connection.execute(insert(roots).values(values).returning(roots.c.id)).scalar_one()
            self.landmark_ids = {
                row.slug: row.id for row in connection.execute(select(landmarks.c.slug, landmarks.c.id))
            }

    @classmethod
    def with_tiny_model(cls, database: Database, folder: Path) -> Self:
        """Photos below `folder` in a database with the landmarks of the tiny model."""
        tiny_artifact(folder / "tiny.pt")
        return cls(database, folder / "photos", add_model(database, folder / "tiny.pt"))

    def photo(
        self,
        path: str | bytes,
        *predictions: tuple[str, float, bool],
        digest: str | None = None,
        classified: bool = True,
        model: RegisteredModel | None = None,
        taken_at: datetime | None = None,
        **columns: Any,
    ) -> str:
        """Insert a photo with its predictions, best first: slug, score, accepted. Returns its path."""
        text, raw = path_text(os.fsdecode(path))
        row = {
            "root_id": self.root_id,
            "path": text,
            "path_bytes": raw,
            "size_bytes": 1000,
            "mtime_ns": 1,
            "taken_at": taken_at,
            **columns,
        }
        with self.database.write() as connection:
            if classified:
                row["content_id"] = self._content(
                    connection, digest or f"digest of {text}", predictions, model
                )
            connection.execute(insert(photos).values(row))
            if classified:
                settle(connection, [row["content_id"]], record=False)
        return str(self.root / os.fsdecode(path))

    def camera(self, make: str | None = None, model: str | None = None, serial: str | None = None) -> int:
        """Insert the camera that a file names by this, or that of a folder; return its id."""
        found = camera_of(CameraFacts(make=make, model=model, serial=serial), self.root_id, "2026/a.jpg")
        with self.database.write() as connection:
            return ensure_cameras(connection, [found])[found]

    def dismiss(self, digest: str) -> None:
        with self.database.write() as connection:
            content_id = connection.scalar(select(contents.c.id).where(contents.c.digest == digest))
            connection.execute(insert(dismissals).values(content_id=content_id, given_at=CLASSIFIED_AT))
            settle(connection, [content_id or 0], record=False)

    def verdict(self, digest: str, slug: str, verdict: str) -> None:
        with self.database.write() as connection:
            content_id = connection.scalar(select(contents.c.id).where(contents.c.digest == digest))
            connection.execute(
                insert(verdicts).values(
                    content_id=content_id,
                    landmark_id=self.landmark_ids[slug],
                    verdict=verdict,
                    given_by="ada",
                    given_at=CLASSIFIED_AT,
                )
            )
            settle(connection, [content_id or 0], record=False)

    def landmark(self, slug: str, name: str) -> None:
        with self.database.write() as connection:
            new = insert(landmarks).values(slug=slug, name=name, names={}, aliases=[])
            self.landmark_ids[slug] = connection.execute(new.returning(landmarks.c.id)).scalar_one()

    def newest_id(self) -> int:
        return read_scalar(self.database, select(func.max(photos.c.id)))

    def taught_place(self, slug: str, place: tuple[float, float]) -> None:
        """Insert a landmark at a place that teaching alone knows, and that half a percent of photos show."""
        self.landmark(slug, slug)
        row = {"landmark_id": self.landmark_ids[slug], "model_id": self.model.id, "learned_at": CLASSIFIED_AT}
        facts = {"version": 1, "examples": 5, "rejected": 0, "evidence": "", "data": b"", "applied": True}
        position = {"latitude": place[0], "longitude": place[1], "extent": "point"}
        with self.database.write() as connection:
            connection.execute(update(landmarks).where(landmarks.c.slug == slug).values(position))
            connection.execute(insert(classifiers).values(row | facts | {"share": 0.005}))

    def taught(self, number: int, slug: str, score: float) -> None:
        with self.database.write() as connection:
            content_id = connection.scalar(select(photos.c.content_id).where(photos.c.id == number))
            connection.execute(
                insert(taught_tags).values(
                    content_id=content_id,
                    landmark_id=self.landmark_ids[slug],
                    score=score,
                    model_id=self.model.id,
                )
            )
            settle(connection, [content_id or 0], record=False)

    def position(
        self,
        path: str,
        latitude: float,
        longitude: float,
        country: str | None = None,
        source: str = "camera",
        city: str | None = None,
        region: str | None = None,
        **evidence: int,
    ) -> None:
        with self.database.write() as connection:
            photo_id = connection.scalar(select(photos.c.id).where(photos.c.path == path))
            place = {
                "latitude": latitude,
                "longitude": longitude,
                "country": country,
                "region": region,
                "city": city,
            }
            values = {"photo_id": photo_id, "error_m": 30.0, "source": source, "evidence": evidence, **place}
            connection.execute(insert(positions).values(values))

    def gone(self, path: str) -> None:
        with self.database.write() as connection:
            connection.execute(update(photos).where(photos.c.path == path).values(gone_since=CLASSIFIED_AT))

    def _content(
        self,
        connection: Any,
        digest: str,
        predictions: tuple[tuple[str, float, bool], ...],
        model: RegisteredModel | None,
    ) -> int:
        existing = connection.scalar(select(contents.c.id).where(contents.c.digest == digest))
        if existing is not None:
            return int(existing)
        model_id = (model or self.model).id
        values = {
            "digest": digest,
            "width": 640,
            "height": 480,
            "model_id": model_id,
            "top_k": 5,
            "threshold": 0.5,
            "outcome": "tagged" if any(accepted for _, _, accepted in predictions) else "unknown",
            "classified_at": CLASSIFIED_AT,
            "colours": COLOURS,
        }
        content_id: int = connection.execute(
            insert(contents).values(values).returning(contents.c.id)
        ).scalar_one()
        for rank, (slug, score, accepted) in enumerate(predictions, start=1):
            connection.execute(
                insert(tags).values(
                    content_id=content_id,
                    rank=rank,
                    landmark_id=self.landmark_ids[slug],
                    score=score,
                    enough=accepted,
                    model_id=model_id,
                )
            )
        return content_id
