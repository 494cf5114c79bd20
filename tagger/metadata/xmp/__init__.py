"""XMP packets: their properties as plain values, whatever their form in RDF, and our records among them;
and what a write changed besides our values. Their trees are those of `packet`, and `changes` writes.

Properties are shown to people and compared to verify a write: packets with different meaning have different
properties. The records, in fields of our own namespace, say which values this program added. Any program may
have written them, so invalid records are ignored, and reading them raises nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

from lxml import etree
from lxml.etree import _Element as Element

from tagger.metadata import WriteRefused, only_removed
from tagger.metadata.xmp.packet import (
    ADDED,
    ALT,
    BAG,
    DEFAULT_LANG,
    DESCRIPTION,
    FILLED_DESCRIPTION,
    LANDMARKS,
    LISTS,
    LOCATION_ID,
    LOCATIONS,
    NAMESPACES,
    NODE,
    OUR_NAMESPACE,
    OUR_PREFIX,
    PARSE_TYPE,
    POSITION,
    PREFIXES,
    SEQ,
    SIDECAR,
    SUBJECT,
    WRITABLE_FIELDS,
    Occurrence,
    elements,
    is_blank,
    read_packet,
    same_coordinate,
    tag,
    tag_of,
    utf8_packet,
)

# Text; the items of a Bag, Seq or Alt; the fields of a structure, or the texts of an Alt by
# language.
Value: TypeAlias = str | list["Value"] | dict[str, "Value"]
# The name of the value in a structure of a value and its qualifiers.
VALUE = "rdf:value"
_RESOURCE = tag("rdf:resource")
# Attributes of RDF itself. Old packets write them without a namespace.
_SYNTAX = {
    *(
        tag(f"rdf:{name}")
        for name in ("about", "ID", "nodeID", "bagID", "parseType", "resource")
    ),
    *("about", "ID", "parseType", "resource"),
}
FIELD, ADDED_VALUE = f"{OUR_PREFIX}:Field", f"{OUR_PREFIX}:Value"
SLUG, NAME, SCORE = (
    f"{OUR_PREFIX}:Landmark",
    f"{OUR_PREFIX}:Name",
    f"{OUR_PREFIX}:Score",
)
MODEL, VERDICT = f"{OUR_PREFIX}:Model", f"{OUR_PREFIX}:Verdict"
_OUR_NAMESPACE = [
    OUR_NAMESPACE.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")
]


def properties(packet: bytes | None) -> dict[str, Value]:
    """Read a packet's fields by name: "dc:subject". The second field of the same name is "dc:subject (2)".

    Raises:
        WriteRefused: the packet cannot be read.
    """
    if packet is None or is_blank(packet):
        return {}
    return PropertyReader(read_packet(utf8_packet(packet)).rdf).properties()


def texts(value: Value | None) -> list[str]:
    """Every text in a value, without qualifiers."""
    if value is None or isinstance(value, str):
        return [] if value is None else [value]
    if isinstance(value, dict):
        value = [value[VALUE]] if VALUE in value else list(value.values())
    return [text for item in value for text in texts(item)]


def keywords(packet: bytes | None) -> list[str]:
    fields = properties(packet).items()
    return [
        text
        for name, value in fields
        if name.partition(" ")[0] == SUBJECT
        for text in texts(value)
    ]


def is_blank_text(value: Value | None) -> bool:
    return isinstance(value, str) and not value.strip()


class PropertyReader:
    def __init__(self, rdf: Element) -> None:
        self._rdf = rdf
        self._prefixes = _prefixes(rdf)

    def properties(self) -> dict[str, Value]:
        return _by_unique_name(
            field for node in elements(self._rdf) for field in self._fields_of(node)
        )

    def value(self, element: Element) -> Value:
        qualifiers = list(self._attributes(element))
        content = self._content(element)
        if not qualifiers:
            return content
        if isinstance(content, dict):
            return _by_unique_name([*qualifiers, *content.items()])
        if not content and any(name != "xml:lang" for name, _ in qualifiers):
            return _by_unique_name(qualifiers)
        return _by_unique_name([(VALUE, content), *qualifiers])

    def value_of(self, occurrence: Occurrence) -> Value:
        if occurrence.element is None:
            return occurrence.node.get(occurrence.tag) or ""
        return self.value(occurrence.element)

    def name(self, name: str) -> str:
        """The prefixed name of "{http://purl.org/dc/elements/1.1/}subject": "dc:subject"."""
        uri, bracket, local = name[1:].partition("}")
        if not bracket:
            return name
        prefix = self._prefixes.get(uri)
        return f"{prefix}:{local}" if prefix else name

    def _content(self, element: Element) -> Value:
        kind = element.get(PARSE_TYPE) or element.get("parseType")
        children = elements(element)
        if kind not in (None, "Resource"):
            return etree.tostring(copy(element), method="c14n", exclusive=True).decode()
        # Some programs omit the parse type of a structure.
        if kind == "Resource" or len(children) > 1:
            return _by_unique_name(self._of_elements(children))
        if children:
            node = children[0]
            if node.tag in (BAG, SEQ, ALT):
                items = [self.value(item) for item in elements(node)]
                return (_by_language(items) if node.tag == ALT else None) or items
            fields = list(self._fields_of(node))
            if node.tag == NODE:
                return _by_unique_name(fields)
            text = _text(node).strip()
            return _by_unique_name(
                [
                    ("rdf:type", self.name(tag_of(node))),
                    *([(VALUE, text)] if text else []),
                    *fields,
                ]
            )
        return _text(element) or element.get(_RESOURCE) or element.get("resource") or ""

    def _fields_of(self, node: Element) -> Iterator[tuple[str, Value]]:
        yield from self._attributes(node)
        yield from self._of_elements(elements(node))

    def _of_elements(self, fields: list[Element]) -> Iterator[tuple[str, Value]]:
        for field in fields:
            yield self.name(tag_of(field)), self.value(field)

    def _attributes(self, element: Element) -> Iterator[tuple[str, Value]]:
        for name, text in element.attrib.items():
            if name not in _SYNTAX:
                yield self.name(str(name)), str(text)


def _prefixes(rdf: Element) -> dict[str, str]:
    # The prefix of each namespace: the usual one, else the packet's own if it is unambiguous.
    prefixes = dict(PREFIXES)
    taken = set(NAMESPACES)
    for _, declared in etree.iterwalk(rdf.getroottree(), events=("start-ns",)):
        prefix, uri = declared if isinstance(declared, tuple) else ("", "")
        if prefix and prefix not in taken and uri not in prefixes:
            prefixes[uri] = prefix
            taken.add(prefix)
    return prefixes


def _by_unique_name(fields: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    counts: dict[str, int] = {}
    for name, value in fields:
        counts[name] = counts.get(name, 0) + 1
        values[name if counts[name] == 1 else f"{name} ({counts[name]})"] = value
    return values


def _by_language(items: list[Value]) -> dict[str, Value] | None:
    texts_by_language: dict[str, Value] = {}
    for item in items:
        if not isinstance(item, dict) or item.keys() != {VALUE, "xml:lang"}:
            return None
        language, text = item["xml:lang"], item[VALUE]
        if (
            not isinstance(language, str)
            or not isinstance(text, str)
            or language in texts_by_language
        ):
            return None
        texts_by_language[language] = text
    return texts_by_language


def _text(element: Element) -> str:
    # All text between the tags, which may be interrupted by comments.
    return (element.text or "") + "".join(child.tail or "" for child in element)


@dataclass(frozen=True)
class WrittenLandmark:
    slug: str
    name: str | None
    score: str | None
    model: str | None
    verdict: str | None


def added_values(packet: bytes | None) -> tuple[tuple[str, str], ...]:
    """The values that the packet records as ours: ("dc:subject", "Eiffel Tower")."""
    return added_in_properties(_properties(packet))


def names_our_namespace(packet: bytes | None) -> bool:
    """Whether the packet names our namespace; cheap, and almost always equal to `has_our_fields`."""
    return packet is not None and any(name in packet for name in _OUR_NAMESPACE)


def has_our_fields(packet: bytes | None) -> bool:
    """Whether the packet has fields of our namespace; False if it cannot be read."""
    return names_our_namespace(packet) and any(
        name.startswith(f"{OUR_PREFIX}:") for name in _properties(packet)
    )


def is_our_sidecar(packet: bytes) -> bool:
    """Whether the sidecar says that we created it; False if it cannot be read."""
    return SIDECAR in _properties(packet)


def written_landmarks(packet: bytes | None) -> tuple[WrittenLandmark, ...]:
    entries = (
        {name: _text_value(value) for name, value in entry.items()}
        for entry in _structures(_properties(packet).get(LANDMARKS))
    )
    return tuple(
        WrittenLandmark(
            entry[SLUG] or "",
            *(entry.get(name) for name in (NAME, SCORE, MODEL, VERDICT)),
        )
        for entry in entries
        if entry.get(SLUG)
    )


def added_in_properties(fields: dict[str, Value]) -> tuple[tuple[str, str], ...]:
    pairs = (
        (_text_value(entry.get(FIELD)), _text_value(entry.get(ADDED_VALUE)))
        for entry in _structures(fields.get(ADDED))
    )
    return tuple((field, value) for field, value in pairs if field and value)


def _properties(packet: bytes | None) -> dict[str, Value]:
    try:
        return properties(packet)
    except WriteRefused:
        return {}


def _structures(value: Value | None) -> list[dict[str, Value]]:
    return (
        [entry for entry in value if isinstance(entry, dict)]
        if isinstance(value, list)
        else []
    )


def _text_value(value: Value | None) -> str | None:
    return value if isinstance(value, str) else None


# Finds what a write of XMP changed besides our values, by comparing the packets before and after.
#
# Compares the properties of both packets, and shares no code with insertion and removal. Before a
# removal, other programs may have changed our values, so values that `Added` names can be missing;
# after an insertion they cannot.

_SHOWN_CHARACTERS = 80


def insertion_difference(before: bytes | None, after: bytes | None) -> str | None:
    """None if `after`, without the values it records as ours, equals `before`; else the first difference."""
    try:
        old, new = _with_lists(properties(before)), _with_lists(properties(after))
    except WriteRefused as refused:
        return refused.text
    remaining = {
        name: value
        for name, value in new.items()
        if not name.startswith(f"{OUR_PREFIX}:")
    }
    for name, text in added_in_properties(new):
        _remove_value(remaining, name, text)
    for name in (*old, *remaining):
        value, other = old.get(name), remaining.get(name)

        # Whether two values are equal. A field that we write is absent where it was empty.
        is_equal = value == other or (
            name in WRITABLE_FIELDS and _is_blank(value) and _is_blank(other)
        )

        if not is_equal:
            return f"{name} was {_shown(value)} and would be {_shown(other)}"
    return None


def _with_lists(fields: dict[str, Value]) -> dict[str, Value]:
    # The fields, of which keywords in any form are one list, as exiftool reads them.
    others: dict[str, Value] = {}
    lists: dict[str, list[Value]] = {}
    for unique_name, value in fields.items():
        name = unique_name.partition(" ")[0]
        if name not in LISTS:
            others[unique_name] = value
        elif not is_blank_text(value):
            lists.setdefault(name, []).extend(
                value if isinstance(value, list) else [value]
            )
    return {**others, **lists}


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
        remaining[name] = _without_last(value, text, by_identifier=name in LOCATIONS)


def _without_last(
    items: list[Value],
    text: str,
    *,
    by_identifier: bool,
) -> list[Value]:
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
    return (
        text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
    )


ValueTest = Callable[[Value], bool]


def removal_difference(before: bytes | None, after: bytes | None) -> str | None:
    """None if `after` is `before` less values that it records as ours; else the first difference."""
    old, new = properties(before), properties(after)
    added: dict[str, set[str]] = {}
    for field, value in added_in_properties(old):
        added.setdefault(
            DESCRIPTION if field == FILLED_DESCRIPTION else field,
            set(),
        ).add(value)
    for name in (*old, *new):
        if not _is_valid_field(name, old.get(name), new.get(name), added):
            return f"{name} would lose or gain a value that is not ours"
    return None


def _is_valid_field(
    name: str,
    old: Value | None,
    new: Value | None,
    added: dict[str, set[str]],
) -> bool:
    field = name.partition(" ")[0]
    if field.startswith(f"{OUR_PREFIX}:"):
        return new is None
    if old == new:
        return True
    if old is None or field not in WRITABLE_FIELDS:
        return False
    is_our_value = _our_value_test(field, added.get(field, set()))
    if isinstance(old, list):
        remaining = new or []
        return isinstance(remaining, list) and only_removed(
            old, remaining, is_our_value
        )
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


def _is_valid_text(
    old: dict[str, Value],
    new: Value,
    is_our_value: ValueTest,
) -> bool:
    # Whether only the text in the default language was removed or emptied.
    if not isinstance(new, dict) or not new.keys() <= old.keys():
        return False
    changed = {language for language in old if new.get(language) != old[language]}
    return (
        changed == {DEFAULT_LANG}
        and is_our_value(old[DEFAULT_LANG])
        and not new.get(DEFAULT_LANG)
    )
