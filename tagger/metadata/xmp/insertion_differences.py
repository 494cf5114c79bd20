"""Differences between two packets beyond the values we added; there must be none before a file is written.

Compares the properties of both packets, and shares no code with insertion and removal.
"""

from collections.abc import Iterable

from tagger.metadata.errors import WriteRefused
from tagger.metadata.xmp.namespaces import (
    DEFAULT_LANG,
    DESCRIPTION,
    FILLED_DESCRIPTION,
    LOCATION_ID,
    LOCATION_SHOWN,
    OUR_PREFIX,
    WRITABLE_FIELDS,
)
from tagger.metadata.xmp.properties import Value, properties
from tagger.metadata.xmp.records import added_in_properties, empty_fields

_SHOWN_CHARACTERS = 80


def insertion_difference(before: bytes | None, after: bytes | None) -> str | None:
    """Return None if `after`, without the values it records as ours, equals `before`; else the first difference in words."""
    try:
        old, new = properties(before), properties(after)
    except WriteRefused as refused:
        return refused.text
    remaining = _without(new, added_in_properties(new), empty_fields(new))
    return next(
        (
            _difference(name, old, remaining)
            for name in (*old, *remaining)
            if old.get(name) != remaining.get(name)
        ),
        None,
    )


def conflicts_with_extended(extended: bytes | None) -> bool:
    """Whether extended XMP holds a field that we write, or cannot be read."""
    try:
        fields = properties(extended)
    except WriteRefused:
        return True
    return any(
        name.partition(" ")[0] in WRITABLE_FIELDS or name.startswith(f"{OUR_PREFIX}:") for name in fields
    )


def _without(
    fields: dict[str, Value], added: Iterable[tuple[str, str]], kept_empty: frozenset[str]
) -> dict[str, Value]:
    remaining = {name: value for name, value in fields.items() if not name.startswith(f"{OUR_PREFIX}:")}
    for name, text in added:
        _remove_value(remaining, name, text, kept_empty)
    return remaining


def _remove_value(remaining: dict[str, Value], name: str, text: str, kept_empty: frozenset[str]) -> None:
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
        others = _without_last(value, text, by_identifier=name == LOCATION_SHOWN)
        remaining[name] = others
        if not others and name not in kept_empty:
            del remaining[name]


def _without_last(items: list[Value], text: str, *, by_identifier: bool) -> list[Value]:
    for at in reversed(range(len(items))):
        item = items[at]
        if by_identifier:
            item = item.get(LOCATION_ID, "") if isinstance(item, dict) else ""
        if item == ([text] if by_identifier else text):
            return items[:at] + items[at + 1 :]
    return items


def _difference(name: str, old: dict[str, Value], remaining: dict[str, Value]) -> str:
    return f"{name} was {_shown(old.get(name))} and would be {_shown(remaining.get(name))}"


def _shown(value: Value | None) -> str:
    if value is None:
        return "absent"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
