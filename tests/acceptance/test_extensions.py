"""Installed packages add to the program."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Terminal, draw

import tagger
from tagger.extensions import extensions

REPOSITORY = Path(tagger.__file__).parents[1]
GUIDE = REPOSITORY / "docs" / "how-to" / "extend.md"


def install_example(site: Path) -> None:
    """Install the package that the guide shows, as an installer would: a module with its entry points."""
    text = GUIDE.read_text()
    blocks = dict(re.findall(r"```(toml|python)\n(.*?)```", text, re.DOTALL))
    project = tomllib.loads(blocks["toml"])["project"]
    site.mkdir()
    (site / "tagger_diary.py").write_text(blocks["python"])
    info = site / f"tagger_diary-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal whose Python, this one, has the package of the guide."""
    install_example(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    terminal = Terminal(tmp_path / "terminal")
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    extensions.cache_clear()
    yield terminal
    extensions.cache_clear()
    sys.modules.pop("tagger_diary", None)


def test_the_package_of_the_guide_adds_a_command_and_receives_events(extended: Terminal) -> None:
    extended.run("tag", "photos")
    assert extended.run("diary").stdout == "Eiffel Tower, in job 1\n"


def test_an_extension_that_does_not_load_is_a_warning(extended: Terminal, tmp_path: Path) -> None:
    (tmp_path / "site" / "tagger_diary.py").write_text("import nothing_like_it")
    done = extended.run("tag", "photos")
    assert "tower.jpg: Eiffel Tower" in done.stdout
    (warning,) = [line for line in done.stderr.splitlines() if "diary" in line]
    assert "tagger.event_receivers:diary of tagger-diary does not load" in warning
    assert "No module named 'nothing_like_it'" in warning
    assert "No such command 'diary'" in extended.run("diary", code=2).stderr
