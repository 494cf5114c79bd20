"""Removing our values from a packet. Other programs may have rewritten it in another form.

A value is removed only if the packet records it as ours and it still is what we wrote.
"""

from collections import Counter

from lxml.etree import _Element as Element

from tagger.metadata.xmp import schema
from tagger.metadata.xmp.packet import (
    Occurrence,
    elements,
    find_fields,
    find_namespace_fields,
    read_packet,
    remove_element,
    remove_if_empty,
    remove_namespace,
)
from tagger.metadata.xmp.properties import PropertyReader, Value, added_in_properties
from tagger.metadata.xmp.schema import same_coordinate

_LOCATION_FIELDS = {
    *(schema.LOCATION_NAME, schema.LOCATION_ID, schema.CITY, schema.PROVINCE, schema.COUNTRY),
    *(schema.LATITUDE, schema.LONGITUDE),
}


def remove(packet: bytes) -> bytes | None:
    """The packet without our values; None if we created the packet and nothing remains.

    Raises:
        WriteRefused: the packet cannot be read.
    """
    parsed = read_packet(packet)
    if not find_namespace_fields(parsed.rdf, schema.OUR_NAMESPACE):
        return packet
    created_by_us = bool(find_fields(parsed.rdf, schema.SIDECAR, schema.PACKET))
    _PacketRemoval(parsed.rdf).remove_all()
    if created_by_us and not PropertyReader(parsed.rdf).properties():
        return None
    return parsed.serialise(0)


class _PacketRemoval:
    """The removal of our values from one packet."""

    def __init__(self, rdf: Element) -> None:
        self._rdf = rdf
        self._reader = PropertyReader(rdf)
        self._added: dict[str, Counter[str]] = {}
        for field, value in added_in_properties(self._reader.properties()):
            self._added.setdefault(field, Counter())[value] += 1

    def remove_all(self) -> None:
        ours = find_namespace_fields(self._rdf, schema.OUR_NAMESPACE)
        nodes = {field.node: None for field in (*find_fields(self._rdf, *schema.WRITABLE_FIELDS), *ours)}
        for field in schema.LIST_FIELDS:
            self._remove_items(field)
        self._remove_position()
        self._remove_description()
        for occurrence in ours:
            occurrence.remove()
        for node in nodes:
            remove_if_empty(node)
        remove_namespace(self._rdf, schema.OUR_NAMESPACE)

    def _remove_items(self, field: str) -> None:
        remaining = self._added.get(field, Counter())
        for occurrence in reversed(find_fields(self._rdf, field)):
            # Some programs write a single keyword without a list.
            if remaining[self._plain_text(occurrence)] > 0:
                remaining[self._plain_text(occurrence)] -= 1
                occurrence.remove()
                continue
            if occurrence.element is not None:
                self._remove_from_list(occurrence.element, field, remaining)

    def _remove_from_list(self, element: Element, field: str, remaining: Counter[str]) -> None:
        items = [item for container in elements(element) for item in elements(container)]
        removed = 0
        # Ours were added last, so of equal values the last is removed.
        for item in reversed(items):
            value = self._identity(field, self._reader.value(item))
            if remaining[value] > 0:
                remaining[value] -= 1
                removed += 1
                remove_element(item)
        if removed and removed == len(items):
            remove_element(element)

    def _identity(self, field: str, value: Value) -> str:
        """The item's name in `Added`: its text, or the identifier of a location that nobody has extended."""
        if field != schema.LOCATION_SHOWN:
            return value if isinstance(value, str) else ""
        if not isinstance(value, dict) or not value.keys() <= _LOCATION_FIELDS:
            return ""
        identifiers = value.get(schema.LOCATION_ID)
        only = identifiers[0] if isinstance(identifiers, list) and len(identifiers) == 1 else identifiers
        return only if isinstance(only, str) else ""

    def _remove_position(self) -> None:
        coordinates = [self._unchanged_occurrences(field) for field in (schema.LATITUDE, schema.LONGITUDE)]
        # A latitude without a longitude is not a position.
        removed = coordinates if all(coordinates) else []
        for field in (schema.GPS_METHOD, schema.GPS_ERROR, schema.GPS_DATUM):
            removed.append(self._unchanged_occurrences(field))
        for occurrences in removed:
            for occurrence in occurrences:
                occurrence.remove()

    def _unchanged_occurrences(self, field: str) -> list[Occurrence]:
        our_values = list(self._added.get(field, ()))
        return [
            occurrence
            for occurrence in find_fields(self._rdf, field)
            if any(same_coordinate(self._plain_text(occurrence), value) for value in our_values)
        ]

    def _remove_description(self) -> None:
        """Also one that version 1 put in the place of an empty text."""
        descriptions = {
            *self._added.get(schema.DESCRIPTION, ()),
            *self._added.get(schema.FILLED_DESCRIPTION, ()),
        }
        for occurrence in find_fields(self._rdf, schema.DESCRIPTION):
            if self._plain_text(occurrence) in descriptions:
                occurrence.remove()
            elif occurrence.element is not None:
                self._remove_default(occurrence.element, descriptions)

    def _remove_default(self, element: Element, descriptions: set[str]) -> None:
        items = [item for container in elements(element) for item in elements(container)]
        for item in items:
            if item.get(schema.LANG) == schema.DEFAULT_LANG and (item.text or "") in descriptions:
                remove_element(element if len(items) == 1 else item)

    def _plain_text(self, occurrence: Occurrence) -> str:
        value = self._reader.value_of(occurrence)
        return value if isinstance(value, str) else ""
