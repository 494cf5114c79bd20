"""The heading and the Markdown tables of a report."""

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from tagger.model.devices import core_count, engine_version, processor_name

PACKAGES = ("landmark-tagger", "torch", "torchvision", "pillow", "sqlalchemy", "celery", "redis")


def print_heading(title: str) -> None:
    """Print the heading of a report."""
    print(heading(title), flush=True)


def heading(title: str) -> str:
    """Return the title, the command, and when and where it ran, in Markdown."""
    versions = ", ".join(f"{package} {engine_version(package)}" for package in PACKAGES)
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = (
        f"## {title}\n",
        f"- {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, load averages at the start: {load}",
        f"- {processor_name()}, {core_count()} cores, {memory_gib:.0f} GiB; {platform.platform(terse=True)}",
        f"- Python {platform.python_version()}, {versions}",
        f"- `python -m {_program()}` with {_arguments()}\n",
    )
    return "\n".join(lines)


def print_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    print(table(names, rows), flush=True)


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table and an empty line; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" + "--:|" * (len(names) - 1)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def note(text: str) -> None:
    """Print a message about the progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def value_range(values: Sequence[float]) -> str:
    """Return minimum and maximum, which show how reliable a median of few rounds is."""
    return f"{_cell(min(values))} to {_cell(max(values))}"


def _program() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem


def _arguments() -> str:
    """Return the arguments with folders shortened to their names: private paths stay out of reports."""
    words = [Path(word).name if os.sep in word and "://" not in word else word for word in sys.argv[1:]]
    return f"`{' '.join(words)}`" if words else "no arguments"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return str(value)
