"""The reference is current, nothing promised is gone, and the files to read first are short."""

import re
from pathlib import Path

from docs.generate_reference import pages
from docs.surface import SURFACE, current_lines, expanded, folded, stored_lines

DOCS = Path(__file__).parents[2] / "docs"


def test_reference_pages_match_the_code():
    outdated = [path.name for path, text in pages().items() if path.read_text() != text]
    assert outdated == [], "run: make reference"


def test_what_a_release_promises_stays():
    stored, current = stored_lines(), current_lines()
    assert stored - current == set(), "others may depend on these: see docs/how-to/release.md"
    assert current - stored == set(), "run: make reference"


def test_the_surface_says_each_filter_once_and_which_one_a_command_lacks():
    lines = current_lines()
    query, address = "command tagger query", "api GET /api/photos"
    lacking = {f"{query} --taken-after", f"{address} year"}
    assert lacking <= lines
    lines -= lacking
    assert {f"{query} FILTERS but --taken-after", f"{address} FILTERS but year"} <= folded(lines)
    assert expanded(folded(lines)) == lines
    assert SURFACE.read_text().splitlines() == sorted(folded(stored_lines()))


def test_the_files_to_read_first_are_read_in_an_hour():
    page = (DOCS / "explanation/read-these-files.md").read_text()
    files = re.findall(r"^\| .*\]\(\.\./\.\./(.+?)\)", page, re.MULTILINE)
    lines = sum(len((DOCS.parent / file).read_text().splitlines()) for file in files)
    assert len(files) == 8
    assert lines < 2500
