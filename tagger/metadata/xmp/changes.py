"""Adding our values to a packet, and removing them. Existing values stay unchanged.

The packet itself records every value that we added in `landmarkTagger:Added`, so the file alone suffices to
remove them. A value that exists already is not ours.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from lxml.etree import _Element as Element

from tagger.geo import is_on_earth
from tagger.metadata import (
    POINT,
    NamedLandmark,
    PositionEstimate,
    TagFields,
    keyword_key,
)
from tagger.metadata.xmp import (
    ADDED_VALUE,
    FIELD,
    MODEL,
    NAME,
    SCORE,
    SLUG,
    VERDICT,
    PropertyReader,
    Value,
    added_in_properties,
    is_blank_text,
    texts,
)
from tagger.metadata.xmp.packet import (
    ADDED,
    ALT,
    BAG,
    CATEGORIES,
    CITY,
    COUNTRY,
    DEFAULT_LANG,
    DESCRIPTION,
    FILLED_DESCRIPTION,
    GPS_DATUM,
    GPS_ERROR,
    GPS_METHOD,
    HIERARCHIES,
    HIERARCHY,
    LANDMARK_URN,
    LANDMARKS,
    LANG,
    LATITUDE,
    LIST_FIELDS,
    LOCATION_CREATED,
    LOCATION_ID,
    LOCATION_NAME,
    LOCATION_SHOWN,
    LOCATIONS,
    LONGITUDE,
    OUR_NAMESPACE,
    PACKET,
    PADDING,
    PARSE_TYPE,
    POSITION,
    PROVINCE,
    SEQ,
    SIDECAR,
    SUBJECT,
    SUBLOCATION,
    SUBLOCATION_TEXT,
    TAGS_LIST,
    WRITABLE_FIELDS,
    Occurrence,
    add_text,
    append_item,
    category_paths,
    clean,
    coordinate,
    digikam_path,
    elements,
    find_fields,
    find_namespace_fields,
    format_node,
    is_blank,
    is_unqualified,
    lightroom_path,
    list_container,
    new_container,
    new_node,
    new_packet,
    read_packet,
    remove_element,
    remove_if_empty,
    remove_namespace,
    same_coordinate,
    tag,
    xmp_refused,
)


def add(
    packet: bytes | None,
    tag_fields: TagFields,
    *,
    sidecar: bool,
    created: bool = False,
    repeated: Sequence[str] = (),
    also_added: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Merge our values into a packet that has none of them, or into a new packet.

    `created` says that the file is new although the packet is a copy of the owner's. `repeated` are the
    owner's keywords in EXIF and IPTC: most programs read keywords from the first field that has any, so a
    field that we create must repeat them. `also_added` are values that are added to EXIF or IPTC at the same
    time, such as ("EXIF:XPKeywords", "Eiffel Tower").

    Raises:
        WriteRefused: the packet cannot be read, or has a field in a form that cannot be extended.
    """
    if packet is not None and is_blank(packet):
        packet = None
    parsed = new_packet(wrapped=not sidecar) if packet is None else read_packet(packet)
    insertion = _PacketInsertion(parsed.rdf)
    insertion.add_all(tag_fields, repeated)
    if packet is None or created:
        add_text(insertion.node, SIDECAR if sidecar else PACKET, "created")
    insertion.record(tag_fields.landmarks, also_added)
    return parsed.serialise(0 if sidecar else PADDING)


class _PacketInsertion:
    # Adds our values to one packet: new fields in a node of their own, and every value recorded.
    def __init__(self, rdf: Element) -> None:
        if find_namespace_fields(rdf, OUR_NAMESPACE):
            raise xmp_refused(
                "holds landmark tags that another installation of this program wrote"
            )
        self._rdf = rdf
        self._reader = PropertyReader(rdf)
        self._added: list[tuple[str, str]] = []
        self.node = new_node(rdf)

    def add_all(self, tag_fields: TagFields, repeated: Sequence[str]) -> None:
        if tag_fields.keywords or tag_fields.paths:
            self._add_keywords(tag_fields, repeated)
        self._add_locations(LOCATION_SHOWN, tag_fields.landmarks)
        self._add_position(tag_fields.position)
        text = clean(tag_fields.description)
        if text and not find_fields(self._rdf, DESCRIPTION):
            _add_default_text(new_container(self.node, DESCRIPTION, ALT), text)
            self._added.append((DESCRIPTION, text))

    def record(
        self,
        landmarks: Sequence[NamedLandmark],
        also_added: Sequence[tuple[str, str]],
    ) -> None:
        landmark_records = [
            {
                SLUG: landmark.slug,
                NAME: landmark.name,
                SCORE: None if landmark.score is None else f"{landmark.score:.4f}",
                MODEL: landmark.model,
                VERDICT: landmark.verdict,
            }
            for landmark in landmarks
        ]
        _add_records(self.node, LANDMARKS, landmark_records)
        records = [
            *self._added,
            *((clean(field), clean(value)) for field, value in also_added),
        ]
        _add_records(
            self.node,
            ADDED,
            [{FIELD: field, ADDED_VALUE: value} for field, value in records],
        )
        if elements(self.node):
            format_node(self.node)
        else:
            remove_element(self.node)

    def _add_keywords(self, tag_fields: TagFields, repeated: Sequence[str]) -> None:
        existing_keywords = [*self._texts(SUBJECT), *repeated]
        existing_paths = self._existing_paths()
        existing = {keyword_key(name) for path in existing_paths for name in path}
        all_paths = [
            *existing_paths,
            *(
                (keyword,)
                for keyword in existing_keywords
                if keyword_key(keyword) not in existing
            ),
        ]
        repeated_keywords = [] if self._texts(SUBJECT) else repeated
        self._add_texts(
            SUBJECT,
            BAG,
            map(clean, (*repeated_keywords, *tag_fields.keywords)),
        )
        for field, kind, format_path in (
            (HIERARCHY, BAG, lightroom_path),
            (TAGS_LIST, SEQ, digikam_path),
        ):
            repeated_paths = (
                all_paths if tag_fields.paths and not self._texts(field) else []
            )
            self._add_texts(
                field,
                kind,
                map(format_path, (*repeated_paths, *tag_fields.paths)),
            )

    def _existing_paths(self) -> list[tuple[str, ...]]:
        # The owner's hierarchical keywords, from the first field that has any.
        for field, separator in HIERARCHIES:
            if paths := self._texts(field):
                return [tuple(path.split(separator)) for path in paths]
        return [
            path for text in self._texts(CATEGORIES) for path in category_paths(text)
        ]

    def _values(self, field: str) -> list[Value]:
        # The items of a field as exiftool reads them: of a list, several lists, a text or an attribute.
        values: list[Value] = []
        for occurrence in find_fields(self._rdf, field):
            value = self._reader.value_of(occurrence)
            if isinstance(value, list):
                values += value
            elif not is_blank_text(value):
                values.append(value)
        return values

    def _texts(self, field: str) -> list[str]:
        return [
            text
            for value in self._values(field)
            for text in texts(value)
            if text.strip()
        ]

    def _add_texts(self, field: str, kind: str, values: Iterable[str]) -> None:
        existing = set(map(keyword_key, self._texts(field)))
        for value in filter(None, values):
            if keyword_key(value) not in existing:
                existing.add(keyword_key(value))
                append_item(self._container(field, kind), value)
                self._added.append((field, value))

    def _add_locations(self, field: str, landmarks: Sequence[NamedLandmark]) -> None:
        locations = [value for value in self._values(field) if isinstance(value, dict)]
        existing_ids = {
            text for value in locations for text in texts(value.get(LOCATION_ID))
        }
        existing_names = {
            keyword_key(name)
            for value in locations
            for name in texts(value.get(LOCATION_NAME))
        }
        for landmark in landmarks:
            urn = clean(LANDMARK_URN + landmark.slug)
            name = clean(landmark.name) or clean(landmark.slug)
            if urn in existing_ids or keyword_key(name) in existing_names:
                continue
            existing_ids.add(urn)
            item = append_item(self._container(field, BAG))
            item.set(PARSE_TYPE, "Resource")
            _add_default_text(new_container(item, LOCATION_NAME, ALT), name)
            append_item(new_container(item, LOCATION_ID, BAG), urn)
            fields = {
                CITY: landmark.city,
                PROVINCE: landmark.region,
                COUNTRY: landmark.country,
            }
            latitude, longitude = landmark.latitude, landmark.longitude
            if landmark.extent == POINT and is_on_earth(latitude, longitude):
                at = _coordinates(latitude or 0.0, longitude or 0.0)
                fields |= dict(zip((LATITUDE, LONGITUDE), at, strict=True))
            for part, text in _clean_fields(fields).items():
                add_text(item, part, text)
            if field == LOCATION_CREATED:
                add_text(item, SUBLOCATION, name)
            self._added.append((field, urn))

    def _add_position(self, position: PositionEstimate | None) -> None:
        # An existing datum or method, even without a position, would misdescribe ours.
        if (
            position is None
            or not is_on_earth(position.latitude, position.longitude)
            or find_fields(self._rdf, *POSITION)
        ):
            return
        values = [*_coordinates(position.latitude, position.longitude), position.method]
        # Whole metres, as a rational number.
        error_m = position.error_m
        values.append(f"{math.ceil(error_m)}/1" if math.isfinite(error_m) else "")
        for field, value in zip(POSITION, [*values, "WGS-84"], strict=True):
            if value:
                add_text(self.node, field, value)
                self._added.append((field, value))
        # A photo was taken in one place: what is stated of it stays.
        if position.sight is not None and not find_fields(
            self._rdf, LOCATION_CREATED, SUBLOCATION_TEXT
        ):
            name = clean(position.sight.name)
            self._add_locations(LOCATION_CREATED, [position.sight])
            add_text(self.node, SUBLOCATION_TEXT, name)
            self._added.append((SUBLOCATION_TEXT, name))

    def _container(self, field: str, kind: str) -> Element:
        # The list to which items are added. Texts in another form, or none, become a list of this kind.
        occurrences = find_fields(self._rdf, field)
        if (
            len(occurrences) == 1
            and (items := list_container(occurrences[0])) is not None
        ):
            return items
        values = self._values(field)
        is_list_of_texts = all(isinstance(value, str) for value in values) and all(
            map(is_unqualified, occurrences)
        )
        if values and not is_list_of_texts:
            raise xmp_refused(
                f"has {field} in a form other than a list of texts, which cannot be extended"
            )
        for occurrence in occurrences:
            occurrence.remove()
        items = new_container(self.node, field, kind)
        for text in texts(values):
            append_item(items, text)
        return items


def _coordinates(latitude: float, longitude: float) -> tuple[str, str]:
    return coordinate(latitude, "NS"), coordinate(longitude, "EW")


def _add_default_text(items: Element, text: str) -> None:
    append_item(items, text).set(LANG, DEFAULT_LANG)


def _add_records(
    node: Element,
    field: str,
    records: Sequence[dict[str, str | None]],
) -> None:
    if records:
        items = new_container(node, field, BAG)
        for record in records:
            item = append_item(items)
            for name, text in _clean_fields(record).items():
                item.set(tag(name), text)


def _clean_fields(fields: dict[str, str | None]) -> dict[str, str]:
    cleaned = {field: clean(text) for field, text in fields.items()}
    return {field: text for field, text in cleaned.items() if text}


# Removing our values from a packet. Other programs may have rewritten it in another form.
#
# A value is removed only if the packet records it as ours and it still is what we wrote.

_LOCATION_FIELDS = {
    *(LOCATION_NAME, LOCATION_ID, CITY, PROVINCE, COUNTRY),
    *(LATITUDE, LONGITUDE),
}


def remove(packet: bytes) -> bytes | None:
    """The packet without our values; None if we created the packet and nothing remains.

    Raises:
        WriteRefused: the packet cannot be read.
    """
    parsed = read_packet(packet)
    if not find_namespace_fields(parsed.rdf, OUR_NAMESPACE):
        return packet
    created_by_us = bool(find_fields(parsed.rdf, SIDECAR, PACKET))
    _PacketRemoval(parsed.rdf).remove_all()
    if created_by_us and not PropertyReader(parsed.rdf).properties():
        return None
    return parsed.serialise(0)


class _PacketRemoval:
    def __init__(self, rdf: Element) -> None:
        self._rdf = rdf
        self._reader = PropertyReader(rdf)
        self._added: dict[str, Counter[str]] = {}
        for field, value in added_in_properties(self._reader.properties()):
            self._added.setdefault(field, Counter())[value] += 1

    def remove_all(self) -> None:
        ours = find_namespace_fields(self._rdf, OUR_NAMESPACE)
        nodes = {
            field.node: None
            for field in (*find_fields(self._rdf, *WRITABLE_FIELDS), *ours)
        }
        for field in LIST_FIELDS:
            self._remove_items(field)
        coordinates = [
            self._unchanged_occurrences(field) for field in (LATITUDE, LONGITUDE)
        ]
        # A latitude without a longitude is not a position.
        removed = coordinates if all(coordinates) else []
        for field in (GPS_METHOD, GPS_ERROR, GPS_DATUM, SUBLOCATION_TEXT):
            removed.append(self._unchanged_occurrences(field))
        for occurrences in removed:
            for occurrence in occurrences:
                occurrence.remove()
        self._remove_description()
        for occurrence in ours:
            occurrence.remove()
        for node in nodes:
            remove_if_empty(node)
        remove_namespace(self._rdf, OUR_NAMESPACE)

    def _remove_items(self, field: str) -> None:
        remaining = self._added.get(field, Counter())
        for occurrence in reversed(find_fields(self._rdf, field)):
            # Some programs write a single keyword without a list.
            if remaining[self._plain_text(occurrence)] > 0:
                remaining[self._plain_text(occurrence)] -= 1
                occurrence.remove()
                continue
            if occurrence.element is not None:
                items = [
                    item
                    for container in elements(occurrence.element)
                    for item in elements(container)
                ]
                removed = 0
                # Ours were added last, so of equal values the last is removed.
                for item in reversed(items):
                    value = self._identity(field, self._reader.value(item))
                    if remaining[value] > 0:
                        remaining[value] -= 1
                        removed += 1
                        remove_element(item)
                if removed and removed == len(items):
                    remove_element(occurrence.element)

    def _identity(self, field: str, value: Value) -> str:
        # The item's name in `Added`: its text, or the identifier of a location that nobody has extended.
        if field not in LOCATIONS:
            return value if isinstance(value, str) else ""
        if not isinstance(value, dict):
            return ""
        # A sublocation is ours where a photo was taken, as the name of the sight: others write streets.
        known = set(_LOCATION_FIELDS)
        if field == LOCATION_CREATED and value.get(SUBLOCATION) in texts(
            value.get(LOCATION_NAME)
        ):
            known.add(SUBLOCATION)
        if not value.keys() <= known:
            return ""
        identifiers = value.get(LOCATION_ID)
        only = (
            identifiers[0]
            if isinstance(identifiers, list) and len(identifiers) == 1
            else identifiers
        )
        return only if isinstance(only, str) else ""

    def _unchanged_occurrences(self, field: str) -> list[Occurrence]:
        our_values = list(self._added.get(field, ()))
        return [
            occurrence
            for occurrence in find_fields(self._rdf, field)
            if any(
                same_coordinate(self._plain_text(occurrence), value)
                for value in our_values
            )
        ]

    def _remove_description(self) -> None:
        # Also one that version 1 put in the place of an empty text.
        descriptions = {
            *self._added.get(DESCRIPTION, ()),
            *self._added.get(FILLED_DESCRIPTION, ()),
        }
        for occurrence in find_fields(self._rdf, DESCRIPTION):
            if self._plain_text(occurrence) in descriptions:
                occurrence.remove()
            elif occurrence.element is not None:
                items = [
                    item
                    for container in elements(occurrence.element)
                    for item in elements(container)
                ]
                for item in items:
                    if (
                        item.get(LANG) == DEFAULT_LANG
                        and (item.text or "") in descriptions
                    ):
                        remove_element(occurrence.element if len(items) == 1 else item)

    def _plain_text(self, occurrence: Occurrence) -> str:
        value = self._reader.value_of(occurrence)
        return value if isinstance(value, str) else ""
