"""What docs/explanation/page-design.md promises of every page: contrast, a small download, a map that fits its projection."""

import gzip
import re
from itertools import pairwise
from pathlib import Path

import pytest

from tagger.web.http import templates
from tagger.web.http.templates import STATIC, TEMPLATES

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
IN_FRANCE, IN_INDIA, IN_PERU, IN_AUSTRALIA = (46.5, 2.5), (23.0, 79.0), (-10.0, -75.5), (-25.0, 134.0)
IN_ALASKA, IN_GREENLAND, IN_SOUTH_AFRICA = (65.0, -153.0), (72.0, -40.0), (-30.0, 23.0)
ATLANTIC, PACIFIC, INDIAN_OCEAN = (30.0, -40.0), (0.0, -140.0), (-20.0, 75.0)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_words_and_edges_have_contrast_on_every_ground_they_stand_on(theme: int) -> None:
    for ink, ground in WORDS_ON:
        assert contrast(token(ink)[theme], token(ground)[theme]) >= 4.5, (ink, ground)
    for ground in ("ground", "surface"):  # of what can be pressed
        assert contrast(token("line-strong")[theme], token(ground)[theme]) >= 3, ground


def map_scripts() -> list[Path]:
    """What only the map loads."""
    return [*STATIC.glob("map*.js"), *(STATIC / "vendor" / "map").iterdir()]


def test_all_scripts_together_are_small() -> None:
    scripts = set(STATIC.rglob("*.js")) - set(map_scripts())
    assert sum(path.stat().st_size for path in scripts) < 246_000


def test_what_only_the_map_loads_is_small_and_comes_with_its_licences() -> None:
    files = [path for path in map_scripts() if path.suffix != ".txt"]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 500_000
    assert (STATIC / "world.pmtiles").stat().st_size < 2_500_000
    for name in ("maplibre-gl", "pmtiles"):
        assert "Redistribution" in (STATIC / "vendor" / "map" / f"{name}.LICENSE.txt").read_text()
    for template in TEMPLATES.glob("*.html"):
        assert "vendor/map" not in template.read_text(), template.name


def test_no_page_asks_another_site_for_anything() -> None:
    loaded = re.compile(r"""(?:src|href|action|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""")
    for path in [*STATIC.glob("*.css"), *STATIC.glob("*.js"), *TEMPLATES.glob("*.html")]:
        assert not loaded.search(path.read_text()), path.name


def test_no_template_holds_style_or_script_of_its_own() -> None:
    inline = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|hx-on", re.IGNORECASE)
    for path in TEMPLATES.glob("*.html"):
        assert not inline.search(path.read_text()), path.name


def test_views_with_attributes_of_htmx_load_it() -> None:
    for path in TEMPLATES.glob("*.html"):
        view = path.read_text()
        if " hx-" in view:
            assert re.search(r"htmx\.min\.js|parts\.head\(\)", view), path.name


def test_places_on_land_are_on_the_maps_land_and_those_at_sea_are_not() -> None:
    for place in (IN_FRANCE, IN_INDIA, IN_PERU, IN_AUSTRALIA, IN_ALASKA, IN_GREENLAND, IN_SOUTH_AFRICA):
        assert is_land(*templates.project(*place)), place
    for place in (ATLANTIC, PACIFIC, INDIAN_OCEAN):
        assert not is_land(*templates.project(*place)), place


def test_the_projection_keeps_its_edges() -> None:
    assert templates.project(0.0, 180.0)[0] == templates.WORLD_WIDTH
    assert templates.project(0.0, -180.0)[0] == 0
    assert templates.project(84.0, 0.0) == (templates.WORLD_WIDTH / 2, 0.0)
    ys = [templates.project(latitude, 0.0)[1] for latitude in range(-56, 85)]
    assert all(north < south for south, north in pairwise(ys))
    assert ys[0] <= templates.WORLD_HEIGHT


def test_the_map_is_small_and_of_the_projections_size() -> None:
    drawing = (STATIC / "world.svg").read_text()
    assert len(drawing) < 40_000
    assert f'viewBox="{templates.WORLD_VIEW_BOX}"' in drawing


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


def is_land(x: float, y: float) -> bool:
    """Whether a ray from there crosses the outlines an odd number of times."""
    crossings = 0
    for ring in outlines():
        for (ax, ay), (bx, by) in pairwise([*ring, ring[0]]):
            if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
                crossings += 1
    return crossings % 2 == 1


def outlines() -> list[list[tuple[float, float]]]:
    """The rings of the land: a point, then steps from each to the next."""
    drawing = re.search(r' d="([^"]+)"', (STATIC / "world.svg").read_text())
    assert drawing is not None
    rings = []
    for start, steps in re.findall(r"M([^l]+)l([^z]+)z", drawing[1]):
        x, y = numbers(start)
        ring = [(x, y)]
        moves = numbers(steps)
        for dx, dy in zip(moves[::2], moves[1::2], strict=True):
            x, y = x + dx, y + dy
            ring.append((x, y))
        rings.append(ring)
    return rings


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d*\.?\d+", text)]
