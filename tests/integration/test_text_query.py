"""What free text finds in a database, and the words for it."""
# ruff: noqa: DTZ001 - cameras know no time zone

from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import update
from support.stored_photos import StoredPhotos

from tagger.database.tables import landmarks
from tagger.errors import SearchTextInvalid
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.library.search.text_query import text_query

EIFFEL, GATE = "eiffel-tower", "brandenburg-gate"
PARIS = (48.86, 2.35)


@pytest.fixture
def photos(library: StoredPhotos) -> StoredPhotos:
    with library.database.write() as connection:
        named = update(landmarks).where(landmarks.c.slug == EIFFEL)
        connection.execute(named.values(names={"de": "Eiffelturm"}))
    canon = library.camera("Canon", "Canon EOS 5D", "123")
    library.photo("2019/tower.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2019, 7, 1), camera_id=canon)
    library.photo("2016/tower.jpg", (EIFFEL, 0.9, True), digest="summer", taken_at=datetime(2016, 8, 31))
    library.photo("2016/gate.jpg", (GATE, 0.9, True), taken_at=datetime(2016, 9, 1))
    library.photo("Old prints/street.jpg", taken_at=datetime(2019, 7, 2))
    for path in ("2019/tower.jpg", "Old prints/street.jpg"):
        library.position(path, *PARIS, country="France", city="Paris")
    return library


def found(photos: StoredPhotos, text: str, query: PhotoQuery | None = None) -> list[str]:
    within = text_query(photos.database, text, {}).within(query or PhotoQuery())
    return [
        Path(photo.path).relative_to(photos.root).as_posix() for photo in find_tagged(photos.database, within)
    ]


@pytest.mark.parametrize(
    ("text", "paths", "words"),
    [
        ("EIFFEL tower 2019", ["2019/tower.jpg"], "Eiffel Tower, 2019"),
        ("brandenburg gate eiffel tower 2016", ["2016/tower.jpg", "2016/gate.jpg"], "Brandenburg Gate, Eiffel Tower, 2016"),
        ("paris, 2019", ["2019/tower.jpg", "Old prints/street.jpg"], "Paris, 2019"),
        ("frankreich", ["2019/tower.jpg", "2016/tower.jpg", "Old prints/street.jpg"], "France"),
        ("2018 2019", ["2019/tower.jpg", "Old prints/street.jpg"], "2018, 2019"),
        ("august", ["2016/tower.jpg"], "August"),
        ("old prints", ["Old prints/street.jpg"], "in {root}/Old prints"),
        ("photos without location", ["2016/tower.jpg", "2016/gate.jpg"], "without a position"),
    ],
)  # fmt: skip
def test_parts_are_conditions_and_those_of_a_kind_are_alternatives(
    photos: StoredPhotos, text: str, paths: list[str], words: str
) -> None:
    assert found(photos, text) == paths
    assert text_query(photos.database, text, {}).words == words.format(root=photos.root)


def test_a_word_that_is_not_understood_has_similar_names(photos: StoredPhotos) -> None:
    with pytest.raises(SearchTextInvalid, match=r"eif: .*Did you mean Eiffel Tower"):
        text_query(photos.database, "eif 2019", {})
    with pytest.raises(SearchTextInvalid, match="no words"):
        text_query(photos.database, " - ", {})
    with pytest.raises(SearchTextInvalid, match="June 2019: no photo can match"):
        text_query(photos.database, "May 2019 June 2019", {})
