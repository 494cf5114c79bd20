"""The properties of a packet as plain values, independent of the RDF form they are written in.

They are shown to people, and they show whether only our values change: packets with different meaning differ here.
"""

from collections.abc import Iterable, Iterator
from copy import copy
from typing import TypeAlias

from lxml import etree
from lxml.etree import _Element as Element

from tagger.metadata.xmp.namespaces import ALT, BAG, NAMESPACES, NODE, PARSE_TYPE, PREFIXES, SEQ, tag
from tagger.metadata.xmp.packet import is_blank, read_packet

Value: TypeAlias = str | list["Value"] | dict[str, "Value"]
"""Text; the items of a Bag, Seq or Alt; the fields of a structure, or the texts of an Alt by language."""

VALUE = "rdf:value"
"""The name of the value in a structure of a value and its qualifiers."""
_RESOURCE = tag("rdf:resource")
_SYNTAX = {
    *(tag(f"rdf:{name}") for name in ("about", "ID", "nodeID", "bagID", "parseType", "resource")),
    *("about", "ID", "parseType", "resource"),
}
"""Attributes of RDF itself. Old packets write them without a namespace."""


def properties(packet: bytes | None) -> dict[str, Value]:
    """Read a packet's fields by name: "dc:subject". The second field of the same name is "dc:subject (2)".

    Raises:
        WriteRefused: the packet cannot be read.
    """
    return {} if packet is None or is_blank(packet) else PropertyReader(read_packet(packet).rdf).properties()


def texts(value: Value | None) -> list[str]:
    """Every text in a value, without qualifiers."""
    if value is None or isinstance(value, str):
        return [] if value is None else [value]
    if isinstance(value, dict):
        return (
            texts(value[VALUE])
            if VALUE in value
            else [text for item in value.values() for text in texts(item)]
        )
    return [text for item in value for text in texts(item)]


def elements(parent: Element) -> list[Element]:
    """The child elements, without comments."""
    return list(parent.iterchildren(tag=etree.Element))


def tag_of(element: Element) -> str:
    """The tag of an element that is not a comment."""
    return str(element.tag)


class PropertyReader:
    """Reads the values of one packet and names them with its prefixes."""

    def __init__(self, rdf: Element) -> None:
        self._rdf = rdf
        self._prefixes = _prefixes(rdf)

    def properties(self) -> dict[str, Value]:
        """All fields of all nodes."""
        return _by_unique_name(field for node in elements(self._rdf) for field in self._fields_of(node))

    def value(self, element: Element) -> Value:
        """Read the value of a field's element, or of an item in a container."""
        qualifiers = list(self._attributes(element))
        content = self._content(element)
        if not qualifiers:
            return content
        if isinstance(content, dict):
            return _by_unique_name([*qualifiers, *content.items()])
        if not content and any(name != "xml:lang" for name, _ in qualifiers):
            return _by_unique_name(qualifiers)
        return _by_unique_name([(VALUE, content), *qualifiers])

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
            return _canonical(element)
        # Some programs omit the parse type of a structure.
        if kind == "Resource" or len(children) > 1:
            return _by_unique_name(self._of_elements(children))
        if children:
            return self._node(children[0])
        return _text(element) or element.get(_RESOURCE) or element.get("resource") or ""

    def _node(self, node: Element) -> Value:
        if node.tag in (BAG, SEQ, ALT):
            items = [self.value(item) for item in elements(node)]
            return (_by_language(items) if node.tag == ALT else None) or items
        fields = list(self._fields_of(node))
        if node.tag == NODE:
            return _by_unique_name(fields)
        text = _text(node).strip()
        return _by_unique_name(
            [("rdf:type", self.name(tag_of(node))), *([(VALUE, text)] if text else []), *fields]
        )

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
    """The prefix of each namespace: the usual one, else the packet's own if it is unambiguous."""
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
        if not isinstance(language, str) or not isinstance(text, str) or language in texts_by_language:
            return None
        texts_by_language[language] = text
    return texts_by_language


def _text(element: Element) -> str:
    """All text between the tags, which may be interrupted by comments."""
    return (element.text or "") + "".join(child.tail or "" for child in element)


def _canonical(element: Element) -> str:
    return etree.tostring(copy(element), method="c14n", exclusive=True).decode()
