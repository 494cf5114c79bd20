"""The screenshots of the documentation: the script takes them, in the right size."""

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser

from docs.pictures.demo_library import demo_library
from docs.pictures.drawn_library import draw_library
from docs.pictures.drawn_model import learn_landmarks
from docs.pictures.screenshots import PICTURES, SCREENSHOTS, documented_names, take_screenshots
from tagger.web.api.jobs import read_status

MAX_BYTES = 2_500_000
MIN_COLOURS = 100


def test_the_script_takes_every_documented_screenshot():
    assert documented_names()
    assert set(documented_names()) <= set(SCREENSHOTS)


def test_the_stored_screenshots_are_the_documented_ones():
    paths = [*PICTURES.iterdir()]
    assert sorted(path.name for path in paths) == sorted(f"{name}.webp" for name in documented_names())
    assert sum(path.stat().st_size for path in paths) < MAX_BYTES


@pytest.mark.slow
def test_screenshots_are_taken_of_a_drawn_library(browser, tmp_path):
    draw_library(tmp_path / "Pictures", most=6)
    learn_landmarks(tmp_path / "drawn.pt", per_label=8)
    assert_screenshots(browser, tmp_path, tmp_path / "drawn.pt")


def assert_screenshots(browser: Browser, home: Path, model: Path) -> None:
    """Check the size of two screenshots of the photos in `home/Pictures`, and that they show something."""
    names = ["library-phone", "jobs-phone"]
    with demo_library(home, model) as library:
        take_screenshots(browser, library, home / "out", names)
        status = read_status(library.settings, library.database, 1)
        assert status.has_redis  # else the page of jobs shows a warning
        assert status.last_tick
        assert status.last_tick.at
    paths = sorted((home / "out").iterdir())
    assert sorted(path.stem for path in paths) == sorted(names)
    for path in paths:
        with Image.open(path) as picture:
            assert picture.size == (390, 844)
            assert len(picture.convert("RGB").getcolors(2**20) or range(2**20)) > MIN_COLOURS
