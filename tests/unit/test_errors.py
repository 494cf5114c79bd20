"""Errors reach other processes: a pool waits for ever for one that cannot be restored."""

import ast
import builtins
import inspect
import json
import pickle
from collections.abc import Iterator
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from string import Formatter

import pytest

from tagger.errors import (
    FailureKind,
    PathNotFound,
    PhotoFailed,
    TaggerError,
    error_document,
    error_of,
)

PROJECT = Path(__file__).parents[2]


def error_classes() -> Iterator[type[Exception]]:
    """All classes of errors in the packages. Only the modules that define some are imported."""
    known = {
        name
        for name, value in vars(builtins).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    known.add("HTTPException")
    classes = dict(_classes())
    while more := {name for (_, name), bases in classes.items() if bases & known} - known:
        known |= more
    for (module, name), bases in classes.items():
        if bases & known:
            yield getattr(import_module(module), name)


def _classes() -> Iterator[tuple[tuple[str, str], set[str]]]:
    for package in ("tagger", "trainer", "worker"):
        for file in sorted((PROJECT / package).rglob("*.py")):
            module = ".".join(file.relative_to(PROJECT).with_suffix("").parts)
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    yield (module, node.name), {ast.unparse(base) for base in node.bases}


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


def test_every_error_is_the_same_in_another_process() -> None:
    kinds = list(error_classes())
    assert sum(issubclass(kind, TaggerError) for kind in kinds) > 80
    for kind in kinds:
        error = example(kind)
        restored = pickle.loads(pickle.dumps(error))
        assert (type(restored), str(restored), vars(restored)) == (kind, str(error), vars(error))


def test_an_error_becomes_json_and_keeps_its_class_and_text() -> None:
    kinds = [kind for kind in error_classes() if issubclass(kind, TaggerError)]
    for kind in kinds:
        error = example(kind)
        assert isinstance(error, TaggerError)
        restored = error_of(json.loads(json.dumps(error_document(error))))
        is_shared = kind.__module__ == TaggerError.__module__
        assert (type(restored), str(restored)) == (kind if is_shared else TaggerError, str(error))
    assert error_of({"error": "FailureKind", "values": {}, "text": "it"}).args == ("it",)
    gone = PathNotFound(path=Path("a.jpg"))
    assert error_of(error_document(gone)).values == {"path": "a.jpg"}


def fail(number: int) -> None:
    errors = [
        PathNotFound(path="a.jpg"),
        PhotoFailed(FailureKind.GONE, "It is gone.", "a.jpg"),
    ]
    raise errors[number]


@pytest.mark.parametrize(("number", "text"), [(0, "no file or folder at a.jpg"), (1, "a.jpg: It is gone.")])
def test_a_pool_of_processes_raises_the_error_of_its_worker(number: int, text: str) -> None:
    with get_context("spawn").Pool(1) as pool, pytest.raises(TaggerError, match=text):
        pool.apply_async(fail, [number]).get(timeout=60)
