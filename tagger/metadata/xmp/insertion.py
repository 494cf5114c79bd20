"""Adding our values to a packet. Existing values stay unchanged, and a value that exists already is not ours.

The packet itself records every added value in `landmarkTagger:Added`, so the file alone suffices to remove
them (see removal).
"""

import math
from collections.abc import Iterable, Sequence

from lxml.etree import _Element as Element

from tagger.metadata.tag_fields import POINT, NamedLandmark, PositionEstimate, TagFields, keyword_key
from tagger.metadata.xmp import schema
from tagger.metadata.xmp.packet import (
    PADDING,
    add_text,
    append_item,
    category_paths,
    elements,
    find_fields,
    find_namespace_fields,
    format_node,
    is_blank,
    is_unqualified,
    list_container,
    new_container,
    new_node,
    new_packet,
    read_packet,
    remove_element,
    xmp_refused,
)
from tagger.metadata.xmp.properties import (
    ADDED_VALUE,
    FIELD,
    MODEL,
    NAME,
    SCORE,
    SLUG,
    VERDICT,
    PropertyReader,
    Value,
    is_blank_text,
    texts,
)

CREATED = "created"
_DATUM = "WGS-84"


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
        add_text(insertion.node, schema.SIDECAR if sidecar else schema.PACKET, CREATED)
    insertion.record(tag_fields.landmarks, also_added)
    return parsed.serialise(0 if sidecar else PADDING)


class _PacketInsertion:
    """Adds our values to one packet: new fields in a node of their own, and every value recorded."""

    def __init__(self, rdf: Element) -> None:
        if find_namespace_fields(rdf, schema.OUR_NAMESPACE):
            raise xmp_refused("holds landmark tags that another installation of this program wrote")
        self._rdf = rdf
        self._reader = PropertyReader(rdf)
        self._added: list[tuple[str, str]] = []
        self.node = new_node(rdf)

    def add_all(self, tag_fields: TagFields, repeated: Sequence[str]) -> None:
        if tag_fields.keywords or tag_fields.paths:
            self._add_keywords(tag_fields, repeated)
        self._add_locations(tag_fields.landmarks)
        self._add_position(tag_fields.position)
        self._add_description(schema.clean(tag_fields.description))

    def record(self, landmarks: Sequence[NamedLandmark], also_added: Sequence[tuple[str, str]]) -> None:
        """Record the landmarks and the values that were added for them."""
        _add_records(self.node, schema.LANDMARKS, [_landmark_record(landmark) for landmark in landmarks])
        records = [
            *self._added,
            *((schema.clean(field), schema.clean(value)) for field, value in also_added),
        ]
        _add_records(
            self.node, schema.ADDED, [{FIELD: field, ADDED_VALUE: value} for field, value in records]
        )
        if elements(self.node):
            format_node(self.node)
        else:
            remove_element(self.node)

    def _add_keywords(self, tag_fields: TagFields, repeated: Sequence[str]) -> None:
        existing_keywords = [*self._texts(schema.SUBJECT), *repeated]
        existing_paths = self._existing_paths()
        existing = {keyword_key(name) for path in existing_paths for name in path}
        all_paths = [
            *existing_paths,
            *((keyword,) for keyword in existing_keywords if keyword_key(keyword) not in existing),
        ]
        repeated_keywords = [] if self._texts(schema.SUBJECT) else repeated
        self._add_texts(
            schema.SUBJECT,
            schema.BAG,
            map(schema.clean, (*repeated_keywords, *tag_fields.keywords)),
        )
        for field, kind, format_path in (
            (schema.HIERARCHY, schema.BAG, schema.lightroom_path),
            (schema.TAGS_LIST, schema.SEQ, schema.digikam_path),
        ):
            repeated_paths = all_paths if tag_fields.paths and not self._texts(field) else []
            self._add_texts(field, kind, map(format_path, (*repeated_paths, *tag_fields.paths)))

    def _existing_paths(self) -> list[tuple[str, ...]]:
        """The owner's hierarchical keywords, from the first field that has any."""
        for field, separator in schema.HIERARCHIES:
            if paths := self._texts(field):
                return [tuple(path.split(separator)) for path in paths]
        return [path for text in self._texts(schema.CATEGORIES) for path in category_paths(text)]

    def _values(self, field: str) -> list[Value]:
        """The items of a field as exiftool reads them: of a list, several lists, a text or an attribute."""
        values: list[Value] = []
        for occurrence in find_fields(self._rdf, field):
            value = self._reader.value_of(occurrence)
            values += value if isinstance(value, list) else [] if is_blank_text(value) else [value]
        return values

    def _texts(self, field: str) -> list[str]:
        return [text for value in self._values(field) for text in texts(value) if text.strip()]

    def _add_texts(self, field: str, kind: str, values: Iterable[str]) -> None:
        existing = set(map(keyword_key, self._texts(field)))
        for value in filter(None, values):
            if keyword_key(value) not in existing:
                existing.add(keyword_key(value))
                append_item(self._container(field, kind), value)
                self._added.append((field, value))

    def _add_locations(self, landmarks: Sequence[NamedLandmark]) -> None:
        locations = [value for value in self._values(schema.LOCATION_SHOWN) if isinstance(value, dict)]
        existing_ids = {text for value in locations for text in texts(value.get(schema.LOCATION_ID))}
        existing_names = {
            keyword_key(name) for value in locations for name in texts(value.get(schema.LOCATION_NAME))
        }
        for landmark in landmarks:
            urn = schema.clean(schema.LANDMARK_URN + landmark.slug)
            name = schema.clean(landmark.name) or schema.clean(landmark.slug)
            if urn in existing_ids or keyword_key(name) in existing_names:
                continue
            existing_ids.add(urn)
            item = append_item(self._container(schema.LOCATION_SHOWN, schema.BAG))
            item.set(schema.PARSE_TYPE, "Resource")
            _add_location_fields(item, landmark, name, urn)
            self._added.append((schema.LOCATION_SHOWN, urn))

    def _add_position(self, position: PositionEstimate | None) -> None:
        if position is None or not schema.is_on_earth(position.latitude, position.longitude):
            return
        # An existing datum or method, even without a position, would misdescribe ours.
        if find_fields(self._rdf, *schema.POSITION):
            return
        values = [*_coordinates(position.latitude, position.longitude), position.method]
        values.append(schema.metres(position.error_m) if math.isfinite(position.error_m) else "")
        for field, value in zip(schema.POSITION, [*values, _DATUM], strict=True):
            if value:
                add_text(self.node, field, value)
                self._added.append((field, value))

    def _add_description(self, text: str) -> None:
        if text and not find_fields(self._rdf, schema.DESCRIPTION):
            _add_default_text(new_container(self.node, schema.DESCRIPTION, schema.ALT), text)
            self._added.append((schema.DESCRIPTION, text))

    def _container(self, field: str, kind: str) -> Element:
        """The list to which items are added. Texts in another form, or none, become a list of this kind."""
        found = find_fields(self._rdf, field)
        if len(found) == 1 and (items := list_container(found[0])) is not None:
            return items
        values = self._values(field)
        is_list_of_texts = all(isinstance(value, str) for value in values) and all(map(is_unqualified, found))
        if values and not is_list_of_texts:
            raise xmp_refused(f"has {field} in a form other than a list of texts, which cannot be extended")
        for occurrence in found:
            occurrence.remove()
        items = new_container(self.node, field, kind)
        for text in texts(values):
            append_item(items, text)
        return items


def _add_location_fields(item: Element, landmark: NamedLandmark, name: str, urn: str) -> None:
    _add_default_text(new_container(item, schema.LOCATION_NAME, schema.ALT), name)
    append_item(new_container(item, schema.LOCATION_ID, schema.BAG), urn)
    fields = {
        schema.CITY: landmark.city,
        schema.PROVINCE: landmark.region,
        schema.COUNTRY: landmark.country,
    }
    if landmark.extent == POINT and schema.is_on_earth(landmark.latitude, landmark.longitude):
        at = _coordinates(landmark.latitude or 0.0, landmark.longitude or 0.0)
        fields |= dict(zip((schema.LATITUDE, schema.LONGITUDE), at, strict=True))
    for field, text in _clean_fields(fields).items():
        add_text(item, field, text)


def _coordinates(latitude: float, longitude: float) -> tuple[str, str]:
    return schema.coordinate(latitude, "NS"), schema.coordinate(longitude, "EW")


def _add_default_text(items: Element, text: str) -> None:
    append_item(items, text).set(schema.LANG, schema.DEFAULT_LANG)


def _landmark_record(landmark: NamedLandmark) -> dict[str, str | None]:
    score = None if landmark.score is None else f"{landmark.score:.4f}"
    fields = {SLUG: landmark.slug, NAME: landmark.name, SCORE: score}
    return fields | {MODEL: landmark.model, VERDICT: landmark.verdict}


def _add_records(node: Element, field: str, records: Sequence[dict[str, str | None]]) -> None:
    if records:
        items = new_container(node, field, schema.BAG)
        for record in records:
            item = append_item(items)
            for name, text in _clean_fields(record).items():
                item.set(schema.tag(name), text)


def _clean_fields(fields: dict[str, str | None]) -> dict[str, str]:
    cleaned = {field: schema.clean(text) for field, text in fields.items()}
    return {field: text for field, text in cleaned.items() if text}
