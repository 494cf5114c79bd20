"""Positions as they are stored: rounded, with the names of their country, region and city."""

import json
from collections.abc import Collection, Mapping

from sqlalchemy import Connection, Text, cast, delete, select

from tagger.database.bulk_insert import insert_in_bulk
from tagger.database.statements import among
from tagger.database.tables import positions
from tagger.library.positions.evidence import Fix
from tagger.library.positions.place_names import PlaceNames

_COLUMNS = ("latitude", "longitude", "error_m", "source", "evidence")
_PLACE = ("country", "region", "city")

_Facts = tuple[float, float, float, str, str]
"""The values of _COLUMNS; the evidence is JSON."""


def store_positions(connection: Connection, fixes: Mapping[int, Fix | None], names: PlaceNames) -> int:
    """Replace the positions of photos that differ from the stored ones; returns how many are new, moved or gone."""
    stored = _stored(connection, fixes)
    facts = {photo_id: _facts(fix) for photo_id, fix in fixes.items() if fix is not None}
    different = sorted(photo_id for photo_id in fixes if facts.get(photo_id) != stored.get(photo_id))
    old = [photo_id for photo_id in different if photo_id in stored]
    if old:
        connection.execute(delete(positions).where(among(positions.c.photo_id, old)))
    new = [(photo_id, *facts[photo_id]) for photo_id in different if photo_id in facts]
    if new:
        places = names.find((latitude, longitude) for _, latitude, longitude, *_ in new)
        rows = (row + place for row, place in zip(new, places, strict=True))
        insert_in_bulk(connection, positions, ("photo_id", *_COLUMNS, *_PLACE), rows)
    return len(different)


def _facts(fix: Fix) -> _Facts:
    """Rounded to a centimetre, so that the same evidence gives the same row."""
    return (
        round(fix.latitude, 7),
        round(fix.longitude, 7),
        float(round(fix.error_m)),
        str(fix.source),
        json.dumps(fix.evidence),
    )


def _stored(connection: Connection, photo_ids: Collection[int]) -> dict[int, _Facts]:
    evidence = cast(positions.c.evidence, Text)
    query = select(positions.c.photo_id, *(positions.c[name] for name in _COLUMNS[:-1]), evidence)
    rows = connection.execute(query.where(among(positions.c.photo_id, photo_ids)))
    return {photo_id: (*facts,) for photo_id, *facts in rows}
