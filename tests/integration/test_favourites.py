"""Photos get a star and lose it, with their copies, on both databases."""

from pathlib import Path
from typing import Any

import pytest
from support.colour_folders import EIFFEL, TaggedFolder

from tagger.database.connection import Database
from tagger.library.catalog.roots import forget_path
from tagger.library.query.facets import count_facets
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.library.search.text_query import text_query
from tagger.library.verdicts.store import StarredPhotos, star_photos
from tagger.transfer.integrity import check_database


class Folder(TaggedFolder):
    """A folder of photos, of which some have a star."""

    def star(self, *names: str, starred: bool = True) -> StarredPhotos:
        return star_photos(self.database, [self.photo(name).id for name in names], "ada", starred=starred)

    def found(self, **options: Any) -> list[str]:
        return sorted(Path(photo.path).name for photo in find_tagged(self.database, PhotoQuery(**options)))


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> Folder:
    return Folder(database, tmp_path)


@pytest.mark.postgresql
def test_favourites_are_found_with_their_copies_whatever_they_show(folder: Folder) -> None:
    folder.draw("in/tower.jpg", 0)
    folder.draw("in/copy.jpg", 0)
    folder.draw("dog.jpg", None, shade=3)
    folder.draw("other.jpg", 1, shade=5)
    folder.tag()
    assert folder.star("in/tower.jpg", "dog.jpg").left_out == []
    folder.star("dog.jpg")  # a second star changes nothing
    for sort in (None, "newest", "score"):
        assert folder.found(favourite=True, sort=sort) == ["copy.jpg", "dog.jpg", "tower.jpg"]
    assert folder.found(favourite=True, landmark=EIFFEL) == ["copy.jpg", "tower.jpg"]
    assert folder.found(favourite=True, under=(folder.folder / "in",)) == ["copy.jpg", "tower.jpg"]
    assert {
        Path(photo.path).name: photo.is_favourite for photo in find_tagged(folder.database, PhotoQuery())
    } == {
        "tower.jpg": True,
        "copy.jpg": True,
        "other.jpg": False,
    }
    (facet,) = count_facets(folder.database, PhotoQuery(), names=["outcome"])
    assert {each.value: each.photos for each in facet.values}["favourite"] == 3
    folder.star("in/copy.jpg", "dog.jpg", starred=False)
    assert folder.found(favourite=True) == []
    assert list(check_database(folder.database)) == []


def test_a_text_finds_favourites_of_a_landmark(folder: Folder) -> None:
    folder.draw("a.jpg", 0)
    folder.draw("b.jpg", 0, shade=2)
    folder.draw("c.jpg", None)
    folder.tag()
    folder.star("a.jpg", "c.jpg")
    for text in ("favourites eiffel tower", "Eiffel Tower Favoriten"):
        query = text_query(folder.database, text, {}).query
        assert [Path(photo.path).name for photo in find_tagged(folder.database, query)] == ["a.jpg"]


def test_photos_that_no_model_has_read_get_no_star(folder: Folder) -> None:
    folder.draw("a.jpg", None)
    folder.record()
    photo = folder.photo("a.jpg").id
    assert folder.star("a.jpg") == StarredPhotos(changed=[], left_out=[photo])


def test_a_star_survives_forgetting_the_photo(folder: Folder) -> None:
    folder.draw("a.jpg", None)
    folder.tag()
    folder.star("a.jpg")
    forget_path(folder.database, folder.folder, {})
    folder.tag()
    assert folder.found(favourite=True) == ["a.jpg"]
