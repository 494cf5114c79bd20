"""An XMP packet as bytes and as a tree of XML, and back without changing what nobody asked to be changed.

Whatever encoding it comes in, it is written in UTF-8. Knows nothing of what the fields mean. The input may be hostile:
what does not fit the limits below is refused, so that all that follows takes linear time.
"""

import codecs
import re
from dataclasses import dataclass

from lxml import etree
from lxml.etree import _Element as Element

from tagger.metadata.refusals import RefusalKind, WriteRefused
from tagger.metadata.xmp.names import META, RDF, tag

PADDING = 2048
_JPEG_ROOM = 65_502
"""A packet that fits into a JPEG segment is not padded out of it."""
_SIZE_LIMIT = 32 << 20
"""Depth maps of phones make the largest there are."""
_NODE_LIMIT = 100_000
_DEPTH_LIMIT = 64
_ATTRIBUTE_LIMIT = 2_000
"""For one element: lxml takes quadratic time over them."""
_NAMESPACE_LIMIT = 2_000
_NAME_LIMIT = 1_000

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FILLED = {
    b"\1\0\0\0": "utf-32-le",
    b"\0\0\0\1": "utf-32-be",
    b"\1\0\1\0": "utf-16-le",
    b"\0\1\0\1": "utf-16-be",
}
"""Which of the first four bytes of plain text are not zero."""
_BLANK_BYTES = b"\0 \t\r\n"
_PADDING_CHARACTERS = "\0\ufeff \t\r\n"
_HEAD = re.compile(r"""(?:<\?xml\s+version=["']1\.0["'][^>]*\?>|<\?xpacket\s+begin[^>]*\?>|\s)*""")
_TAIL = re.compile(r"<\?xpacket\s+end\s*=[^>]*\?>")
_DECLARED = re.compile(r"""(\sencoding\s*=\s*)(["'])([^"']*)\2""")
_STALE = re.compile(r"""(<\?xpacket\b[^>]*?)\s(?:bytes|encoding)\s*=\s*(?:"[^"]*"|'[^']*')""")
_UNICODE = re.compile(r"(utf-?(8|16|32)|ucs-?[24]|iso-10646-ucs-[24])(-?[lb]e)?|us-ascii", re.IGNORECASE)


@dataclass(frozen=True)
class Packet:
    """A packet taken apart. What is changed in `rdf` is in what `written` gives.

    `head` and `tail` are the wrapper, "" where there is none; `padding` and `size` are bytes, as they were.
    """

    rdf: Element
    head: str = ""
    tail: str = ""
    padding: int = 0
    size: int = 0

    def written(self, new_padding: int) -> bytes:
        """Give the packet as bytes: as long as it was if its padding has the room, else with `new_padding`."""
        body = etree.tostring(self.rdf.getroottree(), encoding="unicode")
        start, end = (self.head + body).encode(), self.tail.encode()
        if not self.tail:
            return start
        return (
            start + self._padding(self.size - len(start) - len(end), len(start) + len(end), new_padding) + end
        )

    def _padding(self, room: int, length: int, new_padding: int) -> bytes:
        if self.padding and room >= 0:
            return _blank(room)
        return _blank(max(1, min(new_padding, _JPEG_ROOM - length)))


def new_packet(*, wrapped: bool) -> Packet:
    """An empty packet; `wrapped` as it is embedded in photos, else as sidecars have it."""
    root = etree.Element(f"{{{META}}}xmpmeta", {f"{{{META}}}xmptk": "landmark-tagger"}, nsmap={"x": META})
    root.text = "\n "
    rdf = etree.SubElement(root, tag("rdf:RDF"), nsmap={"rdf": RDF})
    rdf.tail = "\n"
    if not wrapped:
        return Packet(rdf)
    return Packet(rdf, '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n', '<?xpacket end="w"?>')


def read_packet(packet: bytes) -> Packet:
    """Take a packet apart.

    Raises:
        WriteRefused: it is no XMP, is broken, or is beyond what any photo holds.
    """
    if len(packet) > _SIZE_LIMIT:
        raise refused(f"has {len(packet):,} bytes, more than any photo's")
    text = _decoded(packet).strip(_PADDING_CHARACTERS)
    head, rest = _head(text)
    body, tail = _tail(rest)
    stripped = body.rstrip(_PADDING_CHARACTERS)
    padding = len(body) - len(stripped) if tail else 0
    return Packet(_rdf(_parsed(stripped)), head, tail, padding, len(packet))


def is_blank(packet: bytes) -> bool:
    """Whether nothing stands in a packet: some programs make room for one, and leave it at that."""
    return len(packet) <= _SIZE_LIMIT and not packet.strip(_BLANK_BYTES)


def refused(what: str) -> WriteRefused:
    """Make the error for a packet that `what` is wrong with."""
    return WriteRefused(
        RefusalKind.XMP,
        f"The XMP that is there {what}. Have the program that wrote it write it anew, or remove it.",
    )


def _blank(size: int) -> bytes:
    """Padding as XMP asks for it: spaces, in lines, so that editors of text can open the file."""
    return ((b" " * 99 + b"\n") * (size // 100 + 1))[-size:] if size > 0 else b""


def _decoded(packet: bytes) -> str:
    try:
        for mark, encoding in _BYTE_ORDER_MARKS:
            if packet.startswith(mark):
                return packet[len(mark) :].decode(encoding)
        return packet.decode(_FILLED.get(bytes(map(bool, packet[:4])), "utf-8"))
    except UnicodeDecodeError:
        raise refused("is not in UTF-8, UTF-16 or UTF-32, which XMP has to be in") from None


def _head(text: str) -> tuple[str, str]:
    found = _HEAD.match(text)
    end = found.end() if found else 0
    head = text[:end]
    for declared in _DECLARED.finditer(head):
        if not _UNICODE.fullmatch(declared[3]):
            raise refused(f"says that it is in {declared[3][:40]!r}, and XMP has to be in UTF-8")
    head = _STALE.sub(r"\1", _STALE.sub(r"\1", head))
    return _DECLARED.sub(r"\1\2UTF-8\2", head), text[end:]


def _tail(text: str) -> tuple[str, str]:
    start = text.rfind("<?xpacket")
    if start < 0 or not _TAIL.fullmatch(text, start):
        return text, ""
    return text[:start], text[start:]


def _parsed(text: str) -> Element:
    if "<!DOCTYPE" in text:
        raise refused("holds a DOCTYPE, which XMP must not")
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
        raise refused(f"is broken: {str(error)[:200]}") from None
    _check_limits(root)
    return root


def _check_limits(root: Element) -> None:
    nodes = depth = namespaces = 0
    for event, item in etree.iterwalk(root, events=("start-ns", "start", "end", "comment", "pi")):
        if isinstance(item, tuple):
            _check_names(item[1])
            namespaces += 1
        elif event == "start" and item is not None:
            _check_names(str(item.tag), *map(str, item.attrib))
            nodes += _counted_attributes(item)
        depth += {"start": 1, "end": -1}.get(event, 0)
        nodes += event != "end"
        if nodes > _NODE_LIMIT or depth > _DEPTH_LIMIT or namespaces > _NAMESPACE_LIMIT:
            raise refused("has more in it, or deeper, than any photo's")


def _counted_attributes(element: Element) -> int:
    count = len(element.attrib)
    if count > _ATTRIBUTE_LIMIT:
        raise refused("has more attributes in one place than any photo's")
    return count


def _check_names(*names: str) -> None:
    if any(len(name) > _NAME_LIMIT for name in names):
        raise refused("has names longer than any photo's")


def _rdf(root: Element) -> Element:
    found = list(root.iter(tag("rdf:RDF")))
    if len(found) != 1:
        raise refused(f"holds {len(found)} times what XMP has to hold once, rdf:RDF")
    return found[0]
