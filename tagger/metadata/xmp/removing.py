"""Our values out of a packet, whoever wrote it last: other programs keep our fields, in forms of their own.

Only what the packet names as ours goes, and only where it is still the value that we wrote.
"""

from collections import Counter

from lxml.etree import _Element as Element

from tagger.metadata.xmp import names
from tagger.metadata.xmp.fields import Place, drop, drop_if_empty, forget_namespace, places, places_in
from tagger.metadata.xmp.packet import read_packet
from tagger.metadata.xmp.properties import Reader, Value, elements
from tagger.metadata.xmp.records import added_in, were_empty
from tagger.metadata.xmp.wording import same_coordinate

_OF_A_LOCATION = {
    *(names.LOCATION_NAME, names.LOCATION_ID, names.CITY, names.PROVINCE, names.COUNTRY),
    *(names.LATITUDE, names.LONGITUDE),
}


def remove(packet: bytes) -> bytes | None:
    """Give the packet as it would be without us; None where it was made by us and nothing is left in it.

    Raises:
        WriteRefused: the packet cannot be read.
    """
    edited = read_packet(packet)
    if not places_in(edited.rdf, names.OURS):
        return packet
    made_by_us = bool(places(edited.rdf, names.SIDECAR, names.PACKET))
    _Removing(edited.rdf).remove_all()
    if made_by_us and not Reader(edited.rdf).properties():
        return None
    return edited.written(0)


class _Removing:
    """One packet while our values go out of it."""

    def __init__(self, rdf: Element) -> None:
        self._rdf = rdf
        self._reader = Reader(rdf)
        said = self._reader.properties()
        self._were_empty = were_empty(said)
        self._added: dict[str, Counter[str]] = {}
        for field, value in added_in(said):
            self._added.setdefault(field, Counter())[value] += 1

    def remove_all(self) -> None:
        nodes = {place.node: None for place in self._ours()}
        for field in (*names.LISTS, names.LOCATION_SHOWN):
            self._remove_items(field)
        self._remove_position()
        self._remove_description()
        for place in places_in(self._rdf, names.OURS):
            place.drop()
        for node in nodes:
            drop_if_empty(node)
        forget_namespace(self._rdf, names.OURS)

    def _ours(self) -> list[Place]:
        """Every field that something of ours may be in."""
        return places(self._rdf, *names.WRITTEN) + places_in(self._rdf, names.OURS)

    def _remove_items(self, field: str) -> None:
        left = self._added.get(field, Counter())
        for place in reversed(places(self._rdf, field)):
            # One keyword alone: some programs write it without the list.
            if left[self._plain(place)] > 0:
                left[self._plain(place)] -= 1
                place.drop()
                continue
            if place.element is not None:
                self._remove_from(place.element, field, left)

    def _remove_from(self, element: Element, field: str, left: Counter[str]) -> None:
        items = [item for around in elements(element) for item in elements(around)]
        found = 0
        # Ours came last, so of equal values the last is ours.
        for item in reversed(items):
            value = self._identity(field, self._reader.value(item))
            if left[value] > 0:
                left[value] -= 1
                found += 1
                drop(item)
        if found and found == len(items) and field not in self._were_empty:
            drop(element)

    def _identity(self, field: str, value: Value) -> str:
        """What `Added` calls an item: its text, or the identifier of a location that nobody has added to."""
        if field != names.LOCATION_SHOWN:
            return value if isinstance(value, str) else ""
        if not isinstance(value, dict) or not value.keys() <= _OF_A_LOCATION:
            return ""
        identifiers = value.get(names.LOCATION_ID)
        only = identifiers[0] if isinstance(identifiers, list) and len(identifiers) == 1 else identifiers
        return only if isinstance(only, str) else ""

    def _remove_position(self) -> None:
        pair = [self._still_ours(field) for field in (names.LATITUDE, names.LONGITUDE)]
        # Half a position is none.
        if all(pair):
            self._drop_all(*pair)
        self._drop_all(
            *(self._still_ours(field) for field in (names.GPS_METHOD, names.GPS_ERROR, names.GPS_DATUM))
        )

    def _still_ours(self, field: str) -> list[Place]:
        written = list(self._added.get(field, ()))
        return [
            place
            for place in places(self._rdf, field)
            if any(same_coordinate(self._plain(place), value) for value in written)
        ]

    def _remove_description(self) -> None:
        whole = self._added.get(names.DESCRIPTION, Counter())
        filled = self._added.get(names.FILLED_DESCRIPTION, Counter())
        for place in places(self._rdf, names.DESCRIPTION):
            if self._plain(place) in whole:
                place.drop()
            elif place.element is not None:
                self._remove_default(place.element, whole, filled)

    def _remove_default(self, element: Element, whole: Counter[str], filled: Counter[str]) -> None:
        items = [item for around in elements(element) for item in elements(around)]
        ours = [item for item in items if item.get(names.LANG) == names.DEFAULT_LANG]
        for item in ours:
            if (item.text or "") in filled:
                item.text = None
            elif (item.text or "") in whole:
                drop(element if len(items) == 1 else item)

    def _plain(self, place: Place) -> str:
        value = place.node.get(place.tag) if place.element is None else self._reader.value(place.element)
        return value if isinstance(value, str) else ""

    def _drop_all(self, *found: list[Place]) -> None:
        for place in (place for group in found for place in group):
            place.drop()
