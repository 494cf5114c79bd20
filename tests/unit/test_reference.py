"""The reference is current, nothing promised is gone, and the files to read first are short."""

import re
from pathlib import Path

from docs.generate_reference import pages
from docs.surface import SURFACE, current_lines, expanded, folded, stored_lines

DOCS = Path(__file__).parents[2] / "docs"


def test_what_is_documented_and_promised_stays():
    outdated = [path.name for path, text in pages().items() if path.read_text() != text]
    assert outdated == [], "run: make reference"
    stored, current = stored_lines(), current_lines()
    assert stored - current == set(), "others may depend on these: see docs/how-to/release.md"
    assert current - stored == set(), "run: make reference"
    lines = current_lines()
    query, address = "command tagger query", "api GET /api/photos"
    lacking = {f"{query} --taken-after", f"{address} year"}
    assert lacking <= lines
    lines -= lacking
    assert {f"{query} FILTERS but --taken-after", f"{address} FILTERS but year"} <= folded(lines)
    assert expanded(folded(lines)) == lines
    assert SURFACE.read_text().splitlines() == sorted(folded(stored_lines()))
    page = (DOCS / "explanation/read-these-files.md").read_text()
    files = re.findall(r"^\| .*\]\(\.\./\.\./(.+?)\)", page, re.MULTILINE)
    lines = sum(len((DOCS.parent / file).read_text().splitlines()) for file in files)
    assert len(files) == 8
    assert lines < 2500
