"""What docs/explanation/page-design.md promises of every page: contrast, and a small download."""

import gzip
import re
from pathlib import Path

import pytest

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


def test_all_scripts_together_are_small():
    scripts = set(STATIC.rglob("*.js")) - set(map_scripts())
    assert sum(path.stat().st_size for path in scripts) < 252_000


def test_what_only_the_map_loads_is_small_and_comes_with_its_licences():
    files = [path for path in map_scripts() if path.suffix != ".txt"]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 500_000
    assert (STATIC / "world.pmtiles").stat().st_size < 4_000_000
    for name in ("basemaps", "maplibre-gl", "pmtiles"):
        assert "Redistribution" in (STATIC / "vendor" / "map" / f"{name}.LICENSE.txt").read_text()
    for template in TEMPLATES.glob("*.html"):
        assert "vendor/map" not in template.read_text(), template.name


def test_no_page_asks_another_site_for_anything():
    loaded = re.compile(r"""(?<!<a )(?:src|href|action|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""")
    for path in [*STATIC.glob("*.css"), *STATIC.glob("*.js"), *TEMPLATES.glob("*.html")]:
        assert not loaded.search(path.read_text()), path.name


def test_no_template_holds_style_or_script_of_its_own():
    inline = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|hx-on", re.IGNORECASE)
    for path in TEMPLATES.glob("*.html"):
        assert not inline.search(path.read_text()), path.name


def test_views_with_attributes_of_htmx_load_it():
    for path in TEMPLATES.glob("*.html"):
        view = path.read_text()
        if " hx-" in view:
            assert re.search(r"htmx\.min\.js|parts\.head\(\)", view), path.name


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
