"""Checks of the environment: settings, variables, data folder, disk space and permissions."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from tagger.cli.doctor import note, ok, wrong
from tagger.database.engine import sqlite_file
from tagger.errors import SettingsInvalid
from tagger.extensions import install_command, is_installed
from tagger.settings import CONFIG_NAME, Settings, config_file, load_settings, unknown_variables
from tagger.system.permissions import permission_problem, readable_by_others
from tagger.system.stall import stalls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tagger.cli.doctor import Finding

FREE_WRONG_BYTES = 200 * 2**20
FREE_NOTE_BYTES = 2 * 2**30


def check_settings() -> tuple[Settings | None, list[Finding]]:
    """Return the settings, None if they are invalid, and the findings."""
    try:
        settings = load_settings()
        file = config_file().absolute()
    except SettingsInvalid as error:
        config = os.environ.get("TAGGER_CONFIG") or CONFIG_NAME
        remedy = f"correct it in the environment or in {config}, then run tagger doctor again: other checks were skipped"
        return None, [wrong("settings", str(error), remedy), *check_environment()]
    source = str(file) if file.is_file() else f"there is no {file}"
    return settings, [ok("settings", f"valid; {source}"), *check_environment()]


def check_environment() -> Iterator[Finding]:
    """Find variables that are not settings."""
    problems = unknown_variables()
    for problem in problems:
        yield wrong("environment", problem, f"unset {problem.partition(' ')[0]}")
    if not problems:
        yield ok("environment", "all variables TAGGER_… are settings")


def check_folders(settings: Settings) -> Iterator[Finding]:
    """Check that the data folder and the folder of the SQLite file are writable and have free space."""
    folders = {settings.data_folder.absolute(): "data folder"}
    if (file := sqlite_file(settings.effective_database_url)) is not None:
        folders.setdefault(file.absolute().parent, "database folder")
    for folder, name in folders.items():
        yield _check_folder(name, folder)
    for folder in {_existing(folder).stat().st_dev: folder for folder in folders}.values():
        yield check_space(folder, shutil.disk_usage(_existing(folder)).free)


def _check_folder(name: str, folder: Path) -> Finding:
    """Check without writing a file, because checks change nothing."""
    existing = _existing(folder)
    remedy = (
        "make it a folder that you can write to, or set another one: TAGGER_DATA_FOLDER, TAGGER_DATABASE_URL"
    )
    if not existing.is_dir():
        return wrong(name, f"{existing} is not a folder", remedy)
    if not os.access(existing, os.W_OK | os.X_OK):
        return wrong(name, f"the current user cannot write to {existing}", remedy)
    return ok(
        name, f"{folder} {'is writable' if existing == folder else 'will be created when it is needed'}"
    )


def check_space(folder: Path, free_bytes: int) -> Finding:
    found, remedy = f"{free_bytes / 2**30:.1f} GB free for {folder}", "delete files on that disk"
    if free_bytes < FREE_WRONG_BYTES:
        return wrong("disk space", f"only {found}; tagger cannot store results on a full disk", remedy)
    if free_bytes < FREE_NOTE_BYTES:
        return note("disk space", f"{found}; a million photos need about 400 MB", remedy)
    return ok("disk space", found)


def check_permissions(settings: Settings) -> Iterator[Finding]:
    """Check that other users cannot change or read the data folder and the SQLite file."""
    folder, file = settings.data_folder.absolute(), sqlite_file(settings.effective_database_url)
    paths, private = [folder], [folder]
    if file is not None:
        paths += [file.absolute().parent, file.absolute()]
        if readable_by_others(file.absolute().parent) is not None:  # its folder does not protect it
            private.append(file.absolute())
    findings = [
        wrong("permissions", f"{path} is not used: {problem[0]}", problem[1])
        for path in dict.fromkeys(paths)
        if (problem := permission_problem(path)) is not None
    ]
    findings += [
        note("permissions", f"every user of this machine can read {path}", remedy)
        for path in private
        if (remedy := readable_by_others(path)) is not None
    ]
    yield from findings or [ok("permissions", "other users can neither read nor change the data")]


def check_extras() -> Iterator[Finding]:
    """Name the extras for photos that are not installed."""
    for extra, module, photos in (
        ("heic", "pillow_heif", "HEIC photos"),
        ("raw", "rawpy", "RAW photos without a preview"),
    ):
        if not is_installed(module):
            found = f"the extra `{extra}` is not installed: {photos} fail as unsupported"
            yield note("extras", found, install_command(extra))


def check_stalls(settings: Settings) -> Iterator[Finding]:
    """Name the reports of processes that made no progress and were ended. No finding without any."""
    for report, text in stalls(settings.data_folder).items():
        yield note("stalls", text, f"report it with this file, then remove it: {report}")


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    # Path.exists raises PermissionError inside a folder that this user may not enter.
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110
