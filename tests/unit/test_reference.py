"""The generated pages of the reference are current."""

import runpy
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_reference_pages_match_the_code() -> None:
    pages = runpy.run_path(str(PROJECT / "docs" / "generate_reference.py"))["pages"]()
    outdated = [path.name for path, text in pages.items() if path.read_text() != text]
    assert outdated == [], "run: make reference"
