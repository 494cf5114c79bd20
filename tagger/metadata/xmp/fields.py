"""Finding, adding and removing the fields of a packet. Knows nothing of which fields are ours."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

from lxml import etree
from lxml.etree import _Element as Element

from tagger.metadata.xmp.packet import is_blank, read_packet
from tagger.metadata.xmp.properties import elements, tag_of
from tagger.metadata.xmp.schema import (
    ABOUT,
    ALT,
    BAG,
    HIERARCHIES,
    ITEM,
    LISTS,
    LOCATION_SHOWN,
    NAMESPACES,
    NODE,
    PREFIXES,
    SEQ,
    TAGS_LIST,
    tag,
)

PHOTO_ONLY_FIELDS = (
    # Programs prefer a date in a sidecar over the camera's, which is more precise and has a time zone.
    *("xmp:CreateDate", "xmp:ModifyDate", "xmp:MetadataDate", "photoshop:DateCreated"),
    *("exif:DateTimeOriginal", "exif:DateTimeDigitized", "tiff:DateTime"),
    # A viewer that applies both orientations would rotate the image twice.
    "tiff:Orientation",
    # Refers to a block that only the photo has.
    "xmpNote:HasExtendedXMP",
)

SIDECAR_ONLY_FIELDS = ("photoshop:SidecarForExtension",)
"""What a copy of a sidecar for another file does not repeat."""

_LIST_FIELDS = dict.fromkeys((*LISTS, *(field for field, _ in HIERARCHIES), LOCATION_SHOWN))


@dataclass(frozen=True)
class Occurrence:
    """One occurrence of a field in a node: a child element, or an attribute if `element` is None."""

    node: Element
    tag: str
    element: Element | None

    def remove(self) -> None:
        if self.element is None:
            self.node.attrib.pop(self.tag)
        else:
            remove_element(self.element)


def find_fields(rdf: Element, *fields: str) -> list[Occurrence]:
    """Find all occurrences of these fields."""
    return _find(rdf, frozenset(map(tag, fields)).__contains__)


def find_namespace_fields(rdf: Element, namespace: str) -> list[Occurrence]:
    """Find all occurrences of fields in a namespace."""
    start = f"{{{namespace}}}"
    return _find(rdf, lambda name: name.startswith(start))


def list_container(occurrence: Occurrence) -> Element | None:
    """The Bag or Seq that is the field's value; None if the value is something else."""
    # With attributes, the value is a list with qualifiers or has another type.
    if occurrence.element is None or occurrence.element.attrib:
        return None
    found = elements(occurrence.element)
    return found[0] if len(found) == 1 and found[0].tag in (BAG, SEQ) else None


def new_node(rdf: Element) -> Element:
    """Append a node about the same subject as the packet's first node."""
    nodes = elements(rdf)
    about = (nodes[0].get(ABOUT) or nodes[0].get("about") or "") if nodes else ""
    bound = {uri for prefix, uri in rdf.nsmap.items() if prefix}
    prefixes = {prefix: uri for uri, prefix in PREFIXES.items() if prefix != "xml" and uri not in bound}
    return etree.SubElement(rdf, NODE, {ABOUT: about}, nsmap=prefixes)


def format_node(node: Element) -> None:
    """Indent a new node, and remove the prefixes that it does not use."""
    etree.cleanup_namespaces(node)
    etree.indent(node, space=" ", level=2)
    previous, parent = node.getprevious(), node.getparent()
    if parent is None:
        return
    node.tail = "\n "
    if previous is None:
        parent.text = "\n  "
    elif not (previous.tail or "").strip():
        previous.tail = "\n  "


def new_container(node: Element, field: str, kind: str) -> Element:
    """Add a field with an empty Bag, Seq or Alt to a node."""
    return etree.SubElement(etree.SubElement(node, tag(field)), kind)


def add_text(node: Element, field: str, text: str) -> None:
    """Add a field with a plain text to a node."""
    etree.SubElement(node, tag(field)).text = text


def append_item(items: Element, text: str | None = None) -> Element:
    """Append an item to a container, indented like the existing ones."""
    last = items[-1] if len(items) else None
    item = etree.SubElement(items, ITEM)
    item.text = text
    if last is not None:
        item.tail, last.tail = last.tail, items.text
    return item


def remove_element(element: Element) -> None:
    """Remove an element, and keep the indentation of the element after it."""
    parent, previous = element.getparent(), element.getprevious()
    if parent is None:
        return
    if previous is not None and not (previous.tail or "").strip():
        previous.tail = element.tail
    parent.remove(element)


def remove_if_empty(node: Element) -> None:
    """Remove a node that has no fields."""
    if not elements(node) and all(name in (ABOUT, "about") for name in node.attrib):
        remove_element(node)


def remove_namespace(rdf: Element, namespace: str) -> None:
    """Remove the prefixes of a namespace that is no longer used. All other prefixes stay."""
    declared = [found for _, found in etree.iterwalk(rdf.getroottree(), events=("start-ns",))]
    pairs = [found for found in declared if isinstance(found, tuple)]
    if any(uri == namespace for _, uri in pairs):
        used_prefixes = {prefix for prefix, uri in pairs if prefix and uri != namespace}
        etree.cleanup_namespaces(rdf.getroottree(), keep_ns_prefixes=sorted(used_prefixes))


def _find(rdf: Element, matches: Callable[[str], bool]) -> list[Occurrence]:
    found: list[Occurrence] = []
    for node in elements(rdf):
        found += [Occurrence(node, name, None) for name in map(str, node.attrib) if matches(name)]
        found += [
            Occurrence(node, tag_of(child), child) for child in elements(node) if matches(tag_of(child))
        ]
    return found


def sidecar_template(packet: bytes | None, left_out: Sequence[str] = PHOTO_ONLY_FIELDS) -> bytes | None:
    """The packet without the fields that are `left_out`, of a photo's packet dates, orientation and references to its other blocks; None
    without a packet.

    Lists that other programs have written in another form, like a single text or an Alt, become lists, which can be extended.

    Raises:
        WriteRefused: the packet cannot be read.
    """
    if packet is None or is_blank(packet):
        return None
    parsed = read_packet(packet)
    for occurrence in find_fields(parsed.rdf, *left_out):
        occurrence.remove()
    remove_namespace(parsed.rdf, NAMESPACES["xmpNote"])
    for field in _LIST_FIELDS:
        found = find_fields(parsed.rdf, field)
        if len(found) > 1 or any(list_container(occurrence) is None for occurrence in found):
            _rewrite_as_list(found, field)
    return parsed.serialise(0)


def _rewrite_as_list(occurrences: Sequence[Occurrence], field: str) -> None:
    """Replace the occurrences of a field with one list of their items."""
    items = [item for occurrence in occurrences for item in _item_copies(occurrence)]
    node = occurrences[0].node
    for occurrence in occurrences:
        occurrence.remove()
    if items:
        new_container(node, field, SEQ if field == TAGS_LIST else BAG).extend(items)


def _item_copies(occurrence: Occurrence) -> Iterator[Element]:
    element = occurrence.element
    if element is None:
        item = etree.Element(ITEM)
        item.text = occurrence.node.get(occurrence.tag)
        yield item
        return
    children = elements(element)
    is_list = len(children) == 1 and children[0].tag in (BAG, SEQ, ALT)
    for value in elements(children[0]) if is_list else [element]:
        item = deepcopy(value)
        item.tag, item.tail = ITEM, None
        yield item
