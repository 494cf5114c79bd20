"""Differences between two packets beyond the values we removed. Other programs may have changed the packet since we wrote it.

They may have changed our values, too, so values that `Added` names can be missing; `insertion_differences` requires them.
Compares the properties of both packets, and shares no code with removal.
"""

from collections.abc import Callable, Sequence

from tagger.metadata.errors import WriteRefused
from tagger.metadata.xmp.namespaces import (
    DEFAULT_LANG,
    DESCRIPTION,
    FILLED_DESCRIPTION,
    LOCATION_ID,
    OUR_PREFIX,
    POSITION,
    WRITABLE_FIELDS,
)
from tagger.metadata.xmp.properties import Value, properties, texts
from tagger.metadata.xmp.records import added_in_properties
from tagger.metadata.xmp.value_text import same_coordinate

ValueTest = Callable[[Value], bool]


def removal_difference(before: bytes | None, after: bytes | None) -> str | None:
    """Return None if `after` is `before` less values that it records as ours; else the first difference in words."""
    try:
        old, new = properties(before), properties(after)
    except WriteRefused as refused:
        return refused.text
    added: dict[str, set[str]] = {}
    for field, value in added_in_properties(old):
        added.setdefault(DESCRIPTION if field == FILLED_DESCRIPTION else field, set()).add(value)
    invalid = (
        name for name in (*old, *new) if not _is_valid_field(name, old.get(name), new.get(name), added)
    )
    return next((f"{name} would lose or gain a value that is not ours" for name in invalid), None)


def _is_valid_field(name: str, old: Value | None, new: Value | None, added: dict[str, set[str]]) -> bool:
    field = name.partition(" ")[0]
    if field.startswith(f"{OUR_PREFIX}:"):
        return new is None
    if old == new:
        return True
    if old is None or field not in WRITABLE_FIELDS:
        return False
    is_our_value = _our_value_test(field, added.get(field, set()))
    if isinstance(old, list):
        return _is_valid_list(old, new or [], is_our_value)
    if field == DESCRIPTION and isinstance(old, dict):
        return _is_valid_text(old, new or {}, is_our_value)
    return new is None and is_our_value(old)


def _our_value_test(field: str, values: set[str]) -> ValueTest:
    def is_our_value(value: Value) -> bool:
        if isinstance(value, dict):  # a location
            return bool(values.intersection(texts(value.get(LOCATION_ID))))
        if isinstance(value, list):
            return False
        is_same_coordinate = field in POSITION and any(
            same_coordinate(value, our_value) for our_value in values
        )
        return value in values or is_same_coordinate

    return is_our_value


def _is_valid_list(old: Sequence[Value], new: Value, is_our_value: ValueTest) -> bool:
    """Whether the remaining items are in the old order, and all removed ones are ours."""
    if not isinstance(new, list):
        return False
    at = 0
    for item in old:
        if at < len(new) and new[at] == item:
            at += 1
        elif not is_our_value(item):
            return False
    return at == len(new)


def _is_valid_text(old: dict[str, Value], new: Value, is_our_value: ValueTest) -> bool:
    """Whether only the text in the default language was removed or emptied."""
    if not isinstance(new, dict) or not new.keys() <= old.keys():
        return False
    changed = {language for language in old if new.get(language) != old[language]}
    if not changed:
        return True
    return changed == {DEFAULT_LANG} and is_our_value(old[DEFAULT_LANG]) and not new.get(DEFAULT_LANG)
