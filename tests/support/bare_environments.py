"""Python environments with the packages that this one has, except those of extras.

Their packages are links to those of this environment, so that none is downloaded.
"""

import os
import subprocess
import sys
from collections.abc import Collection, Iterable
from importlib.metadata import distribution
from pathlib import Path
from sysconfig import get_path

from packaging.requirements import Requirement
from support.command_line import run_program

NAME = "landmark-tagger"
ROOT = Path(__file__).parents[2]
PACKAGES = ("tagger", "trainer", "worker", "migrations")


class BareEnvironment:
    """A virtual environment of the package with some of its extras, by default none."""

    def __init__(self, folder: Path, extras: Collection[str] = ()) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        _link_all(_needed((NAME, extra) for extra in ("", *extras)) - {NAME}, site)
        for package in PACKAGES:
            (site / package).symlink_to(ROOT / package)
        (metadata,) = Path(get_path("purelib")).glob("landmark_tagger-*.dist-info")
        (site / metadata.name).symlink_to(metadata)
        self.python = folder / "bin" / "python"

    def run(
        self, program: str, *arguments: str | Path, environment: dict[str, str], cwd: Path
    ) -> subprocess.CompletedProcess[str]:
        start = f"from {program}.cli.main import main; import sys; sys.argv[0] = {program!r}; main()"
        return run_program(self.python, "-c", start, *arguments, code=None, env=environment, cwd=cwd)


def run_with_packages(folder: Path, names: Collection[str], code: str) -> str:
    """Run Python code in `folder` with these packages, what they need, and nothing else."""
    site = folder / "packages"
    site.mkdir()
    _link_all(_needed((name, "") for name in names), site)
    start = f"import sys; sys.path.append({str(site)!r})\n{code}"
    return run_program(sys.executable, "-I", "-S", "-c", start, cwd=folder, timeout=300).stdout


def _needed(roots: Iterable[tuple[str, str]]) -> set[str]:
    """The names of these distributions, each with an extra or "", and of what they need."""
    found: set[tuple[str, str]] = set()
    remaining = [*roots]
    while remaining:
        name, extra = remaining.pop()
        if (name, extra) not in found:
            found.add((name, extra))
            for text in distribution(name).requires or ():
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    remaining += [(needed.name.lower(), each) for each in ("", *needed.extras)]
    return {name for name, _ in found}


def _link_all(names: Collection[str], site: Path) -> None:
    """Link the top-level packages, modules and metadata of distributions."""
    for package in map(distribution, sorted(names)):
        tops = {file.parts[0] for file in package.files or () if file.parts[0] not in {"..", "__pycache__"}}
        for top in tops:
            target = Path(os.fspath(package.locate_file(top)))
            if not (site / top).exists():
                (site / top).symlink_to(target)
