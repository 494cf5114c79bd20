"""The cache of decoded photos: entries are found by image digest and stay correct after any damage to the files."""

import json
import logging
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.full_disk import file_size_limit
from support.scenes import draw_scene

from tagger.photos.decoding import Pixels, Resize, decode_photo
from trainer.data.folders import LabelledPhoto
from trainer.data.pixels import MAX_PIXELS, CachedPhotos, cache_photos
from trainer.errors import OutputUnwritable

SIDE = 32
SQUARES, LIST = "pixels-32.u8", "pixels-32.json"


@pytest.fixture
def photos(tmp_path: Path) -> list[LabelledPhoto]:
    return [labelled(draw_scene(tmp_path / "photos" / f"{seed}.jpg", seed)) for seed in range(5)]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
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
def _record_log(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("trainer").propagate = True
    caplog.set_level(logging.INFO, "trainer")


def test_renamed_and_copied_photos_cost_no_decoding(
    photos: list[LabelledPhoto], cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_photos_of_one_picture_share_a_row(tmp_path: Path, cache: Path) -> None:
    first = draw_scene(tmp_path / "one.jpg", 1)
    copies = [labelled(first), labelled(Path(shutil.copy(first, tmp_path / "two.jpg")))]
    cached = cache_photos(copies, SIDE, cache)

    assert_cached(cached, copies)
    assert cached.rows.tolist() == [0, 0]
    assert (cache / SQUARES).stat().st_size == 3 * SIDE * SIDE


def test_unreadable_photos_are_left_out_with_a_warning(
    photos: list[LabelledPhoto], cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    bad = [labelled(tmp_path / name) for name in ("text.jpg", "broken.jpg", "gone.jpg")]
    cached = cache_photos([bad[0], *photos, *bad[1:]], SIDE, cache)

    assert_cached(cached, photos)
    for name in ("text.jpg", "broken.jpg", "gone.jpg"):
        assert any("skipped" in text and name in text for text in caplog.messages)
    assert "3 could not be read" in caplog.messages[-1]


def test_interrupted_reading_resumes(
    photos: list[LabelledPhoto], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache_photos(photos[:3], SIDE, cache)
    with (cache / SQUARES).open("ab") as file:
        file.write(b"half a square without an entry")
    decoding_messages(caplog)

    assert_cached(cache_photos(photos, SIDE, cache), photos)
    assert decoding_messages(caplog) == ["decoding photos (2)"]


@pytest.mark.parametrize("listed", [b"[", b"{}", b'["a", "a", "a", "a", "a"]'])
def test_an_invalid_list_is_rebuilt(photos: list[LabelledPhoto], cache: Path, listed: bytes) -> None:
    cache_photos(photos, SIDE, cache)
    (cache / LIST).write_bytes(listed)

    assert_cached(cache_photos(photos, SIDE, cache), photos)
    assert_cached(cache_photos(photos[::-1], SIDE, cache), photos[::-1])


@pytest.mark.parametrize("remaining_bytes", [0, 3 * SIDE * SIDE * 3 - 1])
def test_truncated_squares_are_rebuilt(
    photos: list[LabelledPhoto], cache: Path, remaining_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache_photos(photos, SIDE, cache)
    with (cache / SQUARES).open("ab") as file:
        file.truncate(remaining_bytes)
    decoding_messages(caplog)

    assert_cached(cache_photos(photos, SIDE, cache), photos)
    assert decoding_messages(caplog) == [f"decoding photos ({5 - remaining_bytes // (3 * SIDE * SIDE)})"]


@pytest.mark.slow
def test_list_never_names_squares_that_are_being_written_over(
    photos: list[LabelledPhoto], cache: Path
) -> None:
    cache_photos(photos, SIDE, cache)
    with (cache / SQUARES).open("ab") as file:
        file.truncate(0)
    with file_size_limit(3 * SIDE * SIDE), pytest.raises(OutputUnwritable):
        cache_photos(photos[3:], SIDE, cache)

    assert_cached(cache_photos(photos, SIDE, cache), photos)


def test_a_run_keeps_its_pixels_while_another_rebuilds_the_file(
    photos: list[LabelledPhoto], cache: Path
) -> None:
    cached = cache_photos(photos, SIDE, cache)
    (cache / LIST).write_text("garbage")
    cache_photos(photos[:1], SIDE, cache)

    assert_cached(cached, photos)


def test_runs_that_share_a_cache_at_the_same_time_do_not_disturb_each_other(
    tmp_path: Path, cache: Path
) -> None:
    photos = [labelled(draw_scene(tmp_path / "photos" / f"{seed}.png", seed)) for seed in range(24)]
    parts = [photos[:16], photos[8:], photos[::-1], photos[::2]]
    results: dict[int, CachedPhotos] = {}

    def cache_part(number: int) -> None:
        results[number] = cache_photos(parts[number], SIDE, cache)

    threads = [threading.Thread(target=cache_part, args=(number,)) for number in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, part in enumerate(parts):
        assert_cached(results[number], part)
    assert (cache / SQUARES).stat().st_size == 24 * 3 * SIDE * SIDE
    assert len(json.loads((cache / LIST).read_text())) == 24


def test_a_full_disk_is_reported_and_written_pixels_are_reused(
    photos: list[LabelledPhoto], cache: Path
) -> None:
    with file_size_limit(4000), pytest.raises(OutputUnwritable, match=r"Cannot write to .*File too large"):
        cache_photos(photos, SIDE, cache)
    assert_cached(cache_photos(photos, SIDE, cache), photos)


def test_a_folder_that_cannot_be_created_is_reported(photos: list[LabelledPhoto], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputUnwritable, match="Cannot write to"):
        cache_photos(photos, SIDE, tmp_path / "file" / "cache")


def test_panorama_is_kept_whole(tmp_path: Path, cache: Path) -> None:
    picture = Image.new("RGB", (900, 40), "black")
    picture.paste("white", (0, 0, 90, 40))
    picture.save(tmp_path / "wide.png")
    image = cache_photos([labelled(tmp_path / "wide.png")], SIDE, cache).image(0)

    assert image[:, 0].min() == 255
    assert image[:, 4:].max() == 0
