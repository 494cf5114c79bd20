"""The generated pages of the reference are current, and nothing that a release promises is gone."""

from docs.generate_reference import pages
from docs.surface import current_lines, stored_lines


def test_reference_pages_match_the_code() -> None:
    outdated = [path.name for path, text in pages().items() if path.read_text() != text]
    assert outdated == [], "run: make reference"


def test_what_a_release_promises_stays() -> None:
    stored, current = set(stored_lines()), set(current_lines())
    assert stored - current == set(), "others may depend on these: see docs/how-to/release.md"
    assert current - stored == set(), "run: make reference"
