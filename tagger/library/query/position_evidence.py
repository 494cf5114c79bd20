"""What a photo's position follows from; reads only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from sqlalchemy import Connection, select

from tagger.database.tables import photos, positions, tracks
from tagger.library.query.tagged_photos import NameCache, select_photos


@dataclass(frozen=True)
class NeighbourEvidence:
    """A photo whose position is known, taken `seconds` before or after. `landmark`: the name of that in it, if it comes from one."""

    id: int
    path: str
    seconds: int
    source: str
    landmark: str | None

    @property
    def file(self) -> str:
        """The photo's name without its folder."""
        return PurePath(self.path).name

    @property
    def reason(self) -> str:
        """What its position comes from, and the time between, in words: `GPS, 12 min`."""
        minutes = round(self.seconds / 60)
        time = (
            f"{self.seconds} s"
            if minutes == 0
            else f"{minutes} min"
            if minutes < 120
            else f"{minutes // 60} h"
        )
        return f"{self.landmark or ('GPS' if self.source == 'camera' else self.source)}, {time}"


@dataclass(frozen=True)
class PositionEvidence:
    """What a position follows from: the name of a landmark or of a track, or photos taken before and after."""

    landmark: str | None = None
    track: str | None = None
    before: NeighbourEvidence | None = None
    after: NeighbourEvidence | None = None


def position_evidence(connection: Connection, names: NameCache, photo_id: int) -> PositionEvidence | None:
    """What the photo's position follows from; None if it has none."""
    query = select(positions.c.evidence).where(positions.c.photo_id == photo_id)
    evidence = connection.execute(query).scalar_one_or_none()
    if evidence is None:
        return None
    return PositionEvidence(
        landmark=_landmark(connection, names, evidence),
        track=connection.scalar(select(tracks.c.name).where(tracks.c.id == evidence.get("track"))),
        before=_neighbour(connection, names, evidence, "before"),
        after=_neighbour(connection, names, evidence, "after"),
    )


def _neighbour(
    connection: Connection, names: NameCache, evidence: Mapping[str, Any], side: str
) -> NeighbourEvidence | None:
    """None also if the photo is not in the database any more: the next update will see that."""
    query = select_photos().add_columns(positions.c.evidence).where(photos.c.id == evidence.get(side))
    row = connection.execute(query).one_or_none()
    if row is None or row.source is None:
        return None
    return NeighbourEvidence(
        id=row.id,
        path=names.path(connection, row),
        seconds=evidence[f"{side}_s"],
        source=row.source,
        landmark=_landmark(connection, names, row.evidence),
    )


def _landmark(connection: Connection, names: NameCache, evidence: Mapping[str, Any]) -> str | None:
    landmark_id = evidence.get("landmark")
    return None if landmark_id is None else names.landmark(connection, landmark_id).display_name
