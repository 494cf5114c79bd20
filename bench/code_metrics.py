"""Prints how large the code and its documentation are, and fails if modules import each other in a circle.

python -m bench.code_metrics [FOLDER]
"""

import argparse
import ast
import re
from collections.abc import Collection, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PRODUCT = ("tagger", "trainer", "worker", "migrations")
IMPORT = re.compile(r"^ *from ([\w.]+) import (\([^)]*\)|.*)", re.MULTILINE)
TYPE_CHECKING = re.compile(r"^if TYPE_CHECKING:\n(?: +.*\n|\n)+", re.MULTILINE)


def main() -> None:
    """Print the size of the code and its documentation."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.code_metrics", description=main.__doc__
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(), help="[the current folder]"
    )
    folder = parser.parse_args().folder
    sizes = {
        root: _size(sorted((folder / root).rglob("*.py")))
        for root in (*PRODUCT, "bench", "tests")
    }
    parts = [sizes[root] for root in (*PRODUCT, "bench")]
    nodes = sum(part.nodes for part in parts)
    rows: dict[str, float] = {
        f"statements of {root}": sizes[root].statements for root in (*PRODUCT, "bench")
    }
    rows |= {
        "statements of all these": sum(part.statements for part in parts),
        "nodes of their syntax": nodes,
        "nodes a line that is not blank": nodes / sum(part.lines for part in parts),
        "statements of tests": sizes["tests"].statements,
        "modules of tagger": sizes["tagger"].modules,
        "migrations": sum(1 for _ in (folder / "migrations" / "versions").glob("*.py")),
        "words of README and docs": sum(
            map(_words, [folder / "README.md", *(folder / "docs").rglob("*.md")])
        ),
        "words of the changelog": _words(folder / "CHANGELOG.md"),
    }
    for name, number in rows.items():
        print(
            f"{name:32} {number:12,.2f}"
            if isinstance(number, float)
            else f"{name:32} {number:9,}"
        )
    paths = [path for root in PRODUCT for path in (folder / root).rglob("*.py")]
    names = {
        ".".join(path.relative_to(folder).with_suffix("").parts): path for path in paths
    }
    modules = {
        name.removesuffix(".__init__"): path.read_text() for name, path in names.items()
    }
    graph = {
        name: set(_imports(text, modules.keys())) - {name}
        for name, text in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise SystemExit(f"import cycle: {' <- '.join(error.args[1])}") from None


class Size(NamedTuple):
    """The size of modules. Lines are those that are neither blank nor comments."""

    modules: int
    statements: int
    nodes: int
    lines: int


def _size(paths: Sequence[Path]) -> Size:
    statements = nodes = lines = 0
    for path in paths:
        text = path.read_text()
        tree = list(ast.walk(ast.parse(text)))
        statements += sum(isinstance(node, ast.stmt) for node in tree)
        nodes += len(tree)
        lines += sum(
            1
            for line in text.splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        )
    return Size(len(paths), statements, nodes, lines)


def _words(document: Path) -> int:
    return len(document.read_bytes().split())


def _imports(text: str, modules: Collection[str]) -> Iterator[str]:
    # Yield the modules that a module imports. Regular expressions take a tenth of the time of a parser.
    for module, names in IMPORT.findall(TYPE_CHECKING.sub("", text)):
        for name in re.findall(r"\w+", names):
            full = f"{module}.{name}"
            if full in modules or module in modules:
                yield full if full in modules else module


if __name__ == "__main__":
    main()
