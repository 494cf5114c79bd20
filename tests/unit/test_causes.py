"""Only `tagger.tags.causes` writes what decides about images, so nobody forgets to settle them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagger.database.tables import metadata

ROOT = Path(__file__).parents[2]
WRITERS = {"tagger/tags/causes.py", "tagger/tags/settlement.py"}
OF_ANY_TABLE = {
    "tagger/database/statements.py",  # the functions that others call with a table
    "tagger/transfer/copying.py",  # copies what was decided, too
    "tagger/database/recorded_changes.py",
    "tagger/trips/visits.py",
    "tagger/query/kept_counts.py",
    "tagger/query/trip_summaries.py",
}
"""Modules that write tables that they do not name."""
GUARDED = {
    "classifications",
    "dismissals",
    "effective_tags",
    "image_things",
    "tags",
    "taught_tags",
    "thing_verdicts",
    "verdicts",
}
OWN_METHODS = {"insert", "update", "delete"}
CHANGES = OWN_METHODS | {"upsert", "insert_page", "insert_missing"}
SQL = re.compile(rf"\b(?:INTO|UPDATE|DELETE FROM|UPDATE OR \w+)\s+\W?({'|'.join(GUARDED)}|contents)\b")


def written(source: str, *, of_any_table: bool = False) -> Iterator[str]:
    """What a module writes although only causes may, or under a name that is no table."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(str(text)):
                yield from SQL.findall(text)
            case ast.Call(ast.Name(change), arguments) if change in CHANGES:
                name = ast.unparse(arguments[change not in OWN_METHODS])
                if (
                    name in GUARDED
                    or (change == "update" and name == "contents")
                    or (name not in metadata.tables and not of_any_table)
                ):
                    yield name
            case ast.Call(ast.Attribute(ast.Name(name), change), []) if change in OWN_METHODS:
                yield from {name} & GUARDED


def test_what_decides_is_written_by_one_module() -> None:
    files = [path for package in ("tagger", "worker", "trainer") for path in (ROOT / package).rglob("*.py")]
    names = {path.relative_to(ROOT).as_posix(): path for path in files}
    assert names.keys() >= WRITERS | OF_ANY_TABLE
    found = {
        name: [*written(path.read_text(), of_any_table=name in OF_ANY_TABLE)]
        for name, path in names.items()
        if name not in WRITERS
    }
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("delete(verdicts).where(is_old)", "verdicts"),
        ("insert_page(connection, tags, names, rows)", "tags"),
        ("upsert(connection, dismissals)", "dismissals"),
        ("update(contents).values(damaged=True)", "contents"),
        ("for table in (tags, photos): delete(table)", "table"),
        ("connection.execute(tags.insert(), rows)", "tags"),
        ("text('DELETE FROM taught_tags')", "taught_tags"),
        ("text('INSERT OR IGNORE INTO \"tags\" VALUES (1)')", "tags"),
    ],
)
def test_each_kind_of_change_is_found(statement: str, name: str) -> None:
    assert [*written(statement)] == [name]
