"""What can be added to the program: extras, and extensions, which add commands, receivers and backends."""

from __future__ import annotations

import json
import logging
import re
import shlex
import sys
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from tagger.errors import ExtraMissing

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

# The name of this package where packages are installed.
NAME = "landmark-tagger"


# Entry points that are called with the settings, and return an `EventReceiver`.
EVENT_RECEIVERS = "tagger.event_receivers"
# Entry points that are functions for Typer, or a Typer of several.
COMMANDS = "tagger.commands"
# Entry points that are called with module, device, size and number of passes, and return a
# `Backend`.
BACKENDS = "tagger.backends"


def load(place: str) -> Any:
    """Import what is at `module:attribute`."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


@cache
def is_installed(module: str) -> bool:
    """Whether the package of an extra is installed, by its top-level module, which is not imported."""
    return find_spec(module) is not None


def extra_missing(feature: str, extra: str) -> ExtraMissing:
    return ExtraMissing(feature=feature, extra=extra, command=install_command(extra))


# Extras that take gigabytes, however they are installed.
_WITH_TORCH = ("torch", "train", "timm")


@cache
def install_command(extra: str) -> str:
    """The command that adds an extra as this package was installed: by make, uv, pipx or pip."""
    source, prefix = _source(), Path(sys.prefix)
    if prefix.resolve() == Path(source, ".venv").resolve():
        return (
            "make setup"
            if extra in _WITH_TORCH
            else f".venv/bin/uv pip install --editable '.[{extra}]'"
        )
    program, extras = _tool(prefix) or ("pip install", set())
    package = f"{source}[{','.join(sorted({*extras, extra}))}]"
    return f"{program} {shlex.quote(package)}"


def _source() -> str:
    # The folder, file or address that this package was installed from; its name if that is not known.
    from importlib.metadata import distribution

    record = distribution(NAME).read_text("direct_url.json")
    url = urlsplit(json.loads(record)["url"] if record else NAME)
    return unquote(url.path) if url.scheme in ("", "file") else url.geturl()


def _tool(environment: Path) -> tuple[str, set[str]] | None:
    # The command that installed an environment for this package alone, and the extras that it installed.
    receipt, metadata = (
        environment / "uv-receipt.toml",
        environment / "pipx_metadata.json",
    )
    if receipt.is_file():
        requirements = tomllib.loads(receipt.read_text())["tool"]["requirements"]
        return "uv tool install", {
            extra
            for requirement in requirements
            for extra in requirement.get("extras", ())
        }
    if metadata.is_file():
        named = json.loads(metadata.read_text())["main_package"]["package_or_url"]
        return "pipx install --force", set(
            re.findall(r"[\w-]+", named.partition("[")[2])
        )
    return None


def extension_names(group: str) -> set[str]:
    """The names of what installed packages add to this group, which may not load."""
    from importlib.metadata import entry_points  # takes longer than most commands

    return entry_points(group=group).names


@cache
def extensions(group: str) -> Mapping[str, Any]:
    """What installed packages add as entry points of this group, by name, in order of names.

    One that cannot be loaded is left out with a warning.
    """
    from importlib.metadata import entry_points

    loaded = {}
    for entry in sorted(entry_points(group=group)):
        try:
            loaded[entry.name] = entry.load()
        except Exception as error:  # noqa: BLE001 - whatever fails in another package, the program runs without it
            package = entry.dist.name if entry.dist else "a package"
            log.warning(
                "the extension %s of %s does not load, and is left out: %s: %s",
                f"{group}:{entry.name}",
                package,
                type(error).__name__,
                error,
            )
    return loaded


class Event(StrEnum):
    JOB_FINISHED = "job.finished"
    LANDMARK_FOUND = "landmark.found"


class EventReceiver(Protocol):
    """Receives events of one process. Threads share it.

    The facts of an event name jobs, photos and landmarks by number and name, never by path.
    """

    def wants(self, event: Event) -> bool:
        """Whether it does anything about this event."""

    def record(
        self,
        connection: Connection,
        event: Event,
        subject: object,
        data: Mapping[str, Any],
    ) -> None:
        """Receive an event, maybe again, in its transaction, which rolls back if this raises.

        `subject`: what the event is about, the number of a job or the slug of a landmark.
        """
