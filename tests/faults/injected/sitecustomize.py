"""Breaks the `tagger` process it is loaded into, at a chosen moment; the product itself has no hooks for tests.

Python imports a module of this name at its start if it lies on PYTHONPATH; `Terminal.inject` (tests/commands.py) puts
it there for the workers it starts. The environment says what is to break:

    INJECT_KILL_ON_OPEN=WORD      SIGKILL when a file with WORD in its name is opened
    INJECT_HANG_ON_OPEN=WORD      that thread sleeps for an hour instead
    INJECT_KILL_AT=MOMENT         SIGKILL at a moment (see MOMENTS), once:
    INJECT_ONCE=FILE              … its making is the first kill's; while it is there, nobody is killed
    INJECT_SLOW_PASS_S=SECONDS    each forward pass takes so much longer, so that a worker is met at work
    INJECT_FULL_WHILE=FILE        SQLite databases grow no more while the file is there, as on a full disk
    INJECT_VALUES=MODULE.NAME=N…  numbers of the product, such as how long a lease lasts, for this process
"""

import importlib
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

AN_HOUR_S = 3600.0
MOST_PAGES = 2**32 - 2

MOMENTS = {
    "before the forward pass": ("tagger.model", "Model", "scores", "before"),
    "after the forward pass": ("tagger.model", "Model", "scores", "after"),
    "before the acknowledgement": ("worker.engine", "Engine", "tag", "after"),
}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_open(word: str, act: Callable[[], None]) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and word in _name(arguments[0]):
            act()

    sys.addaudithook(hook)


def _name(path: object) -> str:
    if isinstance(path, str | bytes | os.PathLike):
        return os.path.basename(os.fsdecode(path))  # noqa: PTH119 - every open comes by here: no Path is made
    return ""  # opened by its descriptor


def kill_at(moment: str, once: Path) -> None:
    module, owner, name, when = MOMENTS[moment]
    act = partial(kill_once, once)
    around(module, owner, name, **{when: act})


def around(
    module: str,
    owner: str,
    name: str,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Act before or after each call of a method, but for the runs over blank images that warm a model up."""
    place = getattr(importlib.import_module(module), owner)
    plain = getattr(place, name)

    @wraps(plain)
    def wrapped(self: Any, given: Any) -> Any:
        if isinstance(given, list) and not any(image.any() for image in given):
            return plain(self, given)
        before()
        result = plain(self, given)
        after()
        return result

    setattr(place, name, wrapped)


def kill_once(once: Path) -> None:
    try:
        once.touch(exist_ok=False)
    except FileExistsError:
        return
    kill()


def full_while(flag: Path) -> None:
    opened: list[sqlite3.Connection] = []
    plain = sqlite3.dbapi2.connect

    def connect(*given: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = plain(*given, **named)
        if flag.exists():
            connection.execute("PRAGMA max_page_count = 1").close()  # SQLite makes it the pages there are
            opened.append(connection)
        return connection

    def make_room() -> None:
        while flag.exists():
            time.sleep(0.1)
        for connection in opened:
            connection.execute(f"PRAGMA max_page_count = {MOST_PAGES}").close()

    sqlite3.dbapi2.connect = connect
    threading.Thread(target=make_room, daemon=True).start()


def set_values(words: list[str]) -> None:
    """In the order given: a module that copies a name from another has to be imported after that was set."""
    for word in words:
        place, _, value = word.partition("=")
        module, _, name = place.rpartition(".")
        imported = importlib.import_module(module)
        getattr(imported, name)  # a name that is gone must not pass for set
        setattr(imported, name, float(value))


def main() -> None:
    asked = {
        name.removeprefix("INJECT_"): value
        for name, value in os.environ.items()
        if name.startswith("INJECT_")
    }
    if "VALUES" in asked:
        set_values(asked["VALUES"].split())
    if "KILL_ON_OPEN" in asked:
        on_open(asked["KILL_ON_OPEN"], kill)
    if "HANG_ON_OPEN" in asked:
        on_open(asked["HANG_ON_OPEN"], lambda: time.sleep(AN_HOUR_S))
    if "SLOW_PASS_S" in asked:
        around("tagger.model", "Model", "scores", before=partial(time.sleep, float(asked["SLOW_PASS_S"])))
    if "KILL_AT" in asked:
        kill_at(asked["KILL_AT"], Path(asked["ONCE"]))
    if "FULL_WHILE" in asked:
        full_while(Path(asked["FULL_WHILE"]))


main()
