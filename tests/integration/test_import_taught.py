"""Embeddings, and what was learned from them, that this program never stores: refused by `tagger db import`."""

import base64
import io
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.colour_folders import TaggedFolder
from support.empty_databases import create_sqlite_database
from support.exports import exported, with_row
from support.teaching import draw_place, teachable_artifact

from tagger.database.connection import open_database
from tagger.database.enums import VerdictKind
from tagger.errors import ImportRefused
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
from tagger.library.teaching.classifiers import BOUNDS_BYTES
from tagger.library.teaching.learning import update_taught
from tagger.library.verdicts.service import give_verdict
from tagger.transfer.importer import import_database
from tagger.transfer.integrity import check_database

Row = dict[str, Any]
NOT_CLASSIFIED: Row = dict.fromkeys(("model_id", "top_k", "threshold", "outcome", "classified_at"))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of four photos of a place, which was taught with one of them."""
    folder = tmp_path_factory.mktemp("library")
    database = open_database(create_sqlite_database(folder / "tagger.sqlite"))
    library = TaggedFolder(database, folder, teachable_artifact)
    photos = [draw_place(library.folder / f"{seed}.jpg", 0, seed=seed) for seed in range(4)]
    library.tag()
    with database.write() as connection:
        church = add_landmark(connection, NewLandmark("Our church"))
    give_verdict(database, photos[0], church.slug, VerdictKind.CONFIRMED, None, {})
    update_taught(database, library.model)
    assert list(check_database(database)) == []
    content = exported(database)
    database.close()
    return content


def bounds(low: float, high: float) -> Callable[[Row], None]:
    """Replace the lowest and the highest value of an embedding."""

    def change(row: Row) -> None:
        data = base64.b64decode(row["data"])
        row["data"] = base64.b64encode(struct.pack("<2f", low, high) + data[BOUNDS_BYTES:]).decode()

    return change


def shorten(row: Row) -> None:
    row["data"] = base64.b64encode(base64.b64decode(row["data"])[:-4]).decode()


def first_weight(weight: float) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        data = base64.b64decode(row["data"])
        row["data"] = base64.b64encode(struct.pack("<f", weight) + data[4:]).decode()

    return change


DAMAGE: list[tuple[str, Callable[[Row], None], str]] = [
    ("embeddings", bounds(float("nan"), 1), "not finite"),
    ("embeddings", bounds(-3e38, 3e38), "too large to be compared"),
    ("embeddings", shorten, "its embeddings have another dimension"),
    ("embeddings", lambda row: row.update(data="AAAAAAAAAAA="), "an embedding has dimensions"),
    ("embeddings", lambda row: row.update(taught_version=2), "of a later version"),
    ("classifiers", first_weight(float("-inf")), "not finite"),
    ("classifiers", shorten, "its classifiers have another dimension"),
    ("classifiers", lambda row: row.update(version=2), "of a later version"),
    ("taught_tags", lambda row: row.update(landmark_id=1), "a taught tag without"),
    ("contents", lambda row: row.update(NOT_CLASSIFIED), "not of a model that classified it"),
]


def test_damaged_teaching_is_refused(export: bytes, tmp_path: Path) -> None:
    with closing(open_database(create_sqlite_database(tmp_path / "tagger.sqlite"))) as empty:
        for table, change, reason in DAMAGE:
            with pytest.raises(ImportRefused, match=reason):
                import_database(empty, io.BytesIO(with_row(export, table, change)), "the file", dry_run=True)
        import_database(empty, io.BytesIO(export), "the file")
        assert list(check_database(empty)) == []
