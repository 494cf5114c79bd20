"""The documentation as a site; `make docs` builds it. On GitHub, README.md lists the same pages by itself."""

from typing import Any

project = "Landmark tagger"
html_title = project
extensions = ["myst_parser"]
root_doc = "README"
exclude_patterns = ["pictures"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.xref_missing"
]  # links to files of the repository, such as CHANGELOG.md
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
smartquotes = False  # they would change --options
SECTIONS = {
    "Tutorials": "tutorial",
    "How-to": "how-to",
    "Reference": "reference",
    "Explanation": "explanation",
}


def setup(app: Any) -> None:
    """Add the contents of the side bar to the first page."""
    app.connect("source-read", _add_contents)


def _add_contents(_app: Any, page: str, source: list[str]) -> None:
    if page == root_doc:
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{folder}/*\n```\n"
            for caption, folder in SECTIONS.items()
        )
