"""Finds what a write of XMP changed besides our values, by comparing the packets before and after.

Compares the properties of both packets, and shares no code with insertion and removal. Before a removal,
other programs may have changed our values, so values that `Added` names can be missing; after an insertion
they cannot.
"""

from collections.abc import Callable, Sequence

from tagger.metadata.errors import WriteRefused
from tagger.metadata.xmp.properties import Value, added_in_properties, is_blank_text, properties, texts
from tagger.metadata.xmp.schema import (
    DEFAULT_LANG,
    DESCRIPTION,
    FILLED_DESCRIPTION,
    LISTS,
    LOCATION_ID,
    LOCATION_SHOWN,
    OUR_PREFIX,
    POSITION,
    WRITABLE_FIELDS,
    same_coordinate,
)

_SHOWN_CHARACTERS = 80


def insertion_difference(before: bytes | None, after: bytes | None) -> str | None:
    """None if `after`, without the values it records as ours, equals `before`; else the first difference."""
    try:
        old, new = _with_lists(properties(before)), _with_lists(properties(after))
    except WriteRefused as refused:
        return refused.text
    remaining = {name: value for name, value in new.items() if not name.startswith(f"{OUR_PREFIX}:")}
    for name, text in added_in_properties(new):
        _remove_value(remaining, name, text)
    return next(
        (
            f"{name} was {_shown(old.get(name))} and would be {_shown(remaining.get(name))}"
            for name in (*old, *remaining)
            if not _is_equal(name, old.get(name), remaining.get(name))
        ),
        None,
    )


def _with_lists(fields: dict[str, Value]) -> dict[str, Value]:
    """The fields, of which keywords in any form are one list, as exiftool reads them."""
    others: dict[str, Value] = {}
    lists: dict[str, list[Value]] = {}
    for unique_name, value in fields.items():
        name = unique_name.partition(" ")[0]
        if name not in LISTS:
            others[unique_name] = value
        elif not is_blank_text(value):
            lists.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    return {**others, **lists}


def _is_equal(name: str, old: Value | None, new: Value | None) -> bool:
    """Whether two values are equal. A field that we write is absent where it was empty."""
    return old == new or (name in WRITABLE_FIELDS and _is_blank(old) and _is_blank(new))


def _is_blank(value: Value | None) -> bool:
    return not value or is_blank_text(value)


def conflicts_with_extended(extended: bytes) -> bool:
    """Whether extended XMP may hold a field that we write, whose name is in it."""
    return any(name.partition(":")[2].encode() in extended for name in WRITABLE_FIELDS)


def _remove_value(remaining: dict[str, Value], name: str, text: str) -> None:
    if name == FILLED_DESCRIPTION:
        if remaining.get(DESCRIPTION) == {DEFAULT_LANG: text}:
            remaining[DESCRIPTION] = {DEFAULT_LANG: ""}
        return
    value = remaining.get(name)
    if name not in WRITABLE_FIELDS:
        return
    if value == text or (name == DESCRIPTION and value == {DEFAULT_LANG: text}):
        del remaining[name]
    elif isinstance(value, list):
        remaining[name] = _without_last(value, text, by_identifier=name == LOCATION_SHOWN)


def _without_last(items: list[Value], text: str, *, by_identifier: bool) -> list[Value]:
    for at in reversed(range(len(items))):
        item = items[at]
        if by_identifier:
            item = item.get(LOCATION_ID, "") if isinstance(item, dict) else ""
        if item == ([text] if by_identifier else text):
            return items[:at] + items[at + 1 :]
    return items


def _shown(value: Value | None) -> str:
    if value is None:
        return "absent"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


ValueTest = Callable[[Value], bool]


def removal_difference(before: bytes | None, after: bytes | None) -> str | None:
    """None if `after` is `before` less values that it records as ours; else the first difference."""
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
