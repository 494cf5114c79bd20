"""Our values into a packet. What is somebody else's stays as it is, and a value that is there already is not ours.

Whatever goes in is noted in `landmarkTagger:Added`, in the packet itself: so anybody who has only the file can take it
out again (see removing).
"""

import math
from collections.abc import Iterable, Sequence

from lxml.etree import _Element as Element

from tagger.metadata.additions import POINT, Additions, NamedLandmark, Position
from tagger.metadata.xmp import names, wording
from tagger.metadata.xmp.fields import (
    append_item,
    append_record,
    append_structure,
    container,
    drop,
    new_container,
    new_node,
    only_place,
    places,
    places_in,
    put_text,
    tidy,
)
from tagger.metadata.xmp.packet import PADDING, is_blank, new_packet, read_packet, refused
from tagger.metadata.xmp.properties import Reader, elements, texts
from tagger.metadata.xmp.records import ADDED_VALUE, FIELD, MODEL, NAME, SCORE, SLUG, VERDICT

CREATED = "created"
PROCESSING_METHOD = "landmark-tagger"
_DATUM = "WGS-84"


def add(
    packet: bytes | None,
    additions: Additions,
    *,
    sidecar: bool,
    created: bool = False,
    repeated: Sequence[str] = (),
    also_added: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Merge our additions into a packet that holds none of ours; without one, into a new one.

    `created`: the file is new, though the packet is somebody's. `repeated` are the owner's keywords in EXIF and IPTC:
    most programs look for keywords in one field after another and stop at the first that has any, so a field that we
    begin has to repeat the owner's.

    `also_added` are values that go into EXIF or IPTC at the same time: ("EXIF:XPKeywords", "Eiffel Tower").

    Raises:
        WriteRefused: the packet cannot be read, or has one of the fields in a form that merging would damage.
    """
    if packet is not None and is_blank(packet):
        packet = None
    edited = new_packet(wrapped=not sidecar) if packet is None else read_packet(packet)
    merging = _Merging(edited.rdf)
    merging.add_all(additions, repeated)
    if packet is None or created:
        put_text(merging.node, names.SIDECAR if sidecar else names.PACKET, CREATED)
    merging.note(additions.landmarks, also_added)
    return edited.written(0 if sidecar else PADDING)


class _Merging:
    """One packet while our values go in: new fields into a node of their own, and everything is noted."""

    def __init__(self, rdf: Element) -> None:
        if places_in(rdf, names.OURS):
            raise refused("holds landmark tags that another copy of this program wrote")
        self._rdf = rdf
        self._reader = Reader(rdf)
        self._added: list[tuple[str, str]] = []
        self._were_empty: list[str] = []
        self.node = new_node(rdf)

    def add_all(self, additions: Additions, repeated: Sequence[str]) -> None:
        if additions.keywords or additions.paths:
            self._add_keywords(additions, repeated)
        self._add_locations(additions.landmarks)
        self._add_position(additions.position)
        self._add_description(wording.clean(additions.description))

    def note(self, landmarks: Sequence[NamedLandmark], also_added: Sequence[tuple[str, str]]) -> None:
        """Write down which landmarks these are, and what was added for them."""
        _put_records(self.node, names.LANDMARKS, [_landmark(landmark) for landmark in landmarks])
        noted = [*self._added, *((wording.clean(field), wording.clean(value)) for field, value in also_added)]
        _put_records(self.node, names.ADDED, [{FIELD: field, ADDED_VALUE: value} for field, value in noted])
        if self._were_empty:
            items = new_container(self.node, names.WAS_EMPTY, names.BAG)
            for field in self._were_empty:
                append_item(items, field)
        if elements(self.node):
            tidy(self.node)
        else:
            drop(self.node)

    def _add_keywords(self, additions: Additions, repeated: Sequence[str]) -> None:
        flat = [*self._texts(names.SUBJECT), *repeated]
        nested = self._owners_paths()
        known = {wording.alike(name) for path in nested for name in path}
        owners = [*nested, *((keyword,) for keyword in flat if wording.alike(keyword) not in known)]
        begun = [] if self._texts(names.SUBJECT) else repeated
        self._add_texts(names.SUBJECT, names.BAG, map(wording.clean, (*begun, *additions.keywords)))
        for field, kind, spelled in (
            (names.HIERARCHY, names.BAG, wording.lightroom_path),
            (names.TAGS_LIST, names.SEQ, wording.digikam_path),
        ):
            begun_paths = owners if additions.paths and not self._texts(field) else []
            self._add_texts(field, kind, map(spelled, (*begun_paths, *additions.paths)))

    def _owners_paths(self) -> list[tuple[str, ...]]:
        """The owner's hierarchical keywords, from whichever field has them."""
        for field, separator in names.HIERARCHIES:
            if paths := self._texts(field):
                return [tuple(path.split(separator)) for path in paths]
        return []

    def _texts(self, field: str) -> list[str]:
        return [text for item in _each(self._items(field)) for text in texts(self._reader.value(item))]

    def _add_texts(self, field: str, kind: str, values: Iterable[str]) -> None:
        new = list(dict.fromkeys(value for value in values if value))
        if not new:
            return
        items = self._items(field)
        known = {wording.alike(text) for item in _each(items) for text in texts(self._reader.value(item))}
        for value in new:
            if wording.alike(value) not in known:
                known.add(wording.alike(value))
                items = self._made(items, field, kind)
                append_item(items, value)
                self._added.append((field, value))

    def _add_locations(self, landmarks: Sequence[NamedLandmark]) -> None:
        if not landmarks:
            return
        items = self._items(names.LOCATION_SHOWN)
        shown = [value for value in map(self._reader.value, _each(items)) if isinstance(value, dict)]
        known = {known for value in shown for known in texts(value.get(names.LOCATION_ID))}
        named = {wording.alike(name) for value in shown for name in texts(value.get(names.LOCATION_NAME))}
        for landmark in landmarks:
            urn = wording.clean(names.LANDMARK_URN + landmark.slug)
            name = wording.clean(landmark.name) or wording.clean(landmark.slug)
            if urn in known or wording.alike(name) in named:
                continue
            known.add(urn)
            items = self._made(items, names.LOCATION_SHOWN, names.BAG)
            _put_location(append_structure(items), landmark, name, urn)
            self._added.append((names.LOCATION_SHOWN, urn))

    def _add_position(self, position: Position | None) -> None:
        if position is None or not wording.is_on_earth(position.latitude, position.longitude):
            return
        # A datum or a method without a position is still somebody's, and would speak of ours.
        if places(self._rdf, *names.POSITION):
            return
        values = [*_coordinates(position.latitude, position.longitude), PROCESSING_METHOD]
        values.append(wording.metres(position.error_m) if math.isfinite(position.error_m) else "")
        for field, value in zip(names.POSITION, [*values, _DATUM], strict=True):
            if value:
                put_text(self.node, field, value)
                self._added.append((field, value))

    def _add_description(self, text: str) -> None:
        found = places(self._rdf, names.DESCRIPTION)
        if not text or len(found) > 1:
            return
        if not found:
            _put_default(new_container(self.node, names.DESCRIPTION, names.ALT), text)
            self._added.append((names.DESCRIPTION, text))
        elif (shell := self._empty_default(found[0].element)) is not None:
            shell.text = text
            self._added.append((names.FILLED_DESCRIPTION, text))

    def _empty_default(self, element: Element | None) -> Element | None:
        """The item that a text can go into, of a description that holds nothing else and no text."""
        if element is None or self._reader.value(element) != {names.DEFAULT_LANG: ""}:
            return None
        items = [item for item in element.iter(names.ITEM) if item.keys() == [names.LANG]]
        return items[0] if len(items) == 1 else None

    def _items(self, field: str) -> Element | None:
        place = only_place(self._rdf, field)
        if place is None:
            return None
        items = container(place)
        if items is None:
            raise refused(f"has {field} in another form than a list, so nothing can be added to it")
        if not elements(items) and field not in self._were_empty:
            self._were_empty.append(field)
        return items

    def _made(self, items: Element | None, field: str, kind: str) -> Element:
        return new_container(self.node, field, kind) if items is None else items


def _each(items: Element | None) -> list[Element]:
    return [] if items is None else elements(items)


def _put_location(item: Element, landmark: NamedLandmark, name: str, urn: str) -> None:
    _put_default(new_container(item, names.LOCATION_NAME, names.ALT), name)
    append_item(new_container(item, names.LOCATION_ID, names.BAG), urn)
    fields = {names.CITY: landmark.city, names.PROVINCE: landmark.region, names.COUNTRY: landmark.country}
    if landmark.extent == POINT and wording.is_on_earth(landmark.latitude, landmark.longitude):
        at = _coordinates(landmark.latitude or 0.0, landmark.longitude or 0.0)
        fields |= dict(zip((names.LATITUDE, names.LONGITUDE), at, strict=True))
    for field, text in _said(fields).items():
        put_text(item, field, text)


def _coordinates(latitude: float, longitude: float) -> tuple[str, str]:
    return wording.coordinate(latitude, "NS"), wording.coordinate(longitude, "EW")


def _put_default(items: Element, text: str) -> None:
    append_item(items, text).set(names.LANG, names.DEFAULT_LANG)


def _landmark(landmark: NamedLandmark) -> dict[str, str | None]:
    score = None if landmark.score is None else f"{landmark.score:.4f}"
    fields = {SLUG: landmark.slug, NAME: landmark.name, SCORE: score}
    return fields | {MODEL: landmark.model, VERDICT: landmark.verdict}


def _put_records(node: Element, field: str, records: Sequence[dict[str, str | None]]) -> None:
    if records:
        items = new_container(node, field, names.BAG)
        for record in records:
            append_record(items, _said(record))


def _said(fields: dict[str, str | None]) -> dict[str, str]:
    cleaned = {field: wording.clean(text) for field, text in fields.items()}
    return {field: text for field, text in cleaned.items() if text}
