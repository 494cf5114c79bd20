"""The texts of errors on pages name no commands, and use only the values that the errors carry."""

import inspect
from string import Formatter

import pytest

from tagger.errors import TaggerError
from tagger.web.http.error_texts import PAGE_TEXTS, TRANSLATED_TEXTS, page_text


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
