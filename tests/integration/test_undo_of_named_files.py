"""Files that the database knows nothing of say themselves what is ours in them, and give it back."""

from pathlib import Path

import pytest
from drawing import draw_photo
from PIL import Image

from tagger.database import Database
from tagger.metadata.additions import NamedLandmark, additions_for
from tagger.metadata.planning import plan_embed, plan_sidecar
from tagger.metadata.replacing import prepare
from tagger.settings import Settings
from tagger.writing.single import plan_unknown, undo_unknown

TOWER = additions_for([NamedLandmark("eiffel-tower", "Eiffel Tower")])


def undone(database: Database, *paths: Path) -> list[str]:
    return [undo_unknown(database, each) for each in plan_unknown(database, Settings(), paths)]


def sidecar_beside(photo: Path) -> Path:
    path = photo.with_name(photo.name + ".xmp")
    plan = plan_sidecar(path, TOWER, lambda _: None, of_photo=photo.read_bytes())
    prepare(plan.original, plan.data, photo=photo).replace()
    return path


def test_sidecars_of_photos_that_are_never_written_into_are_taken_back(
    database: Database, tmp_path: Path
) -> None:
    photo = tmp_path / "moving.gif"
    Image.new("P", (8, 8)).save(photo)
    sidecar = sidecar_beside(photo)
    assert undone(database, photo) == ["moving.gif.xmp removed"]
    assert not sidecar.exists()


def test_sidecar_of_a_photo_that_may_not_be_written_is_taken_back(database: Database, tmp_path: Path) -> None:
    photo = tmp_path / "protected.jpg"
    draw_photo(1, (64, 48)).save(photo)
    photo.chmod(0o444)
    sidecar = sidecar_beside(photo)
    assert undone(database, photo) == ["protected.jpg.xmp removed"]
    assert not sidecar.exists()


def test_sidecar_that_has_lost_its_photo_is_taken_back_by_its_own_name(
    database: Database, tmp_path: Path
) -> None:
    photo = tmp_path / "lost.jpg"
    draw_photo(2, (64, 48)).save(photo)
    sidecar = sidecar_beside(photo)
    photo.unlink()
    assert undone(database, sidecar) == ["lost.jpg.xmp removed"]
    assert not sidecar.exists()


@pytest.mark.parametrize("times", [1, 2])
def test_photo_itself_is_taken_back(database: Database, tmp_path: Path, times: int) -> None:
    photo = tmp_path / "photo.jpg"
    draw_photo(3, (64, 48)).save(photo)
    original = photo.read_bytes()
    plan = plan_embed(photo, TOWER, lambda _: None, picture=None, max_bytes=10**6)
    prepare(plan.original, plan.data).replace()
    said = [undone(database, photo) for _ in range(times)]
    assert said[0] == ["taken out of the photo itself; the rest is as others left it"]
    assert said[1:] in ([], [["nothing of ours is in it"]])
    assert photo.read_bytes() == original
