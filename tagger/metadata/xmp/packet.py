"""XMP packets: parsed to XML trees, changed field by field, and serialised without other changes; and the
schema of the fields that this program writes.

Packets are changed in UTF-8 only, in which nearly all programs write them; those of Canon's programs, in
UTF-16, are read. The input may be hostile: packets beyond the limits below are refused, so that all later
steps take linear time.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lxml import etree
from lxml.etree import _Element as Element

from tagger.metadata import RefusalKind, WriteRefused
from tagger.texts import encoding_of

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
OUR_NAMESPACE = "urn:landmark-tagger:xmp:1.0/"
OUR_PREFIX = "landmarkTagger"
LANDMARK_URN = "urn:landmark-tagger:landmark:"

# Those of fields that are written or left out of sidecars. Others have the prefix of their packet.
NAMESPACES = {
    OUR_PREFIX: OUR_NAMESPACE,
    "x": META,
    "xml": "http://www.w3.org/XML/1998/namespace",
    "rdf": RDF,
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "MicrosoftPhoto1.0": "http://ns.microsoft.com/photo/1.0",  # as Windows and exiftool may write it
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
    "acdsee": "http://ns.acdsee.com/iptc/1.0/",
}
PREFIXES = {uri: prefix for prefix, uri in NAMESPACES.items()}

SUBJECT = "dc:subject"
DESCRIPTION = "dc:description"
# The name in `Added` of a text with which version 1 replaced an empty one.
FILLED_DESCRIPTION = "dc:description[x-default]"
HIERARCHY = "lr:hierarchicalSubject"
TAGS_LIST = "digiKam:TagsList"
# The fields for hierarchical keywords, in the order in which digiKam reads them, and their
# separators.
HIERARCHIES = (
    (TAGS_LIST, "/"),
    ("MicrosoftPhoto:LastKeywordXMP", "/"),
    ("MicrosoftPhoto1.0:LastKeywordXMP", "/"),
    (HIERARCHY, "|"),
    ("mediapro:CatalogSets", "|"),
)
# The hierarchical keywords of ACDSee, as XML in a text, which digiKam reads last.
CATEGORIES = "acdsee:categories"
LOCATION_SHOWN, LOCATION_CREATED = (
    "Iptc4xmpExt:LocationShown",
    "Iptc4xmpExt:LocationCreated",
)
LOCATIONS = (LOCATION_SHOWN, LOCATION_CREATED)
# As Photoshop and Lightroom show it.
SUBLOCATION_TEXT = "Iptc4xmpCore:Location"
LOCATION_ID = "Iptc4xmpExt:LocationId"
LOCATION_NAME = "Iptc4xmpExt:LocationName"
SUBLOCATION = "Iptc4xmpExt:Sublocation"
CITY, PROVINCE, COUNTRY = (
    "Iptc4xmpExt:City",
    "Iptc4xmpExt:ProvinceState",
    "Iptc4xmpExt:CountryName",
)
LATITUDE, LONGITUDE = "exif:GPSLatitude", "exif:GPSLongitude"
GPS_METHOD, GPS_ERROR, GPS_DATUM = (
    "exif:GPSProcessingMethod",
    "exif:GPSHPositioningError",
    "exif:GPSMapDatum",
)
POSITION = (LATITUDE, LONGITUDE, GPS_METHOD, GPS_ERROR, GPS_DATUM)
LISTS = (SUBJECT, HIERARCHY, TAGS_LIST)
LIST_FIELDS = (*LISTS, *LOCATIONS)

LANDMARKS, ADDED = f"{OUR_PREFIX}:Landmarks", f"{OUR_PREFIX}:Added"
SIDECAR, PACKET = f"{OUR_PREFIX}:Sidecar", f"{OUR_PREFIX}:Packet"

# Every field that may hold our values.
WRITABLE_FIELDS = frozenset(
    (
        *LIST_FIELDS,
        DESCRIPTION,
        SUBLOCATION_TEXT,
        *POSITION,
        LANDMARKS,
        ADDED,
        SIDECAR,
        PACKET,
    )
)


def tag(name: str) -> str:
    """The XML name of "dc:subject": "{http://purl.org/dc/elements/1.1/}subject"."""
    prefix, _, local = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


BAG, SEQ, ALT, ITEM = tag("rdf:Bag"), tag("rdf:Seq"), tag("rdf:Alt"), tag("rdf:li")
NODE, ABOUT = tag("rdf:Description"), tag("rdf:about")
PARSE_TYPE, LANG = tag("rdf:parseType"), tag("xml:lang")
DEFAULT_LANG = "x-default"


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Degrees, minutes and seconds, the last with decimals, and the direction or, from some, a sign.
# Programs write floating-point numbers with 17 digits, before which there may be zeros.
_COORDINATE = re.compile(
    r"([+-]?)(\d{1,3}(?:\.\d{1,20})?)(?:,(\d{1,2}(?:\.\d{1,20})?)(?:,(\d{1,2}(?:\.\d{1,20})?))?)?([NSEW]?)",
    re.ASCII,
)
_SAME_DEGREES = 1e-5


def clean(text: str | None) -> str:
    """Remove characters that XML cannot hold; "" if only white space remains."""
    cleaned = _NOT_XML.sub("", text or "")
    return cleaned if cleaned.strip() else ""


def lightroom_path(names: tuple[str, ...]) -> str:
    """'Places|France|Paris'; a '|' within a name is written '¦'."""
    return "|".join(_path_names(names))


def digikam_path(names: tuple[str, ...]) -> str:
    """'Places/France/Paris'; a '/' within a name is written as a backslash, as digiKam does."""
    return "/".join(name.replace("/", "\\") for name in _path_names(names))


def coordinate(degrees: float, directions: str) -> str:
    """'48,51.5040N' for 48.8584 and "NS": degrees, and minutes to 20 centimetres."""
    parts = round(abs(degrees) * 600_000)
    whole, rest = divmod(parts, 600_000)
    return f"{whole},{rest // 10_000}.{rest % 10_000:04d}{directions[degrees < 0]}"


def same_coordinate(first: str, second: str) -> bool:
    """Whether both texts are the same coordinate: other programs write more or fewer decimals."""
    first_degrees, second_degrees = degrees_of(first), degrees_of(second)
    return first == second or (
        first_degrees is not None
        and second_degrees is not None
        and abs(first_degrees - second_degrees) < _SAME_DEGREES
    )


def degrees_of(text: str, direction: str = "") -> float | None:
    """The degrees of a coordinate: `48,51.504N` or `48,51,30.24N`, its `direction` elsewhere, or `48.8584`.

    None: it is none, or its hemisphere is not known.
    """
    match = _COORDINATE.fullmatch("".join(text.split()).upper())
    if match is None:
        return None
    sign, *parts, letter = match.groups()
    beside = direction.strip().upper()[:1]
    stated = letter or beside
    is_decimal = parts[1] is None
    is_contradictory = (sign == "-" and stated in ("N", "E")) or (
        letter and beside and letter != beside
    )
    if is_contradictory or not (stated or is_decimal):
        return None
    degrees = 0.0
    for part, unit, is_last in zip(
        parts,
        (1, 60, 3600),
        (is_decimal, parts[2] is None, True),
        strict=True,
    ):
        if part is None:
            break
        if (unit > 1 and float(part) >= 60) or (not is_last and "." in part):
            return None
        degrees += float(part) / unit
    return -degrees if sign == "-" or stated in ("S", "W") else degrees


def _path_names(names: tuple[str, ...]) -> list[str]:
    return [name for name in (clean(name).replace("|", "¦") for name in names) if name]


# The trees of packets.

PADDING = 2048
# Padding never grows a packet beyond the size of a JPEG segment.
_JPEG_ROOM = 65_502
# The largest packets hold the depth maps of phones.
_SIZE_LIMIT = 32 << 20
_NODE_LIMIT = 100_000
_DEPTH_LIMIT = 64
# The most attributes of one element: lxml takes quadratic time for them.
_ATTRIBUTE_LIMIT = 2_000
_NAMESPACE_LIMIT = 2_000
_NAME_LIMIT = 1_000

_PADDING_CHARACTERS = "\0\ufeff \t\r\n"
_HEAD = re.compile(
    r"""(?:<\?xml\s+version=["']1\.0["'][^>]*\?>|<\?xpacket\s+begin[^>]*\?>|\s)*"""
)
_TAIL = re.compile(r"<\?xpacket\s+end\s*=[^>]*\?>")
_DECLARED = re.compile(r"""\sencoding\s*=\s*(["'])([^"']*)\1""")
_WRITTEN = re.compile(r"utf-?8|us-ascii", re.IGNORECASE)
_CATEGORY = "Category"


@dataclass(frozen=True)
class Packet:
    """A parsed packet. Changes of `rdf` appear in the output of `serialise`.

    `head` and `tail` are the wrapper, "" if there is none. `padding` and `size` are the original numbers of
    bytes.
    """

    rdf: Element
    head: str = ""
    tail: str = ""
    padding: int = 0
    size: int = 0

    def serialise(self, new_padding: int) -> bytes:
        """The packet as bytes, of its size before if its padding has room, else with `new_padding`."""
        body = etree.tostring(self.rdf.getroottree(), encoding="unicode")
        start, end = (self.head + body).encode(), self.tail.encode()
        if not self.tail:
            return start
        length = len(start) + len(end)
        has_room = self.padding and self.size >= length
        padding = (
            self.size - length
            if has_room
            else max(1, min(new_padding, _JPEG_ROOM - length))
        )
        # Padding as XMP requires it: lines of spaces, so that text editors can open the file.
        lines = (b" " * 99 + b"\n") * (padding // 100 + 1)
        return start + (lines[-padding:] if padding > 0 else b"") + end


def new_packet(*, wrapped: bool) -> Packet:
    """An empty packet, `wrapped` for embedding, or without wrapper for sidecars."""
    root = etree.Element(
        f"{{{META}}}xmpmeta", {f"{{{META}}}xmptk": "landmark-tagger"}, nsmap={"x": META}
    )
    root.text = "\n "
    rdf = etree.SubElement(root, tag("rdf:RDF"), nsmap={"rdf": RDF})
    rdf.tail = "\n"
    if not wrapped:
        return Packet(rdf)
    return Packet(
        rdf,
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n',
        '<?xpacket end="w"?>',
    )


def read_packet(packet: bytes) -> Packet:
    """Parse a packet.

    Raises:
        WriteRefused: it is not XMP, is broken, or exceeds a limit.
    """
    if len(packet) > _SIZE_LIMIT:
        raise xmp_refused(f"has {len(packet):,} bytes, which exceeds the limit")
    text = _decode(packet).strip(_PADDING_CHARACTERS)
    match = _HEAD.match(text)
    end = match.end() if match else 0
    for declaration in _DECLARED.finditer(text[:end]):
        if not _WRITTEN.fullmatch(declaration[2]):
            raise xmp_refused(
                f"declares the encoding {declaration[2][:40]!r}, and only UTF-8 is read"
            )
    head, body, tail = text[:end], text[end:], ""
    tail_at = body.rfind("<?xpacket")
    if tail_at >= 0 and _TAIL.fullmatch(body, tail_at):
        body, tail = body[:tail_at], body[tail_at:]
    stripped = body.rstrip(_PADDING_CHARACTERS)
    padding = len(body) - len(stripped) if tail else 0
    roots = list(_parse(stripped).iter(tag("rdf:RDF")))
    if len(roots) != 1:
        raise xmp_refused(f"holds {len(roots)} rdf:RDF elements instead of one")
    return Packet(roots[0], head, tail, padding, len(packet))


def utf8_packet(packet: bytes) -> bytes:
    """A packet in UTF-8, also of one in UTF-16, as Canon's programs write it."""
    encoding = _encoding(packet)
    if encoding == "utf-8":
        return packet
    text = packet.decode(encoding, "replace").strip(_PADDING_CHARACTERS)
    end = head.end() if (head := _HEAD.match(text)) else 0
    return (_DECLARED.sub("", text[:end]) + text[end:]).encode()


def is_blank(packet: bytes) -> bool:
    """Whether a packet holds only padding: some programs reserve room for a packet and write none."""
    return len(packet) <= _SIZE_LIMIT and not packet.strip(b"\0 \t\r\n")


def xmp_refused(problem: str) -> WriteRefused:
    """The refusal of a packet. `problem` continues the sentence "The existing XMP …"."""
    return WriteRefused(
        RefusalKind.XMP,
        f"The existing XMP {problem}. Write it again with the program that created it, or remove it.",
    )


def _encoding(packet: bytes) -> Literal["utf-8", "utf-16-le", "utf-16-be"]:
    return (
        encoding_of(packet) if b"\0" in packet[2:4] else "utf-8"
    )  # a single zero may be padding


def _decode(packet: bytes) -> str:
    if _encoding(packet) != "utf-8":
        raise xmp_refused("is encoded in UTF-16, in which it is read and never changed")
    try:
        return packet.decode()
    except UnicodeDecodeError:
        raise xmp_refused("is not encoded in UTF-8") from None


def _parse(text: str) -> Element:
    if "<!DOCTYPE" in text:
        raise xmp_refused("holds a DOCTYPE, which XMP does not allow")
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        strip_cdata=False,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise xmp_refused(
            f"cannot be read as XML from line {line}, column {column} on"
        ) from None
    nodes = depth = namespaces = 0
    for event, item in etree.iterwalk(
        root, events=("start-ns", "start", "end", "comment", "pi")
    ):
        if isinstance(item, tuple):
            _check_names(item[1])
            namespaces += 1
        elif event == "start" and item is not None:
            _check_names(str(item.tag), *map(str, item.attrib))
            nodes += len(item.attrib)
            if len(item.attrib) > _ATTRIBUTE_LIMIT:
                raise xmp_refused("has an element with too many attributes")
        depth += {"start": 1, "end": -1}.get(event, 0)
        nodes += event != "end"
        if nodes > _NODE_LIMIT or depth > _DEPTH_LIMIT or namespaces > _NAMESPACE_LIMIT:
            raise xmp_refused("has too many or too deeply nested elements")
    return root


def _check_names(*names: str) -> None:
    if any(len(name) > _NAME_LIMIT for name in names):
        raise xmp_refused("has names that are too long")


def elements(parent: Element) -> list[Element]:
    """The child elements, without comments."""
    return list(parent.iterchildren(tag=etree.Element))


def tag_of(element: Element) -> str:
    return str(element.tag)


PHOTO_ONLY_FIELDS = (
    # Programs prefer a date in a sidecar over the camera's, which is more precise and has a time zone.
    *("xmp:CreateDate", "xmp:ModifyDate", "xmp:MetadataDate", "photoshop:DateCreated"),
    *("exif:DateTimeOriginal", "exif:DateTimeDigitized", "tiff:DateTime"),
    # A viewer that applies both orientations would rotate the image twice.
    "tiff:Orientation",
    # Refers to a block that only the photo has.
    "xmpNote:HasExtendedXMP",
)

# What a copy of a sidecar for another file does not repeat.
SIDECAR_ONLY_FIELDS = ("photoshop:SidecarForExtension",)


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
    return _find(rdf, frozenset(map(tag, fields)).__contains__)


def find_namespace_fields(rdf: Element, namespace: str) -> list[Occurrence]:
    start = f"{{{namespace}}}"
    return _find(rdf, lambda name: name.startswith(start))


def list_container(occurrence: Occurrence) -> Element | None:
    # With attributes, the value is a list with qualifiers or has another type.
    if occurrence.element is None or occurrence.element.attrib:
        return None
    containers = elements(occurrence.element)
    return (
        containers[0]
        if len(containers) == 1 and containers[0].tag in (BAG, SEQ)
        else None
    )


def is_unqualified(occurrence: Occurrence) -> bool:
    """Whether a field and its items are without attributes, which give them qualifiers or another type."""
    return occurrence.element is None or not any(
        each.attrib for each in occurrence.element.iter()
    )


def category_paths(text: str) -> list[tuple[str, ...]]:
    """The paths of ACDSee's categories that are assigned to a photo; none if they cannot be read."""
    try:
        root = _parse(text)
    except WriteRefused:
        return []
    paths = (
        [
            each.text or ""
            for each in reversed([category, *category.iterancestors(_CATEGORY)])
        ]
        for category in root.iter(_CATEGORY)
        if category.get("Assigned") == "1"
    )
    return [tuple(name.strip() for name in path) for path in paths]


def new_node(rdf: Element) -> Element:
    """Append a node about the same subject as the packet's first node."""
    nodes = elements(rdf)
    about = (nodes[0].get(ABOUT) or nodes[0].get("about") or "") if nodes else ""
    bound = {uri for prefix, uri in rdf.nsmap.items() if prefix}
    prefixes = {
        prefix: uri
        for uri, prefix in PREFIXES.items()
        if prefix != "xml" and uri not in bound
    }
    return etree.SubElement(rdf, NODE, {ABOUT: about}, nsmap=prefixes)


def format_node(node: Element) -> None:
    """Indent a new node, and remove the prefixes that it does not use."""
    etree.cleanup_namespaces(node)
    etree.indent(node, space=" ", level=2)
    previous, parent = node.getprevious(), node.getparent()
    node.tail = "\n "
    if previous is not None and not (previous.tail or "").strip():
        previous.tail = "\n  "
    elif previous is None and parent is not None:
        parent.text = "\n  "


def new_container(node: Element, field: str, kind: str) -> Element:
    """Add a field with an empty Bag, Seq or Alt to a node."""
    return etree.SubElement(etree.SubElement(node, tag(field)), kind)


def add_text(node: Element, field: str, text: str) -> None:
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
    if previous is not None and not (previous.tail or "").strip():
        previous.tail = element.tail
    if parent is not None:
        parent.remove(element)


def remove_if_empty(node: Element) -> None:
    if not elements(node) and all(name in (ABOUT, "about") for name in node.attrib):
        remove_element(node)


def remove_namespace(rdf: Element, namespace: str) -> None:
    """Remove the prefixes of a namespace that is no longer used. All other prefixes stay."""
    declared = [
        namespace_event
        for _, namespace_event in etree.iterwalk(
            rdf.getroottree(), events=("start-ns",)
        )
    ]
    pairs = [
        namespace_event
        for namespace_event in declared
        if isinstance(namespace_event, tuple)
    ]
    if any(uri == namespace for _, uri in pairs):
        used_prefixes = {prefix for prefix, uri in pairs if prefix and uri != namespace}
        etree.cleanup_namespaces(
            rdf.getroottree(), keep_ns_prefixes=sorted(used_prefixes)
        )


def _find(rdf: Element, matches: Callable[[str], bool]) -> list[Occurrence]:
    occurrences: list[Occurrence] = []
    for node in elements(rdf):
        occurrences += [
            Occurrence(node, name, None)
            for name in map(str, node.attrib)
            if matches(name)
        ]
        occurrences += [
            Occurrence(node, tag_of(child), child)
            for child in elements(node)
            if matches(tag_of(child))
        ]
    return occurrences


def sidecar_template(
    packet: bytes | None, left_out: Sequence[str] = PHOTO_ONLY_FIELDS
) -> bytes | None:
    """The packet without the fields that are `left_out`; None without a packet.

    Raises:
        WriteRefused: the packet cannot be read.
    """
    if packet is None or is_blank(packet):
        return None
    parsed = read_packet(utf8_packet(packet))
    for occurrence in find_fields(parsed.rdf, *left_out):
        occurrence.remove()
    remove_namespace(parsed.rdf, NAMESPACES["xmpNote"])
    return parsed.serialise(0)
