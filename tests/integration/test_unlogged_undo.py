"""Undo in files that the database does not know, by the records in their own XMP."""

from pathlib import Path

import pytest
from rig.drawing import draw_photo

from tagger.database.connection import Database
from tagger.jobs.processing.metadata_preview import preview_unlogged_undo, undo_unlogged
from tagger.metadata.files.replacement import prepare
from tagger.metadata.plans import plan_embed, plan_sidecar
from tagger.metadata.tag_fields import NamedLandmark, make_tag_fields
from tagger.settings import Settings

TOWER = make_tag_fields([NamedLandmark("eiffel-tower", "Eiffel Tower")])


def undo(database: Database, *paths: Path) -> list[str]:
    return [undo_unlogged(database, each) for each in preview_unlogged_undo(database, Settings(), paths)]


def sidecar_beside(photo: Path) -> Path:
    path = photo.with_name(photo.name + ".xmp")
    plan = plan_sidecar(path, TOWER, lambda _: None, photo_data=photo.read_bytes())
    prepare(plan.original, plan.data, photo=photo).replace()
    return path


@pytest.mark.parametrize("name", ["of-an-unsupported-format.gif", "write-protected.jpg", "lost.jpg"])
def test_sidecar_is_deleted(database: Database, tmp_path: Path, name: str) -> None:
    photo = tmp_path / name
    draw_photo(1, (64, 48)).save(photo)
    photo.chmod(0o444)
    sidecar = sidecar_beside(photo)
    if name == "lost.jpg":
        photo.unlink()
    assert undo(database, sidecar if name == "lost.jpg" else photo) == [f"{name}.xmp deleted"]
    assert not sidecar.exists()


@pytest.mark.parametrize("times", [1, 2])
def test_unlogged_photo_is_restored(database: Database, tmp_path: Path, times: int) -> None:
    photo = tmp_path / "photo.jpg"
    draw_photo(3, (64, 48)).save(photo)
    original = photo.read_bytes()
    plan = plan_embed(photo, TOWER, lambda _: None, image_digest=None, max_bytes=10**6)
    prepare(plan.original, plan.data).replace()
    results = [undo(database, photo) for _ in range(times)]
    assert results[0] == ["removed from the photo itself; changes by other programs are kept"]
    assert results[1:] in ([], [["it holds none of our values"]])
    assert photo.read_bytes() == original
