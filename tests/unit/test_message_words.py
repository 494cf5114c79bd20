"""Messages of commands, logs, errors and pages: no words for internals, no names of classes and libraries."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
from support.command_words import CLASSES, internal_words

from tagger.errors import TaggerError
from tagger.web.http.errors import PAGE_TEXTS, TRANSLATED_TEXTS, page_text

ROOT = Path(__file__).parents[2]
FORMATS = ROOT / "tagger" / "metadata" / "formats"
"""The parts of PNG and WebP files are called chunks."""
FILES = [
    file
    for package in ("tagger", "trainer", "worker")
    for file in sorted((ROOT / package).rglob("*.py"))
    if not file.is_relative_to(FORMATS)
]
LOGGED = {"debug", "info", "warning", "error", "critical", "exception"}
FUNCTIONS = LOGGED | {
    "fail",
    "echo",
    "result",
    "BadParameter",
    "PhotoFailed",
    "ok",
    "note",
    "wrong",
    "write_result",
}
"""Functions whose arguments are messages, besides the errors of the program."""
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


def test_no_message_names_internals() -> None:
    found = {
        f"{file.relative_to(ROOT)}:{part.lineno}: {part.value}"
        for file in FILES
        for part in message_parts(ast.parse(file.read_text()))
        if " " in str(part.value) and internal_words(str(part.value))
    }
    assert found == set()


def all_errors(root: type[TaggerError] = TaggerError) -> Iterator[type[TaggerError]]:
    for each in root.__subclasses__():
        yield each
        yield from all_errors(each)


def test_no_error_names_internals() -> None:
    found = {each.__name__: words for each in all_errors() if (words := internal_words(each.__doc__ or ""))}
    assert found == {}


@pytest.mark.parametrize("kind", PAGE_TEXTS, ids=lambda kind: kind.__name__)
def test_a_text_has_only_values_of_its_error_and_no_command(kind: type[TaggerError]) -> None:
    assert fields(PAGE_TEXTS[kind]) <= fields(inspect.getdoc(kind) or "")
    assert "`" not in PAGE_TEXTS[kind]
    values = dict.fromkeys(fields(inspect.getdoc(kind) or ""), 1)
    assert ("1" in page_text(kind(**values))) == bool(fields(PAGE_TEXTS[kind]))


def test_another_error_has_its_own_text() -> None:
    assert page_text(TaggerError()) == str(TaggerError())


def fields(template: str) -> set[str]:
    return {name for _text, name, _format, _conversion in Formatter().parse(template) if name}


@pytest.mark.parametrize("kind", TRANSLATED_TEXTS, ids=lambda kind: kind.__name__)
def test_translated_texts_need_no_other_values_than_the_error_has(kind: type[TaggerError]) -> None:
    assert fields(TRANSLATED_TEXTS[kind]) <= fields(inspect.getdoc(kind) or "")
