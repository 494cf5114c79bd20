"""Prints how large the code and its documentation are, and fails if modules import each other in a circle.

python -m bench.code_metrics [FOLDER]
"""

import argparse
import re
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

PRODUCT = ("tagger", "trainer", "worker", "migrations")
LONG_MODULE = 500
IMPORT = re.compile(r"^ *from ([\w.]+) import (\([^)]*\)|.*)", re.MULTILINE)
TYPE_CHECKING = re.compile(r"^if TYPE_CHECKING:\n(?: +.*\n|\n)+", re.MULTILINE)


def main() -> None:
    """Print the size of the code and its documentation."""
    parser = argparse.ArgumentParser(prog="python -m bench.code_metrics", description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="[the current folder]")
    folder = parser.parse_args().folder
    lines = {  # of each Python file
        root: {path: len(path.read_bytes().splitlines()) for path in sorted((folder / root).rglob("*.py"))}
        for root in (*PRODUCT, "bench", "tests")
    }
    tagger = [*lines["tagger"].values()]
    top = [path for path in (folder / "tagger").iterdir() if path.name != "__init__.py"]
    rows = {f"lines of {root}": sum(lines[root].values()) for root in (*PRODUCT, "bench")}
    rows["lines of all these"] = sum(rows.values())
    rows |= {
        "lines of tests": sum(lines["tests"].values()),
        "modules of tagger": len(tagger),
        "their lines, median": int(median(tagger)),
        f"of them over {LONG_MODULE} lines": sum(count > LONG_MODULE for count in tagger),
        "packages directly in tagger": sum((path / "__init__.py").exists() for path in top),
        "modules directly in tagger": sum(path.suffix == ".py" for path in top),
        "migrations": sum(1 for _ in (folder / "migrations" / "versions").glob("*.py")),
        "words of README and docs": sum(
            map(_words, [folder / "README.md", *(folder / "docs").rglob("*.md")])
        ),
        "words of the changelog": _words(folder / "CHANGELOG.md"),
    }
    for name, number in rows.items():
        print(f"{name:30} {number:8,}")
    _check_cycles(folder, [path for root in PRODUCT for path in lines[root]])


def _words(document: Path) -> int:
    return len(document.read_bytes().split())


def _check_cycles(folder: Path, paths: list[Path]) -> None:
    """Raises:
    SystemExit: modules import each other in a circle, also by imports inside functions.
    """
    names = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in paths}
    modules = {name.removesuffix(".__init__"): path.read_text() for name, path in names.items()}
    graph = {name: set(_imports(text, modules.keys())) - {name} for name, text in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise SystemExit(f"import cycle: {' <- '.join(error.args[1])}") from None


def _imports(text: str, modules: Collection[str]) -> Iterator[str]:
    """Yield the modules that a module imports. Regular expressions take a tenth of the time of a parser."""
    for module, names in IMPORT.findall(TYPE_CHECKING.sub("", text)):
        for name in re.findall(r"\w+", names):
            full = f"{module}.{name}"
            if full in modules or module in modules:
                yield full if full in modules else module


if __name__ == "__main__":
    main()
