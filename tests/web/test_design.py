"""What docs/explanation/page-design.md promises of every page, and its screenshots."""

import gzip
import re
from pathlib import Path

import pytest
from PIL import Image

from docs.pictures.demo_library import demo_library
from docs.pictures.drawn_library import draw_library
from docs.pictures.drawn_model import learn_landmarks
from docs.pictures.screenshots import PICTURES, SCREENSHOTS, documented_names, take_screenshots
from tagger.web.api.jobs import read_status
from tagger.web.templating import STATIC, TEMPLATES

STYLE = (STATIC / "app.css").read_text()

WORDS_ON = [
    *((ink, ground) for ink in ("ink", "ink-soft") for ground in ("ground", "surface", "raised", "sunken")),
    *((ink, ground) for ink in ("accent", "bad", "open") for ground in ("ground", "surface", "raised")),
    *(("ink", soft) for soft in ("accent-soft", "open-soft", "bad-soft")),
    ("accent-strong", "accent-soft"),
    ("open", "open-soft"),
    ("bad", "bad-soft"),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("on-bad", "bad"),
]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_words_and_edges_have_contrast_on_every_ground_they_stand_on(theme):
    for ink, ground in WORDS_ON:
        assert contrast(token(ink)[theme], token(ground)[theme]) >= 4.5, (ink, ground)
    for ground in ("ground", "surface"):  # of what can be pressed
        assert contrast(token("line-strong")[theme], token(ground)[theme]) >= 3, ground


def map_scripts() -> list[Path]:
    """What only the map loads."""
    return [*STATIC.glob("map*.js"), *(STATIC / "vendor" / "map").iterdir()]


def test_scripts_are_small_and_those_of_the_map_have_their_licences():
    scripts = set(STATIC.rglob("*.js")) - set(map_scripts())
    assert sum(path.stat().st_size for path in scripts) < 252_000
    files = [path for path in map_scripts() if path.suffix != ".txt"]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 500_000
    assert (STATIC / "world.pmtiles").stat().st_size < 4_000_000
    for name in ("basemaps", "maplibre-gl", "pmtiles"):
        assert "Redistribution" in (STATIC / "vendor" / "map" / f"{name}.LICENSE.txt").read_text()
    for template in TEMPLATES.glob("*.html"):
        assert "vendor/map" not in template.read_text(), template.name


def test_pages_load_nothing_from_elsewhere_and_hold_no_script_of_their_own():
    loaded = re.compile(r"""(?<!<a )(?:src|href|action|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""")
    for path in [*STATIC.glob("*.css"), *STATIC.glob("*.js"), *TEMPLATES.glob("*.html")]:
        assert not loaded.search(path.read_text()), path.name
    inline = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|hx-on", re.IGNORECASE)
    for path in TEMPLATES.glob("*.html"):
        assert not inline.search(path.read_text()), path.name
    for path in TEMPLATES.glob("*.html"):
        view = path.read_text()
        if " hx-" in view and not path.stem.endswith("_parts"):
            assert re.search(r"htmx\.min\.js|set libraries = .*htmx", view), path.name


def token(name: str) -> tuple[str, str]:
    """What it is by day and by night."""
    match = re.search(rf"--{name}: light-dark\((#\w{{6}}), (#\w{{6}})\);", STYLE)
    assert match is not None, name
    return match[1], match[2]


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_each_documented_screenshot_is_taken_and_stored():
    assert documented_names()
    assert set(documented_names()) <= set(SCREENSHOTS)
    paths = [*PICTURES.iterdir()]
    assert sorted(path.name for path in paths) == sorted(f"{name}.webp" for name in documented_names())
    assert sum(path.stat().st_size for path in paths) < 2_500_000


@pytest.mark.slow
def test_screenshots_are_taken_of_a_drawn_library(browser, tmp_path):
    draw_library(tmp_path / "Pictures", most=6)
    learn_landmarks(tmp_path / "drawn.pt", per_label=8)
    names = ["library-phone", "jobs-phone"]
    with demo_library(tmp_path, tmp_path / "drawn.pt") as library:
        take_screenshots(browser, library, tmp_path / "out", names)
        status = read_status(library, 1)
        assert status.has_redis  # else the page of jobs shows a warning
        assert status.last_tick
        assert status.last_tick.at
    paths = sorted((tmp_path / "out").iterdir())
    assert sorted(path.stem for path in paths) == sorted(names)
    for path in paths:
        with Image.open(path) as picture:
            assert picture.size == (390, 844)
            assert len(picture.convert("RGB").getcolors(2**20) or range(2**20)) > 100
