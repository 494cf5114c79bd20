"""Where a packet's fields stand, and how one is put in or taken out. Knows nothing of which fields are whose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lxml import etree
from lxml.etree import _Element as Element

from tagger.metadata.xmp.names import ABOUT, BAG, ITEM, NODE, PARSE_TYPE, PREFIXES, SEQ, tag
from tagger.metadata.xmp.packet import refused
from tagger.metadata.xmp.properties import elements, name_of


@dataclass(frozen=True)
class Place:
    """A field in the node it belongs to: an element of it, or (None) one of its attributes."""

    node: Element
    tag: str
    element: Element | None

    def drop(self) -> None:
        """Take the field out."""
        if self.element is None:
            self.node.attrib.pop(self.tag)
        else:
            drop(self.element)


def places(rdf: Element, *fields: str) -> list[Place]:
    """Find fields, however often they are there."""
    return _places(rdf, frozenset(map(tag, fields)).__contains__)


def places_in(rdf: Element, namespace: str) -> list[Place]:
    """Find all fields of one namespace."""
    start = f"{{{namespace}}}"
    return _places(rdf, lambda name: name.startswith(start))


def only_place(rdf: Element, field: str) -> Place | None:
    """Find a field that something is to be added to.

    Raises:
        WriteRefused: it is there twice.
    """
    found = places(rdf, field)
    if len(found) > 1:
        raise refused(f"holds {field} more than once")
    return found[0] if found else None


def container(place: Place) -> Element | None:
    """Give the Bag or Seq that is the field's value; None where it is something else."""
    # With attributes it is a list with something said of it, or of another type.
    if place.element is None or place.element.attrib:
        return None
    found = elements(place.element)
    return found[0] if len(found) == 1 and found[0].tag in (BAG, SEQ) else None


def new_node(rdf: Element) -> Element:
    """Append a node that speaks of what the packet's first one speaks of."""
    nodes = elements(rdf)
    about = (nodes[0].get(ABOUT) or nodes[0].get("about") or "") if nodes else ""
    bound = {uri for prefix, uri in rdf.nsmap.items() if prefix}
    prefixes = {prefix: uri for uri, prefix in PREFIXES.items() if prefix != "xml" and uri not in bound}
    return etree.SubElement(rdf, NODE, {ABOUT: about}, nsmap=prefixes)


def tidy(node: Element) -> None:
    """Lay a new node out as people can read it, without the prefixes that it does not need."""
    etree.cleanup_namespaces(node)
    etree.indent(node, space=" ", level=2)
    before, around = node.getprevious(), node.getparent()
    if around is None:
        return
    node.tail = "\n "
    if before is None:
        around.text = "\n  "
    elif not (before.tail or "").strip():
        before.tail = "\n  "


def new_container(node: Element, field: str, kind: str) -> Element:
    """Put a field into a node, with an empty Bag, Seq or Alt."""
    return etree.SubElement(etree.SubElement(node, tag(field)), kind)


def put_text(node: Element, field: str, text: str) -> None:
    """Put a field with a plain text into a node."""
    etree.SubElement(node, tag(field)).text = text


def append_item(items: Element, text: str | None = None) -> Element:
    """Append an item to a container, laid out as the ones that are there."""
    last = items[-1] if len(items) else None
    item = etree.SubElement(items, ITEM)
    item.text = text
    if last is not None:
        item.tail, last.tail = last.tail, items.text
    return item


def append_structure(items: Element) -> Element:
    """Append an item that holds fields."""
    item = append_item(items)
    item.set(PARSE_TYPE, "Resource")
    return item


def append_record(items: Element, fields: Mapping[str, str]) -> None:
    """Append an item that holds plain texts, in the form that takes the least room."""
    item = append_item(items)
    for field, text in fields.items():
        item.set(tag(field), text)


def drop(element: Element) -> None:
    """Take an element out; what stood before it ends where it ended."""
    parent, before = element.getparent(), element.getprevious()
    if parent is None:
        return
    if before is not None and not (before.tail or "").strip():
        before.tail = element.tail
    parent.remove(element)


def drop_if_empty(node: Element) -> None:
    """Take a node out that no field is left in."""
    if not elements(node) and all(name in (ABOUT, "about") for name in node.attrib):
        drop(node)


def forget_namespace(rdf: Element, namespace: str) -> None:
    """Take out the prefixes of a namespace that nothing is left of, and no other."""
    declared = [found for _, found in etree.iterwalk(rdf.getroottree(), events=("start-ns",))]
    pairs = [found for found in declared if isinstance(found, tuple)]
    if any(uri == namespace for _, uri in pairs):
        kept = {prefix for prefix, uri in pairs if prefix and uri != namespace}
        etree.cleanup_namespaces(rdf.getroottree(), keep_ns_prefixes=sorted(kept))


def _places(rdf: Element, wanted: Callable[[str], bool]) -> list[Place]:
    found: list[Place] = []
    for node in elements(rdf):
        found += [Place(node, name, None) for name in map(str, node.attrib) if wanted(name)]
        found += [Place(node, name_of(part), part) for part in elements(node) if wanted(name_of(part))]
    return found
