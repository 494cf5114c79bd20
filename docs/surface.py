"""What releases promise to other programs, a line each: commands, settings, columns, JSON keys, Python.

docs/reference/surface.txt has the names of the last release and what came since. `make reference` adds new
ones and never removes one: what a release has stays until the next major version. To remove one that was
never released, delete it there.

The file says the filters of photos once, as `filter NAME`. `command tagger query FILTERS` stands for an
option of each, `FILTERS but --model` for all others, and `api GET /api/photos FILTERS` for its parameters.
`json Job LIKE JobProgress` stands for all fields of JobProgress.
"""

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

import tagger
from docs.generate_reference import BOOKKEEPING
from tagger.cli.program import app as tagger_app
from tagger.database.tables import metadata, views
from tagger.errors import FailureKind
from tagger.model.artifact import Manifest
from tagger.query.options import options_used_by
from tagger.settings import Settings
from tagger.web import api
from trainer.cli.program import app as trainer_app

SURFACE = Path(__file__).parent / "reference" / "surface.txt"


FILTERS = "FILTERS"
BUT = "but"
LIKE = "LIKE"
# Documents with fewer fields are said whole.
LEAST_FIELDS = 10


def stored_lines() -> set[str]:
    """The lines of the file, with a line for each filter of each command and address."""
    return expanded(SURFACE.read_text().splitlines()) if SURFACE.exists() else set()


def store_lines(lines: Iterable[str]) -> None:
    """Write the lines to the file."""
    SURFACE.write_text("".join(f"{line}\n" for line in sorted(folded(lines))))


def folded(lines: Iterable[str]) -> set[str]:
    """The lines with one, in place of all filters, for each command and address that has most of them."""
    rest = _folded_documents(set(lines))
    names = _filters(rest)
    filters_of: defaultdict[str, set[str]] = defaultdict(set)
    for line in rest:
        owner, _, last = line.rpartition(" ")
        filters_of[owner].update(name for name in names if last == _filter(owner, name))
    for owner, present in filters_of.items():
        if 2 * len(present) <= len(names):
            continue
        rest -= {f"{owner} {_filter(owner, name)}" for name in present}
        missing = [_filter(owner, name) for name in sorted(names - present)]
        rest.add(" ".join([owner, FILTERS, *([BUT, *missing] if missing else [])]))
    return rest


def expanded(lines: Iterable[str]) -> set[str]:
    """The lines that `folded` made these of."""
    lines = set(lines)
    names = _filters(lines)
    fields = _fields_of_documents(lines)
    result = set()
    for line in lines:
        document, is_like, other = line.partition(f" {LIKE} ")
        if is_like:
            result.update(f"{document}.{field}" for field in fields[f"json {other}"])
            continue
        owner, is_folded, missing = line.partition(f" {FILTERS}")
        if not is_folded:
            result.add(line)
            continue
        without = missing.removeprefix(f" {BUT}").split()
        filters = {_filter(owner, name) for name in names}.difference(without)
        result.update(f"{owner} {each}" for each in filters)
    return result


def _folded_documents(lines: set[str]) -> set[str]:
    """The lines with one in place of all fields that a document shares with a smaller one."""
    fields = _fields_of_documents(lines)
    in_order = sorted(fields, key=lambda document: (len(fields[document]), document))
    rest = set(lines)
    for position, document in enumerate(in_order):
        shared = [
            each for each in in_order[:position] if fields[each] <= fields[document]
        ]
        if shared and len(fields[shared[-1]]) >= LEAST_FIELDS:
            rest -= {f"{document}.{field}" for field in fields[shared[-1]]}
            rest.add(f"{document} {LIKE} {shared[-1].removeprefix('json ')}")
    return rest


def _fields_of_documents(lines: Iterable[str]) -> dict[str, set[str]]:
    fields: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines:
        document, has_field, field = line.partition(".")
        if has_field and document.startswith("json "):
            fields[document].add(field)
    return fields


def _filters(lines: Iterable[str]) -> set[str]:
    return {
        line.removeprefix("filter ") for line in lines if line.startswith("filter ")
    }


def _filter(owner: str, name: str) -> str:
    """What a filter is called there: `--taken-after` by a command, `taken_after` in an address."""
    match owner.partition(" ")[0]:
        case "command":
            return "--" + name.replace("_", "-")
        case "api":
            return name
        case _:  # other kinds of lines have no filters
            return ""


def current_lines() -> set[str]:
    """The lines of the code as it is."""
    lines = {
        *(f"filter {name}" for name in options_used_by("all")),
        *(f"setting TAGGER_{name.upper()}" for name in Settings.model_fields),
        *(f"failure {kind.value}" for kind in FailureKind),
        *_fields("model file", Manifest.model_json_schema()),
        *(
            f"{kind} {table.name}.{column.name}"
            for kind, tables in (("table", metadata.tables), ("view", views.tables))
            for table in tables.values()
            if table.name not in BOOKKEEPING
            for column in table.columns
        ),
        *_json_api(),
        *_python(),
    }
    for name, program in (("tagger", tagger_app), ("trainer", trainer_app)):
        lines.update(_commands(name, typer.main.get_command(program)))
    return lines


def _commands(path: str, command: Any) -> Iterator[str]:
    if command.hidden:
        return
    for name, each in getattr(command, "commands", {}).items():
        yield from _commands(f"{path} {name}", each)
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        for name in parameter.opts if is_option else [parameter.name.upper()]:
            yield f"command {path} {name}"


def _json_api() -> Iterator[str]:
    routes = [
        route
        for router in api.ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
    ]
    document = get_openapi(title="", version="", routes=routes)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"api {method.upper()} {path}"
            for parameter in operation.get("parameters", ()):
                yield f"api {method.upper()} {path} {parameter['name']}"
    yield from _fields("json", {"$defs": document["components"]["schemas"]})


def _fields(kind: str, schema: dict[str, Any]) -> Iterator[str]:
    """The keys of a JSON schema and of the objects in it."""
    for name in schema.get("properties", ()):
        yield f"{kind} {name}"
    for definition, each in schema.get("$defs", {}).items():
        for name in each.get("properties", ()):
            yield f"{kind} {definition}.{name}"


def _python() -> Iterator[str]:
    for name in tagger.__all__:
        value = getattr(tagger, name)
        members = vars(value).items() if inspect.isclass(value) else [("", value)]
        for member, each in members:
            if member.startswith("_"):
                continue
            path = f"python {name}.{member}".rstrip(".")
            yield path
            if inspect.isfunction(each):
                parameters = list(inspect.signature(each).parameters)
                yield from (
                    f"{path} {parameter}"
                    for parameter in parameters
                    if parameter != "self"
                )
        fields = getattr(value, "__dataclass_fields__", ())
        yield from (
            f"python {name}.{field}" for field in fields if not field.startswith("_")
        )
