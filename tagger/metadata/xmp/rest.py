"""Whether what is left of a packet lacks only what was ours: the proof before a file that others changed is taken back.

Others may have changed any of our values, so what `Added` names need not be there any more (proof asks for that). Works
on what packets say, and shares no step with removing.
"""

from collections.abc import Callable, Sequence

from tagger.metadata.refusals import WriteRefused
from tagger.metadata.xmp.names import (
    DEFAULT_LANG,
    DESCRIPTION,
    FILLED_DESCRIPTION,
    LOCATION_ID,
    OUR_PREFIX,
    POSITION,
    WRITTEN,
)
from tagger.metadata.xmp.properties import Value, properties, texts
from tagger.metadata.xmp.records import added_in
from tagger.metadata.xmp.wording import same_coordinate

IsOurs = Callable[[Value], bool]


def only_ours_went(before: bytes | None, after: bytes | None) -> str | None:
    """Compare a packet with what is left of it; None where all that went is named in it as ours.

    Otherwise the field that differs first, in words.
    """
    try:
        was, left = properties(before), properties(after)
    except WriteRefused as refusal:
        return refusal.text
    named: dict[str, set[str]] = {}
    for field, value in added_in(was):
        named.setdefault(DESCRIPTION if field == FILLED_DESCRIPTION else field, set()).add(value)
    wrong = (name for name in (*was, *left) if not _is_rest(name, was.get(name), left.get(name), named))
    return next((f"{name} would lose or gain what is not ours" for name in wrong), None)


def _is_rest(name: str, was: Value | None, left: Value | None, named: dict[str, set[str]]) -> bool:
    field = name.partition(" ")[0]
    if field.startswith(f"{OUR_PREFIX}:"):
        return left is None
    if was == left:
        return True
    if was is None or field not in WRITTEN:
        return False
    is_ours = _ours_of(field, named.get(field, set()))
    if isinstance(was, list):
        return _is_rest_of_list(was, left or [], is_ours)
    if field == DESCRIPTION and isinstance(was, dict):
        return _is_rest_of_text(was, left or {}, is_ours)
    return left is None and is_ours(was)


def _ours_of(field: str, values: set[str]) -> IsOurs:
    def is_ours(value: Value) -> bool:
        if isinstance(value, dict):  # a location
            return bool(values.intersection(texts(value.get(LOCATION_ID))))
        if isinstance(value, list):
            return False
        alike = field in POSITION and any(same_coordinate(value, each) for each in values)
        return value in values or alike

    return is_ours


def _is_rest_of_list(was: Sequence[Value], left: Value, is_ours: IsOurs) -> bool:
    """Everything that is left stands in the old order, and what lies between is ours."""
    if not isinstance(left, list):
        return False
    at = 0
    for item in was:
        if at < len(left) and left[at] == item:
            at += 1
        elif not is_ours(item):
            return False
    return at == len(left)


def _is_rest_of_text(was: dict[str, Value], left: Value, is_ours: IsOurs) -> bool:
    """Only the text in no certain language may go, or be empty again."""
    if not isinstance(left, dict) or not left.keys() <= was.keys():
        return False
    changed = {language for language in was if left.get(language) != was[language]}
    if not changed:
        return True
    return changed == {DEFAULT_LANG} and is_ours(was[DEFAULT_LANG]) and not left.get(DEFAULT_LANG)
