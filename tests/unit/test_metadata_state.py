"""`tagger metadata show` reads sidecars within limits, as photos are read: one that cannot be read has a problem of its own."""

import os
from pathlib import Path

import pytest
from support.format_photos import encode_photo

from tagger.cli.commands.metadata import FileState, metadata_state
from tagger.metadata import NamedLandmark, make_tag_fields
from tagger.metadata.xmp import changes
from tagger.photos.side_files import SIDECAR_MAX_BYTES

TOWER = NamedLandmark("eiffel-tower", "Eiffel Tower", "France", city="Paris")
PACKET = changes.add(None, make_tag_fields((TOWER,)), sidecar=True)
MAX_BYTES = 2**20


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "tower.jpg"
    path.write_bytes(encode_photo("JPEG"))
    path.with_name("tower.xmp").write_bytes(PACKET)
    return path


def sidecar_state(photo: Path) -> FileState:
    (state,) = (
        each for each in metadata_state(photo, MAX_BYTES).sidecars if each.path.name == "tower.jpg.xmp"
    )
    return state


@pytest.mark.parametrize(
    ("create", "problem"),
    [
        (os.mkfifo, "It is a pipe, socket or device and not a file"),
        (sparse, f"more than the limit of {SIDECAR_MAX_BYTES}"),
        (Path.touch, "The file has no content"),
    ],
)
def test_a_sidecar_that_cannot_be_read_has_a_problem(create, problem, photo):
    create(photo.with_name("tower.jpg.xmp"))
    assert problem in (sidecar_state(photo).problem or "")
    state = metadata_state(photo, MAX_BYTES)
    assert [each.problem for each in (state.photo, *state.sidecars) if each and each.landmarks] == [None]


def test_a_linked_sidecar_is_read(photo):
    photo.with_name("tower.jpg.xmp").symlink_to("tower.xmp")
    assert sidecar_state(photo).landmarks[0].slug == "eiffel-tower"
