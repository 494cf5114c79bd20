"""The screenshots: the tour shows those that the script takes, in the right size."""

from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser
from support.demo_library import demo_library
from support.drawn_library import draw_library
from support.drawn_model import learn_landmarks
from support.screenshots import PICTURES, SCREENSHOTS, documented_names, take_screenshots

MOST_BYTES = 2_500_000


def test_every_picture_of_the_tour_is_one_that_the_script_takes() -> None:
    assert documented_names()
    assert set(documented_names()) <= set(SCREENSHOTS)


def test_the_pictures_that_are_kept_are_those_of_the_tour() -> None:
    kept = [*PICTURES.iterdir()]
    assert sorted(path.name for path in kept) == sorted(f"{name}.webp" for name in documented_names())
    assert sum(path.stat().st_size for path in kept) < MOST_BYTES


def test_pictures_are_taken_of_a_drawn_library(browser: Browser, tmp_path: Path) -> None:
    draw_library(tmp_path / "Pictures", most=6)
    learn_landmarks(tmp_path / "drawn.pt", per_label=8)
    wanted = ["library-phone", "jobs-phone"]
    with demo_library(tmp_path, tmp_path / "drawn.pt") as library:
        take_screenshots(browser, library, tmp_path / "out", wanted)
    taken = sorted((tmp_path / "out").iterdir())
    assert sorted(path.stem for path in taken) == sorted(wanted)
    for path in taken:
        with Image.open(path) as picture:
            assert picture.size == (390, 844)
            assert len(picture.convert("RGB").getcolors(2**20) or range(2**20)) > 100
