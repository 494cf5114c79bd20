"""Groups of unknown photos that look alike, on both databases."""

from pathlib import Path

import pytest
from support.colour_folders import EIFFEL, TaggedFolder
from support.teaching import draw_place, teachable_artifact

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.library.teaching import similarity
from tagger.library.teaching.similarity import find_look_alikes, photos_of_groups
from tagger.library.verdicts.service import give_verdict
from tagger.library.verdicts.store import dismiss_photos


@pytest.fixture
def library(database: Database, tmp_path: Path) -> TaggedFolder:
    library = TaggedFolder(database, tmp_path, teachable_artifact)
    for name, place, count in (("church", 0, 6), ("bridge", 1, 4), ("gate", 2, 2)):
        for seed in range(count):
            draw_place(library.folder / name / f"{seed}.jpg", place, seed=seed)
    library.tag()
    return library


def groups(library: TaggedFolder, most_images: int = 1000) -> list[list[str]]:
    """The names of the photos of each group, from groups that are found now."""
    found = find_look_alikes(library.database, library.model, most_images=most_images)
    listed = photos_of_groups(library.database, found.groups, {})
    return [sorted("/".join(Path(photo.path).parts[-2:]) for photo in group) for group in listed]


def test_groups_of_three_or_more_are_listed_the_largest_first(library: TaggedFolder) -> None:
    church = [f"church/{number}.jpg" for number in range(6)]
    assert groups(library) == [church, [f"bridge/{number}.jpg" for number in range(4)]]


@pytest.mark.postgresql
def test_photos_with_a_verdict_leave_their_group_at_once(library: TaggedFolder) -> None:
    found = find_look_alikes(library.database, library.model)
    dismiss_photos(library.database, [library.photo(f"bridge/{number}.jpg").id for number in (0, 1)], "ada")
    give_verdict(library.database, library.photo("church/0.jpg").id, EIFFEL, VerdictKind.CONFIRMED, "ada", {})
    listed = photos_of_groups(library.database, found.groups, {})
    assert [len(group) for group in listed] == [5]
    assert groups(library) == [[f"church/{number}.jpg" for number in range(1, 6)]]


@pytest.mark.postgresql
def test_only_the_photos_that_were_added_last_are_compared(
    library: TaggedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "PAGE", 5)
    assert not find_look_alikes(library.database, library.model).is_limited
    found = find_look_alikes(library.database, library.model, most_images=7)
    assert (found.compared, found.is_limited) == (7, True)
    assert sum(map(len, found.groups)) <= 7


def test_a_photo_that_is_gone_is_not_listed(library: TaggedFolder) -> None:
    found = find_look_alikes(library.database, library.model)
    (library.folder / "church" / "0.jpg").unlink()
    library.tag()
    assert [len(group) for group in photos_of_groups(library.database, found.groups, {})] == [5, 4]
