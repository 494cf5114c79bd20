"""A room of the program can be carried out, and installed packages add to it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.servers import RedisServer
from support.commands import Terminal, draw

import tagger
from tagger.composition import extensions

REPOSITORY = Path(tagger.__file__).parents[1]
GUIDE = REPOSITORY / "docs" / "how-to" / "extend.md"
ROOM = re.compile(r'    Room\(\n        "webhooks",\n.*?\n    \),\n', re.DOTALL)

PROGRAM = """
import sys
from contextlib import closing
from tagger.cli.main import main
assert {folder!r} in sys.modules["tagger"].__file__

def run(*words):
    sys.argv = ["tagger", *words]
    try: main()
    except SystemExit as end: assert not end.code, (words, end.code)

run("tag", "photos")
run("db", "export", "out.jsonl")
run("status")
run("status", "--json")
run("--help")

from tagger.database.connection import open_configured
from tagger.settings import load_settings
from worker.broker import Broker, RedisMonitor
from worker.producer import make_app
from worker.redis_keys import RedisKeys
from worker.sweeper import Sweeper

settings = load_settings()
with closing(open_configured(settings)) as database:
    keys = RedisKeys(database.ledger_id)
    app, monitor = make_app({redis!r}, keys), RedisMonitor(Broker({redis!r}, keys, embedded=False))
    Sweeper(app, monitor, database, settings, "w", "cpu").sweep()
    app.close()

from tagger.cli.commands.doctor import run_checks
print([finding for finding in run_checks() if finding.found.startswith("the check failed")])
"""


def test_without_webhooks_the_rest_still_tags_sweeps_checks_and_exports(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "terminal")
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    for package in ("tagger", "worker", "migrations"):
        # With compiled modules, but without those that another process is writing.
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.rmtree(tmp_path / "tagger" / "webhooks")
    composition = tmp_path / "tagger" / "composition.py"
    text, removed = ROOM.subn("", composition.read_text())
    assert removed == 1
    composition.write_text(text)
    with RedisServer() as redis_server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(folder=str(tmp_path), redis=redis_server.url)],
            cwd=terminal.folder,
            env=os.environ | terminal.environment | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "tower.jpg: Eiffel Tower" in done.stdout
    assert '"webhooks": null' in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def install_example(site: Path) -> None:
    """Install the package that the guide shows, as an installer would: a module, and its entry points beside it."""
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
