"""Prints the size and shape of the code: modules, functions, names, imports.

python -m bench.code_metrics [FOLDER]
"""

import argparse
import ast
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

PRODUCT = ("tagger", "trainer", "worker", "migrations")
PARTICIPLE = re.compile(r"(?<![a-z])(?!string|thing)[a-z]{2,}(?:ing|ed)$")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def modules_of(folder: Path, *roots: str) -> dict[str, Path]:
    """Return the modules below the roots by their dotted names."""
    modules = {}
    for root in roots:
        for path in sorted((folder / root).rglob("*.py")):
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = path
    return modules


def line_count(paths: list[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """Return the project's modules that a module imports, including imports inside functions."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                imported.add(full if full in modules else node.module)
    return {other for other in imported if other in modules and other != name}


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component: list[str] = []
            while not component or component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                components.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return components


def names_in(name: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield kind and name of the module, its classes, parameters and variables."""
    yield "modules", name.rsplit(".", 1)[-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield "classes", re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower()
        elif isinstance(node, ast.arg):
            yield "variables", node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield "variables", node.id


def main() -> None:
    """Print the size and shape of the code."""
    parser = argparse.ArgumentParser(prog="python -m bench.code_metrics", description=main.__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(), help="a checkout [the current folder]"
    )
    folder = parser.parse_args().folder
    sys.setrecursionlimit(10_000)
    modules = modules_of(folder, *PRODUCT)
    trees = {name: ast.parse(path.read_text()) for name, path in modules.items()}
    packages = {name for name, path in modules.items() if path.name == "__init__.py"}
    lengths = {
        name: len(path.read_text().splitlines()) for name, path in modules.items() if name not in packages
    }
    functions = [
        node.end_lineno - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and node.end_lineno
    ]
    participles: dict[str, int] = {"modules": 0, "classes": 0, "variables": 0}
    for name, tree in trees.items():
        for kind, text in names_in(name, tree):
            participles[kind] += bool(PARTICIPLE.search(text))
    graph = {name: imports_of(name, path, modules) for name, path in modules.items()}
    longest = max(lengths, key=lambda name: lengths[name])
    top_level = [
        name
        for name in modules
        if name.count(".") == 1 and name not in packages and name.startswith("tagger.")
    ]
    print(f"top-level modules of tagger   {len(top_level)}")
    print(f"modules / packages            {len(lengths)} / {len(packages)}")
    print(f"  of trainer                  {sum(name.startswith('trainer') for name in lengths)}")
    print(
        f"lines of a module, median     {statistics.median(lengths.values()):.0f}, longest {lengths[longest]} ({longest})"
    )
    deciles = statistics.quantiles(functions, n=10)
    print(
        f"lines of a function, median   {statistics.median(functions):.0f}, 90th percentile {deciles[8]:.0f}"
    )
    print(f"product / test / bench lines  {line_count([*modules.values()])} / ", end="")
    print(" / ".join(str(line_count([*modules_of(folder, root).values()])) for root in ("tests", "bench")))
    print(
        "names in -ing or -ed          " + ", ".join(f"{count} {kind}" for kind, count in participles.items())
    )
    print(f"import cycles                 {len(cycles(graph))} {cycles(graph) or ''}")


if __name__ == "__main__":
    main()
