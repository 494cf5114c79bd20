"""Photos by where they were taken: by their positions, and by their landmarks where they have none; on both databases."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert
from sqlalchemy.engine import Engine
from support.artifacts import tiny_artifact
from support.stored_photos import StoredPhotos

from tagger.catalog.registered_models import add_model
from tagger.database.connection import Database
from tagger.database.tables import landmarks
from tagger.errors import CountryNotFound
from tagger.query import Near, PhotoQuery, find_tagged
from tagger.query.areas import position_countries
from tagger.query.options import BoundingBox
from tagger.verdicts import VerdictFilter, VerdictKind, give_verdict_by_query, list_verdicts

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
AT_EIFFEL = Near(48.8584, 2.2945, 2.0)


@pytest.fixture
def library(database: Database, tmp_path: Path) -> StoredPhotos:
    tiny_artifact(tmp_path / "tiny.pt")
    return StoredPhotos(database, tmp_path / "photos", add_model(database, tmp_path / "tiny.pt"))


def found(library: StoredPhotos, **options: object) -> dict[str, list[str]]:
    """The landmarks of each photo that matches, by path below the root."""
    photos = list(find_tagged(library.database, PhotoQuery(**options)))  # type: ignore[arg-type]
    by_path = {
        os.path.relpath(photo.path, library.root): [tag.landmark for tag in photo.tags] for photo in photos
    }
    assert len(by_path) == len(photos)
    return by_path


def test_near_finds_photos_by_any_position_with_and_without_tags(library: StoredPhotos) -> None:
    for source in ("camera", "landmark", "track", "neighbour"):
        library.photo(f"{source}.jpg")
        library.position(f"{source}.jpg", 48.86, 2.29, source=source)
    library.photo("tagged.jpg", (VERSAILLES, 0.9, True))
    library.position("tagged.jpg", 48.86, 2.29)
    library.photo("far.jpg")
    library.position("far.jpg", 48.9, 2.29)
    library.photo("new.jpg", classified=False)
    everywhere: dict[str, list[str]] = {
        **{f"{source}.jpg": [] for source in ("camera", "landmark", "track", "neighbour")},
        "tagged.jpg": [VERSAILLES],
    }
    assert found(library, near=AT_EIFFEL) == everywhere
    assert found(library, near=AT_EIFFEL, position="track") == {"track.jpg": []}
    assert found(library, near=AT_EIFFEL, position="any") == everywhere
    assert found(library, near=AT_EIFFEL, landmark=VERSAILLES) == {"tagged.jpg": [VERSAILLES]}
    assert found(library, near=AT_EIFFEL, min_score=0.5) == {"tagged.jpg": [VERSAILLES]}
    assert found(library, near=AT_EIFFEL, unknown=True).keys() == everywhere.keys() - {"tagged.jpg"}


def test_the_position_of_a_photo_counts_before_that_of_its_landmark(library: StoredPhotos) -> None:
    library.photo("without.jpg", (EIFFEL, 0.9, True))
    library.photo("berlin.jpg", (EIFFEL, 0.9, True))
    library.position("berlin.jpg", 52.5, 13.4)
    assert found(library, near=AT_EIFFEL) == {"without.jpg": [EIFFEL]}
    assert found(library, near=Near(52.5, 13.4, 1.0)) == {"berlin.jpg": [EIFFEL]}
    assert found(library, near=AT_EIFFEL, position="any") == {}


def test_near_is_exact_across_the_date_line_and_at_the_poles(library: StoredPhotos) -> None:
    for name, latitude, longitude in (
        ("fiji east.jpg", -17.0, 179.95),
        ("fiji west.jpg", -17.0, -179.95),
        ("pole.jpg", 89.99, -100.0),
        ("other side.jpg", 89.99, 80.0),
        ("corner of the box.jpg", -16.905, -179.905),
    ):
        library.photo(name)
        library.position(name, latitude, longitude)
    assert found(library, near=Near(-17.0, 180.0, 10.0)).keys() == {"fiji east.jpg", "fiji west.jpg"}
    assert found(library, near=Near(-17.0, -180.0, 10.0)).keys() == {"fiji east.jpg", "fiji west.jpg"}
    assert found(library, near=Near(89.99, 80.0, 3.0)).keys() == {"pole.jpg", "other side.jpg"}
    assert found(library, near=Near(90.0, 0.0, 3.0)).keys() == {"pole.jpg", "other side.jpg"}
    assert found(library, near=Near(-17.0, 179.95, 0.0)).keys() == {"fiji east.jpg"}
    assert len(found(library, near=Near(0.0, 0.0, 30_000.0))) == 5


def test_a_box_has_its_edges_and_may_cross_the_date_line(library: StoredPhotos) -> None:
    for name, latitude, longitude in (
        ("fiji east.jpg", -17.0, 179.95),
        ("fiji west.jpg", -17.0, -179.95),
        ("paris.jpg", 48.86, 2.29),
        ("nice.jpg", 43.7, 7.3),
    ):
        library.photo(name)
        library.position(name, latitude, longitude)
    library.photo("without.jpg", (EIFFEL, 0.9, True))
    fiji = {"fiji east.jpg", "fiji west.jpg"}
    assert found(library, box=BoundingBox(-18.0, 179.0, -16.0, -179.0)).keys() == fiji
    assert found(library, box=BoundingBox(-18.0, 179.0, -16.0, 180.0)).keys() == {"fiji east.jpg"}
    assert found(library, box=BoundingBox(43.7, 7.3, 43.7, 7.3)) == {"nice.jpg": []}
    everywhere_near_paris = {"paris.jpg": [], "without.jpg": [EIFFEL]}
    assert found(library, box=BoundingBox(48.0, 2.0, 49.0, 3.0)) == everywhere_near_paris
    assert found(library, box=BoundingBox(48.0, 2.0, 49.0, 3.0), position="any").keys() == {"paris.jpg"}
    assert found(library, box=BoundingBox(40.0, 0.0, 50.0, 9.0), near=AT_EIFFEL) == everywhere_near_paris
    assert len(found(library, box=BoundingBox(-90.0, -180.0, 90.0, 180.0))) == 5


def test_country_is_that_of_the_position_or_of_a_landmark(library: StoredPhotos) -> None:
    library.photo("eiffel.jpg", (EIFFEL, 0.9, True))
    library.photo("gate.jpg", (GATE, 0.9, True), (EIFFEL, 0.1, False))
    library.photo("nice.jpg")
    library.position("nice.jpg", 43.7, 7.3, "France")
    library.photo("peru.jpg", (EIFFEL, 0.9, True), (GATE, 0.6, True))
    library.position("peru.jpg", -13.2, -72.5, "Peru")
    assert found(library, country="france") == {
        "eiffel.jpg": [EIFFEL],
        "nice.jpg": [],
        "peru.jpg": [EIFFEL, GATE],
    }
    assert found(library, country="PERU") == {"peru.jpg": [EIFFEL, GATE]}
    assert found(library, country="France", near=Near(-13.2, -72.5, 5.0)) == {"peru.jpg": [EIFFEL, GATE]}
    assert found(library, country="France", landmark=GATE) == {}
    with pytest.raises(CountryNotFound, match="Did you mean Peru"):
        found(library, country="Perou")


def test_countries_of_positions_are_listed_once(library: StoredPhotos) -> None:
    assert position_countries_of(library) == []
    for n, country in enumerate(("Peru", "France", None, "Peru", "Österreich")):
        library.photo(f"{n}.jpg")
        library.position(f"{n}.jpg", 0.0, 0.0, country)
    assert sorted(position_countries_of(library)) == ["France", "Peru", "Österreich"]


def position_countries_of(library: StoredPhotos) -> list[str]:
    with library.database.read() as connection:
        return position_countries(connection)


def test_verdicts_by_area_are_about_the_landmarks_in_it(library: StoredPhotos) -> None:
    library.photo("paris.jpg", (EIFFEL, 0.9, True), (GATE, 0.6, True))
    library.position("paris.jpg", 48.86, 2.29, "France")
    for area in ({"country": "France"}, {"near": AT_EIFFEL}):
        query = PhotoQuery(**area)  # type: ignore[arg-type]
        give_verdict_by_query(library.database, query, VerdictKind.CONFIRMED, "ada", {})
        listed = list_verdicts(library.database, VerdictFilter(photos=query))
        assert [verdict.landmark for verdict in listed] == [EIFFEL]
    named = PhotoQuery(landmark=GATE, country="France")
    result = give_verdict_by_query(library.database, named, VerdictKind.REJECTED, "ada", {})
    assert (result.photos, result.tags) == (1, 1)
    assert found(library, country="France") == {"paris.jpg": [EIFFEL]}


def test_unknown_photos_near_are_found_without_reading_the_tagged_ones(library: StoredPhotos) -> None:
    for n in range(20):
        library.photo(f"tagged {n}.jpg", (EIFFEL, 0.9, True))
        library.position(f"tagged {n}.jpg", 48.86, 2.29)
        library.photo(f"corner {n}.jpg")
        library.position(f"corner {n}.jpg", 48.8735, 2.3175)  # of the box, 2.4 km from the centre
    library.photo("unknown.jpg")
    library.position("unknown.jpg", 48.86, 2.29)
    library.photo("rejected.jpg", (EIFFEL, 0.9, True))
    library.position("rejected.jpg", 48.86, 2.29)
    library.verdict("digest of rejected.jpg", EIFFEL, "rejected")
    with statements(library) as texts:
        assert found(library, near=AT_EIFFEL, unknown=True) == {"unknown.jpg": [], "rejected.jpg": []}
    (of_tags,) = (values for text, values in texts if "effective_tags" in text)
    assert len(of_tags) == 2  # the photos whose tags were read


def test_landmarks_without_photos_that_match_take_no_statement(library: StoredPhotos) -> None:
    slugs = [f"place-{n}" for n in range(30)]
    with library.database.write() as connection:
        for slug in slugs:
            values = {"slug": slug, "name": slug, "country": "Peru", "latitude": -13.2, "longitude": -72.5}
            query = insert(landmarks).values(values).returning(landmarks.c.id)
            library.landmark_ids[slug] = connection.execute(query).scalar_one()
    for n, slug in enumerate(slugs):
        library.photo(f"{n}.jpg", (slug, 0.9, True))
        library.position(f"{n}.jpg", 48.9, 2.3, "France", "track" if n in (9, 10) else "camera")
    on_tracks = {"9.jpg": ["place-9"], "10.jpg": ["place-10"]}
    for options, expected in (
        ({"country": "Peru", "position": "track"}, on_tracks),
        ({"near": Near(-13.2, -72.5, 5.0)}, {}),
    ):
        with statements(library) as texts:
            assert found(library, **options) == expected
        assert len(texts) < 25, options  # and three for each landmark without


@contextmanager
def statements(library: StoredPhotos) -> Iterator[list[tuple[str, Any]]]:
    """The statements of the block, with their parameters."""
    texts: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        texts.append((statement, parameters))

    event.listen(library.database._engine, "before_cursor_execute", record)
    try:
        yield texts
    finally:
        event.remove(library.database._engine, "before_cursor_execute", record)


def test_areas_cameras_and_verdicts_are_read_along_an_index(library: StoredPhotos) -> None:
    library.photo("a.jpg", camera_id=library.camera("Google", "Pixel 8"))
    library.position("a.jpg", 48.86, 2.29, "France")
    library.verdict("digest of a.jpg", EIFFEL, "confirmed")
    plans: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "photos.path" in statement and "positions." in statement:
            if not library.database.is_sqlite:
                cursor.execute("SET LOCAL enable_seqscan = off")  # the tables are empty
            explanation = "EXPLAIN QUERY PLAN " if library.database.is_sqlite else "EXPLAIN "
            cursor.execute(explanation + statement, parameters)
            plans.append(str(cursor.fetchall()))

    try:
        for options in (
            {"near": AT_EIFFEL},
            {"country": "France"},
            {"camera": ("Google Pixel 8",)},
            {"verdict": "confirmed"},
        ):
            assert found(library, **options).keys() == {"a.jpg"}
    finally:
        event.remove(Engine, "before_cursor_execute", explain)
    near_plan, country_plan, dated_plan, undated_plan, verdict_plan = plans
    assert "ix_positions_latitude_longitude_photo_id" in near_plan
    assert "ix_positions_country_photo_id" in country_plan
    for plan in (dated_plan, undated_plan):
        assert "ix_photos_camera_id_taken_at" in plan
    assert "ix_photos_content_id_gone_since" in verdict_plan
