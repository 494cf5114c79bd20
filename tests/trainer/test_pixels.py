"""The cache of decoded photos: squares are found by image digest, and damaged ones are made again."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.disks import file_size_limit
from support.scenes import draw_scene

from tagger.photos.decoding import Pixels, Resize, decode_photo
from trainer import OutputUnwritable
from trainer.data import LabelledPhoto
from trainer.data.preparation import MAX_PIXELS, CachedPhotos, cache_photos

SIDE = 32
SQUARES = "pixels-32"


@pytest.fixture
def photos(tmp_path) -> list[LabelledPhoto]:
    return [labelled(draw_scene(tmp_path / "photos" / f"{seed}.jpg", seed)) for seed in range(5)]


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def labelled(path: Path) -> LabelledPhoto:
    return LabelledPhoto(path, "label")


def assert_cached(cached: CachedPhotos, photos: Sequence[LabelledPhoto], side: int = SIDE) -> None:
    """Check that every photo is cached with its own pixels."""
    assert list(cached.photos) == list(photos)
    for position, photo in enumerate(photos):
        assert np.array_equal(cached.image(position), decoded(photo, side))


def decoded(photo: LabelledPhoto, side: int) -> Pixels:
    resize = Resize(side, side, "stretch")
    return decode_photo(photo.path.read_bytes(), resize, max_pixels=MAX_PIXELS).pixels


def decoding_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log messages about decoded photos since the last call."""
    output = [record.getMessage() for record in caplog.records if record.getMessage().startswith("decoding ")]
    caplog.clear()
    return output


@pytest.fixture(autouse=True)
def _record_log(caplog) -> None:
    logging.getLogger("trainer").propagate = True
    caplog.set_level(logging.INFO, "trainer")


def test_renamed_and_copied_photos_cost_no_decoding(photos, cache, tmp_path, caplog):
    assert_cached(cache_photos(photos, SIDE, cache), photos)
    assert decoding_messages(caplog) == ["decoding photos (5)"]

    moved = [
        labelled(photos[0].path.rename(tmp_path / "new name.jpg")),
        labelled(Path(shutil.copy(photos[1].path, tmp_path / "copy.jpg"))),
        *photos[1:],
        labelled(draw_scene(tmp_path / "new.jpg", 99)),
    ]
    assert_cached(cache_photos(moved, SIDE, cache), moved)
    assert decoding_messages(caplog) == ["decoding photos (1)"]
    assert_cached(cache_photos(moved[::-1], SIDE, cache), moved[::-1])
    assert decoding_messages(caplog) == []


def test_unreadable_photos_are_left_out_with_a_warning(photos, cache, tmp_path, caplog):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    bad = [labelled(tmp_path / name) for name in ("text.jpg", "broken.jpg", "gone.jpg")]
    cached = cache_photos([bad[0], *photos, *bad[1:]], SIDE, cache)

    assert_cached(cached, photos)
    for name in ("text.jpg", "broken.jpg", "gone.jpg"):
        assert any("skipped" in text and name in text for text in caplog.messages)
    assert "3 could not be read" in caplog.messages[-1]


def test_interrupted_reading_resumes(photos, cache, caplog):
    cache_photos(photos[:3], SIDE, cache)
    (cache / SQUARES / "0123.partial").write_bytes(b"half a square")
    decoding_messages(caplog)

    assert_cached(cache_photos(photos, SIDE, cache), photos)
    assert decoding_messages(caplog) == ["decoding photos (2)"]


@pytest.mark.parametrize("remaining_bytes", [0, 3 * SIDE * SIDE - 1])
def test_truncated_squares_are_rebuilt(photos, cache, remaining_bytes, caplog):
    cache_photos(photos, SIDE, cache)
    for square in sorted((cache / SQUARES).iterdir())[:2]:
        os.truncate(square, remaining_bytes)
    decoding_messages(caplog)

    assert_cached(cache_photos(photos, SIDE, cache), photos)
    assert decoding_messages(caplog) == ["decoding photos (2)"]


def test_a_full_disk_is_reported_and_leaves_nothing_behind(photos, cache):
    with file_size_limit(3000), pytest.raises(OutputUnwritable, match=r"Cannot write to .*File too large"):
        cache_photos(photos, SIDE, cache)
    assert not list((cache / SQUARES).iterdir())
    assert_cached(cache_photos(photos, SIDE, cache), photos)


def test_panorama_is_kept_whole(tmp_path, cache):
    picture = Image.new("RGB", (900, 40), "black")
    picture.paste("white", (0, 0, 90, 40))
    picture.save(tmp_path / "wide.png")
    image = cache_photos([labelled(tmp_path / "wide.png")], SIDE, cache).image(0)

    assert image[:, 0].min() == 255
    assert image[:, 4:].max() == 0
