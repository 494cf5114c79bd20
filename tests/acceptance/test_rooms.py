"""A room of the program can be carried out."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rig.servers import RedisServer
from support.commands import Terminal, draw

import tagger

REPOSITORY = Path(tagger.__file__).parents[1]
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
run("export", "out.jsonl")
run("status")
run("status", "--json")
run("--help")

from tagger.database.connection import open_configured
from tagger.settings import load_settings
from worker.broker import Broker, RedisMonitor
from worker.producer import make_app
from worker.sweeper import Sweeper, WorkerIdentity
from worker.throttle import Throttle

settings = load_settings()
with closing(open_configured(settings)) as database, closing(make_app({redis!r})) as app:
    monitor = RedisMonitor(Broker({redis!r}, embedded=False))
    Sweeper(app, monitor, database, settings, WorkerIdentity("w", "cpu"), Throttle((), lambda: None)).sweep()

from tagger.cli.commands.doctor import run_checks
print([finding for finding in run_checks() if finding.found.startswith("the check failed")])
"""


def test_without_webhooks_the_rest_still_tags_sweeps_checks_and_exports(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "terminal")
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    for package in ("tagger", "worker", "migrations"):
        shutil.copytree(
            REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
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
    assert '"webhooks"' not in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
