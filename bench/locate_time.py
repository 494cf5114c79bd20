"""Measures how long `tagger locate` takes in a large library: all positions, then those around a few changed photos.

    python -m bench.locate_time [--photos 1500,100000,1000000] [--postgres]

For each number of photos, a database is filled with photos of two cameras that were taken in bursts over ten years: a third with
GPS, a tenth with a landmark. No photo has a file: locating needs none.
"""

import argparse
from contextlib import closing
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import Connection, insert, select

from bench.report import print_heading, print_table
from bench.stored_library import (
    StoredLibrary,
    add_library_options,
    blocks,
    store_photos,
    stored_libraries,
)
from tagger.catalog.position_changes import record_matching_photos, record_photos
from tagger.catalog.registered_models import RegisteredModel
from tagger.database.connection import open_database
from tagger.database.tables import cameras, landmarks, photos, tags

CAMERAS = 2
GPS_SHARE, LANDMARK_SHARE = 0.33, 0.1
YEARS = 10
BURST = 8
JOURNEY = 400
"""Photos around one place."""
CHANGED = 5
FIRST = datetime(2015, 1, 1)  # noqa: DTZ001 - cameras' local time


def main() -> None:
    """Time `tagger locate`."""
    parser = argparse.ArgumentParser(prog="python -m bench.locate_time", description=main.__doc__)
    add_library_options(parser)
    args = parser.parse_args()
    print_heading("Time of locating photos")
    rows = [row for library in stored_libraries(args, _fill) for row in _time_locate(library)]
    print_table(("photos", "changed", "seconds", "CPU seconds", "peak MiB", "located"), rows)


def _time_locate(library: StoredLibrary) -> list[tuple[object, ...]]:
    rows = [_row(library, "all")]
    with closing(open_database(library.url)) as database, database.write() as connection:
        middle = library.photos // 2
        record_photos(connection, range(middle, middle + CHANGED))
    return [*rows, _row(library, str(CHANGED))]


def _row(library: StoredLibrary, changed: str) -> tuple[object, ...]:
    document, usage = library.run("locate")
    return (
        f"{library.photos:,}",
        changed,
        f"{usage.wall_s:.2f}",
        f"{usage.cpu_s:.2f}",
        f"{usage.peak_mib:.0f}",
        f"{1 - document['unknown'] / document['photos']:.0%}",
    )


def _fill(connection: Connection, model: RegisteredModel, count: int) -> None:
    generator = np.random.default_rng(0)
    connection.execute(
        insert(cameras),
        [
            {"id": number, "key": f"camera||{number}|", "name": f"{number}"}
            for number in range(1, CAMERAS + 1)
        ],
    )
    landmark_ids = list(connection.scalars(select(landmarks.c.id)))
    bursts = np.sort(generator.uniform(0, YEARS * 365 * 86400, count // BURST + 1))
    seconds = np.repeat(bursts, BURST)[:count] + np.tile(np.arange(BURST), len(bursts))[:count] * 120
    journeys = generator.uniform((-40, -120), (60, 150), (count // JOURNEY + 1, 2)).repeat(JOURNEY, axis=0)
    latitudes, longitudes = (journeys[:count] + generator.normal(0, 0.02, (count, 2))).T
    has_gps, has_landmark = generator.random((2, count)) < [[GPS_SHARE], [LANDMARK_SHARE]]
    for ids in blocks(count):
        indices = [number - 1 for number in ids]
        facts = [
            {
                "taken_at": FIRST + timedelta(seconds=float(seconds[index])),
                "camera_id": 1 + index // BURST % CAMERAS,
                "latitude": float(latitudes[index]) if has_gps[index] else None,
                "longitude": float(longitudes[index]) if has_gps[index] else None,
            }
            for index in indices
        ]
        store_photos(connection, model, ids, facts)
        connection.execute(
            insert(tags),
            [
                {
                    "content_id": index + 1,
                    "rank": rank,
                    "landmark_id": landmark_ids[(index + rank) % len(landmark_ids)],
                    "score": 0.9 if rank == 1 and has_landmark[index] else 0.02,
                    "accepted": bool(rank == 1 and has_landmark[index]),
                    "model_id": model.id,
                }
                for index in indices
                for rank in (1, 2, 3, 4, 5)
            ],
        )
    record_matching_photos(connection, photos.c.id > 0)


if __name__ == "__main__":
    main()
