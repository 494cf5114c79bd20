"""Whether only what is ours differs between two packets: the writer's proof before it lets a file go.

Works on what packets say, by a way of its own: it shares no step with adding and removing.
"""

from collections.abc import Iterable

from tagger.metadata.refusals import WriteRefused
from tagger.metadata.xmp.names import (
    DEFAULT_LANG,
    DESCRIPTION,
    FILLED_DESCRIPTION,
    LOCATION_ID,
    LOCATION_SHOWN,
    OUR_PREFIX,
    WRITTEN,
)
from tagger.metadata.xmp.properties import Value, properties
from tagger.metadata.xmp.records import added_in, were_empty

_SHOWN_CHARACTERS = 80


def only_ours_differs(before: bytes | None, after: bytes | None) -> str | None:
    """Compare two packets; None where `after` without what it names as ours says what `before` says.

    Otherwise what differs first, in words.
    """
    try:
        was, now = properties(before), properties(after)
    except WriteRefused as refusal:
        return refusal.text
    left = _without(now, added_in(now), were_empty(now))
    return next(
        (_difference(name, was, left) for name in (*was, *left) if was.get(name) != left.get(name)), None
    )


def in_extended(extended: bytes | None) -> bool:
    """Whether the part of the XMP that stands apart holds a field that we would write, or cannot be read."""
    try:
        fields = properties(extended)
    except WriteRefused:
        return True
    return any(name.partition(" ")[0] in WRITTEN or name.startswith(f"{OUR_PREFIX}:") for name in fields)


def _without(
    fields: dict[str, Value], named: Iterable[tuple[str, str]], emptied: frozenset[str]
) -> dict[str, Value]:
    left = {name: value for name, value in fields.items() if not name.startswith(f"{OUR_PREFIX}:")}
    for name, text in named:
        _take(left, name, text, emptied)
    return left


def _take(left: dict[str, Value], name: str, text: str, emptied: frozenset[str]) -> None:
    if name == FILLED_DESCRIPTION:
        if left.get(DESCRIPTION) == {DEFAULT_LANG: text}:
            left[DESCRIPTION] = {DEFAULT_LANG: ""}
        return
    value = left.get(name)
    if name not in WRITTEN:
        return
    if value == text or (name == DESCRIPTION and value == {DEFAULT_LANG: text}):
        del left[name]
    elif isinstance(value, list):
        rest = _less_one(value, text, by_identifier=name == LOCATION_SHOWN)
        left[name] = rest
        if not rest and name not in emptied:
            del left[name]


def _less_one(items: list[Value], text: str, *, by_identifier: bool) -> list[Value]:
    for at in reversed(range(len(items))):
        item = items[at]
        if by_identifier:
            item = item.get(LOCATION_ID, "") if isinstance(item, dict) else ""
        if item == ([text] if by_identifier else text):
            return items[:at] + items[at + 1 :]
    return items


def _difference(name: str, was: dict[str, Value], left: dict[str, Value]) -> str:
    return f"{name} was {_shown(was.get(name))} and would be {_shown(left.get(name))}"


def _shown(value: Value | None) -> str:
    if value is None:
        return "absent"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
