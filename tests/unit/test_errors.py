"""Errors: they reach other processes, and say in plain words what a database or an object store means."""

import ast
import builtins
import inspect
import pickle
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from importlib import import_module
from pathlib import Path
from string import Formatter
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from support.command_words import CLASSES, internal_words

from tagger.database.connection import open_database
from tagger.database.engine import is_transient, outage_text, reason_of, stated_error
from tagger.database.tables import metadata
from tagger.errors import DiskFull, RedisRefused, StatementRefused, TaggerError, Unavailable
from tagger.photos.object_store import error_text, is_worth_repeating
from tagger.web.errors import PAGE_TEXTS, TRANSLATED_TEXTS, page_text

PROJECT = Path(__file__).parents[2]
GenericError = pytest.importorskip("obstore.exceptions").GenericError


@cache
def modules() -> dict[str, ast.Module]:
    return {
        file.relative_to(PROJECT).as_posix(): ast.parse(file.read_text())
        for package in ("tagger", "trainer", "worker")
        for file in sorted((PROJECT / package).rglob("*.py"))
    }


def error_classes() -> Iterator[type[Exception]]:
    """All classes of errors in the packages. Only the modules that define some are imported."""
    known = {
        name
        for name, value in vars(builtins).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    known.add("HTTPException")
    classes = {
        (path.removesuffix(".py").replace("/", "."), node.name): {ast.unparse(base) for base in node.bases}
        for path, module in modules().items()
        for node in module.body
        if isinstance(node, ast.ClassDef)
    }
    while more := {name for (_, name), bases in classes.items() if bases & known} - known:
        known |= more
    for (module, name), bases in classes.items():
        if bases & known:
            yield getattr(import_module(module), name)


def example(kind: type[Exception]) -> Exception:
    """An error of this class, with a text for each value that it takes."""
    if kind.__init__ is TaggerError.__init__:
        fields = Formatter().parse(inspect.cleandoc(kind.__doc__ or ""))
        return kind(**{name: 1 for _text, name, _format, _conversion in fields if name})
    if not inspect.isfunction(kind.__init__):
        return kind("text")
    parameters = inspect.signature(kind).parameters.values()
    return kind(
        *(400 if each.name == "status" else "text" for each in parameters if each.default is each.empty)
    )


def test_every_error_is_the_same_in_another_process():
    kinds = list(error_classes())
    assert sum(issubclass(kind, TaggerError) for kind in kinds) > 80
    for kind in kinds:
        error = example(kind)
        restored = pickle.loads(pickle.dumps(error))
        assert (type(restored), str(restored), vars(restored)) == (kind, str(error), vars(error))


def test_a_listing_that_is_refused_says_why():
    failed = "Error performing list request: Server returned non-2xx status code"
    for status, code, reason in (
        ("404 Not Found", "ContainerNotFound", "there is no such bucket"),
        ("403 Forbidden", "AuthenticationFailed", "the server refuses access (AuthenticationFailed)"),
        ("403 Forbidden", "AuthorizationPermissionMismatch", "the server refuses access"),
    ):
        error = GenericError(f"{failed}: {status}: <Error><Code>{code}</Code></Error>")
        assert error_text(error).startswith(reason)
        assert not is_worth_repeating(error)


FORMATS = "tagger/metadata/formats/"  # The parts of PNG and WebP files are called chunks
LOGGED = {"debug", "info", "warning", "error", "critical", "exception"}
SHOWN = {"fail", "echo", "result", "BadParameter", "PhotoFailed", "ok", "note", "wrong", "write_result"}
# Functions whose arguments are messages, besides the errors of the program.
FUNCTIONS = LOGGED | SHOWN
NO_TEXT = {"extra", "param_hint"}


def message_parts(tree: ast.AST) -> Iterator[ast.Constant]:
    """The literals in arguments of calls that make messages, and in constants that are texts."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in FUNCTIONS | CLASSES:
                parts = [*node.args, *(each.value for each in node.keywords if each.arg not in NO_TEXT)]
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if re.search(
                "TEXT|HINT|ADVICE|FOUND|REMEDY|REASON|PROBLEM|CLAIM", name.upper()
            ):
                parts = [value]
            case ast.Return(value=ast.JoinedStr() as value):
                parts = [value]
            case _:
                continue
        for part in parts:
            yield from _literals(part)


def _literals(node: ast.AST) -> Iterator[ast.Constant]:
    """The literals of an expression, without those in the calls and placeholders of it."""
    match node:
        case ast.Constant(value=str()):
            yield node
        case ast.JoinedStr() | ast.BinOp() | ast.IfExp() | ast.BoolOp() | ast.Tuple() | ast.List():
            for child in ast.iter_child_nodes(node):
                yield from _literals(child)


def test_no_message_names_internals():
    found = {
        f"{path}:{part.lineno}: {part.value}"
        for path, module in modules().items()
        if not path.startswith(FORMATS)
        for part in message_parts(module)
        if " " in str(part.value) and internal_words(str(part.value))
    }
    texts = {kind: kind.__doc__ or "" for kind in error_classes() if issubclass(kind, TaggerError)}
    found |= {kind.__name__ for kind, text in texts.items() if internal_words(text)}
    assert found == set()


def test_a_text_of_pages_has_only_values_of_its_error_and_no_command():
    for kind, text in (PAGE_TEXTS | TRANSLATED_TEXTS).items():
        values = dict.fromkeys(fields(inspect.getdoc(kind) or ""), 1)
        assert fields(text) <= values.keys(), kind
        if kind in PAGE_TEXTS:
            assert "`" not in text, kind
            assert ("1" in page_text(kind(**values))) == bool(fields(text)), kind


def fields(template: str) -> set[str]:
    return {name for _text, name, _format, _conversion in Formatter().parse(template) if name}


WRITERS = {"tagger/tags/causes.py", "tagger/tags/settlement.py"}
# Modules that write tables that they do not name.
OF_ANY_TABLE = {
    "tagger/database/statements.py",  # the functions that others call with a table
    "tagger/transfer.py",  # copies what was decided, too
    "tagger/kept/__init__.py",
}
VERDICTS = {"dismissals", "thing_verdicts", "verdicts"}
GUARDED = VERDICTS | {"classifications", "effective_tags", "image_things", "tags", "taught_tags"}
OWN_METHODS = {"insert", "update", "delete"}
CHANGES = OWN_METHODS | {"upsert", "insert_page", "insert_missing"}
SQL = re.compile(rf"\b(?:INTO|UPDATE|DELETE FROM|UPDATE OR \w+)\s+\W?({'|'.join(GUARDED)}|contents)\b")


def written(module: ast.Module, *, of_any_table: bool = False) -> Iterator[str]:
    """What a module writes although only causes may, or under a name that is no table."""
    imports = [node for node in ast.walk(module) if isinstance(node, ast.ImportFrom)]
    renamed = {name.asname: name.name for node in imports for name in node.names if name.asname}
    for node in ast.walk(module):
        match node:
            case ast.Constant(str(text)):
                yield from SQL.findall(text)
            case ast.Call(ast.Name(change), arguments) if change in CHANGES:
                name = ast.unparse(arguments[change not in OWN_METHODS])
                name = renamed.get(name, name)
                if (
                    name in GUARDED
                    or (change == "update" and name == "contents")
                    or (name not in metadata.tables and not of_any_table)
                ):
                    yield name
            case ast.Call(ast.Attribute(ast.Name(name), change), []) if change in OWN_METHODS:
                yield from {renamed.get(name, name)} & GUARDED


def test_what_decides_is_written_by_one_module():
    tables = {
        path: {*written(module, of_any_table=path in OF_ANY_TABLE)} for path, module in modules().items()
    }
    assert tables.keys() >= OF_ANY_TABLE
    assert {path for path, names in tables.items() if names} == WRITERS


def limit_pages(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA max_page_count = 20").close()


def test_a_full_disk_is_named_with_what_to_do(tmp_path):
    event.listen(Engine, "connect", limit_pages)
    try:
        with pytest.raises(DiskFull, match=r"tagger\.sqlite \(.*full\)\. Free space on its disk"):
            open_database(f"sqlite:///{tmp_path}/tagger.sqlite")
    finally:
        event.remove(Engine, "connect", limit_pages)


def full_sqlite() -> Exception:
    with closing(sqlite3.connect(":memory:")) as connection:
        limit_pages(connection, None)
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("CREATE TABLE a AS SELECT zeroblob(1000000)")
    return full.value


@pytest.mark.parametrize("make_error", [full_sqlite, psycopg.errors.DiskFull])
def test_who_waits_for_a_full_disk_is_told_to_free_space(make_error):
    full = OperationalError("INSERT", None, make_error())
    assert outage_text(full) == "the disk of the database is full: free some space"
    limit = OperationalError("SELECT", None, psycopg.errors.ConfigurationLimitExceeded("temp_file_limit"))
    assert outage_text(limit) == "the database server is at one of its limits (temp_file_limit)"
    assert is_transient(limit)
    assert "again later" in str(stated_error(limit, "temp_file_limit"))
    away = OperationalError("INSERT", None, sqlite3.OperationalError("locked\nby another"))
    assert outage_text(away) == "the database does not answer (locked)"


def test_the_first_sentence_of_an_error_has_all_that_a_server_says():
    reason = "MISCONF It cannot save. Commands are disabled. Check the logs"
    sentence, remedy = RedisRefused(url="redis://a", reason=reason).parts()
    assert sentence.endswith(reason)
    assert remedy.startswith("Give it more memory")
    assert Unavailable(reason="It fails. Stop it.").parts() == ("It fails", "Stop it.")


def test_a_full_disk_is_not_called_a_disk_error_and_its_remedy_is_to_free_some_space():
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    assert reason_of(error) == "database or disk is full"
    refused = psycopg.OperationalError("FATAL:  could not write init file: No space left on device")
    assert outage_text(OperationalError("connect", {}, refused)).endswith("free some space")


def test_a_refused_statement_is_a_defect_and_no_outage():
    for refused in (
        IntegrityError("INSERT", None, psycopg.errors.UniqueViolation("duplicate key")),
        IntegrityError("INSERT", None, sqlite3.IntegrityError("UNIQUE constraint failed")),
        ProgrammingError("SELECT", None, psycopg.errors.UndefinedTable("no such relation")),
    ):
        assert not is_transient(refused)
        assert "is a defect of this program" in outage_text(refused)
        assert isinstance(stated_error(refused, "reason"), StatementRefused)
