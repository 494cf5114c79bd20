"""Parsing XMP packets to XML trees and serialising them, without changing anything else.

Packets in any Unicode encoding are written in UTF-8. Knows nothing of the fields' meaning. The input may be hostile:
packets beyond the limits below are refused, so that all later steps take linear time.
"""

import codecs
import re
from dataclasses import dataclass

from lxml import etree
from lxml.etree import _Element as Element

from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.xmp.schema import META, RDF, tag

PADDING = 2048
_JPEG_ROOM = 65_502
"""Padding never grows a packet beyond the size of a JPEG segment."""
_SIZE_LIMIT = 32 << 20
"""The largest packets hold the depth maps of phones."""
_NODE_LIMIT = 100_000
_DEPTH_LIMIT = 64
_ATTRIBUTE_LIMIT = 2_000
"""The most attributes of one element: lxml takes quadratic time for them."""
_NAMESPACE_LIMIT = 2_000
_NAME_LIMIT = 1_000

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZERO_PATTERNS = {
    b"\1\0\0\0": "utf-32-le",
    b"\0\0\0\1": "utf-32-be",
    b"\1\0\1\0": "utf-16-le",
    b"\0\1\0\1": "utf-16-be",
}
"""The encoding of text without a byte order mark, by which of its first four bytes are not zero."""
_BLANK_BYTES = b"\0 \t\r\n"
_PADDING_CHARACTERS = "\0\ufeff \t\r\n"
_HEAD = re.compile(r"""(?:<\?xml\s+version=["']1\.0["'][^>]*\?>|<\?xpacket\s+begin[^>]*\?>|\s)*""")
_TAIL = re.compile(r"<\?xpacket\s+end\s*=[^>]*\?>")
_DECLARED = re.compile(r"""(\sencoding\s*=\s*)(["'])([^"']*)\2""")
_STALE = re.compile(r"""(<\?xpacket\b[^>]*?)\s(?:bytes|encoding)\s*=\s*(?:"[^"]*"|'[^']*')""")
_UNICODE = re.compile(r"(utf-?(8|16|32)|ucs-?[24]|iso-10646-ucs-[24])(-?[lb]e)?|us-ascii", re.IGNORECASE)


@dataclass(frozen=True)
class Packet:
    """A parsed packet. Changes of `rdf` appear in the output of `serialise`.

    `head` and `tail` are the wrapper, "" if there is none. `padding` and `size` are the original numbers of bytes.
    """

    rdf: Element
    head: str = ""
    tail: str = ""
    padding: int = 0
    size: int = 0

    def serialise(self, new_padding: int) -> bytes:
        """The packet as bytes: of its original size if the padding has room for the changes, else with `new_padding`."""
        body = etree.tostring(self.rdf.getroottree(), encoding="unicode")
        start, end = (self.head + body).encode(), self.tail.encode()
        if not self.tail:
            return start
        length = len(start) + len(end)
        has_room = self.padding and self.size >= length
        padding = self.size - length if has_room else max(1, min(new_padding, _JPEG_ROOM - length))
        # Padding as XMP requires it: lines of spaces, so that text editors can open the file.
        lines = (b" " * 99 + b"\n") * (padding // 100 + 1)
        return start + (lines[-padding:] if padding > 0 else b"") + end


def new_packet(*, wrapped: bool) -> Packet:
    """An empty packet, `wrapped` for embedding, or without wrapper for sidecars."""
    root = etree.Element(f"{{{META}}}xmpmeta", {f"{{{META}}}xmptk": "landmark-tagger"}, nsmap={"x": META})
    root.text = "\n "
    rdf = etree.SubElement(root, tag("rdf:RDF"), nsmap={"rdf": RDF})
    rdf.tail = "\n"
    if not wrapped:
        return Packet(rdf)
    return Packet(rdf, '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n', '<?xpacket end="w"?>')


def read_packet(packet: bytes) -> Packet:
    """Parse a packet.

    Raises:
        WriteRefused: it is not XMP, is broken, or exceeds a limit.
    """
    if len(packet) > _SIZE_LIMIT:
        raise xmp_refused(f"has {len(packet):,} bytes, which exceeds the limit")
    text = _decode(packet).strip(_PADDING_CHARACTERS)
    head, rest = _split_head(text)
    body, tail = _split_tail(rest)
    stripped = body.rstrip(_PADDING_CHARACTERS)
    padding = len(body) - len(stripped) if tail else 0
    found = list(_parse(stripped).iter(tag("rdf:RDF")))
    if len(found) != 1:
        raise xmp_refused(f"holds {len(found)} rdf:RDF elements instead of one")
    return Packet(found[0], head, tail, padding, len(packet))


def is_blank(packet: bytes) -> bool:
    """Whether a packet holds only padding: some programs reserve room for a packet and write none."""
    return len(packet) <= _SIZE_LIMIT and not packet.strip(_BLANK_BYTES)


def xmp_refused(problem: str) -> WriteRefused:
    """The refusal of a packet. `problem` continues the sentence "The existing XMP …"."""
    return WriteRefused(
        RefusalKind.XMP,
        f"The existing XMP {problem}. Write it again with the program that created it, or remove it.",
    )


def _decode(packet: bytes) -> str:
    try:
        for mark, encoding in _BYTE_ORDER_MARKS:
            if packet.startswith(mark):
                return packet[len(mark) :].decode(encoding)
        return packet.decode(_ZERO_PATTERNS.get(bytes(map(bool, packet[:4])), "utf-8"))
    except UnicodeDecodeError:
        raise xmp_refused("is not encoded in UTF-8, UTF-16 or UTF-32") from None


def _split_head(text: str) -> tuple[str, str]:
    match = _HEAD.match(text)
    end = match.end() if match else 0
    head = text[:end]
    for declaration in _DECLARED.finditer(head):
        if not _UNICODE.fullmatch(declaration[3]):
            raise xmp_refused(f"declares the encoding {declaration[3][:40]!r}, which XMP does not allow")
    head = _STALE.sub(r"\1", _STALE.sub(r"\1", head))
    return _DECLARED.sub(r"\1\2UTF-8\2", head), text[end:]


def _split_tail(text: str) -> tuple[str, str]:
    start = text.rfind("<?xpacket")
    if start < 0 or not _TAIL.fullmatch(text, start):
        return text, ""
    return text[:start], text[start:]


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
        raise xmp_refused(f"is broken: {str(error)[:200]}") from None
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
            nodes += len(item.attrib)
            if len(item.attrib) > _ATTRIBUTE_LIMIT:
                raise xmp_refused("has an element with too many attributes")
        depth += {"start": 1, "end": -1}.get(event, 0)
        nodes += event != "end"
        if nodes > _NODE_LIMIT or depth > _DEPTH_LIMIT or namespaces > _NAMESPACE_LIMIT:
            raise xmp_refused("has too many or too deeply nested elements")


def _check_names(*names: str) -> None:
    if any(len(name) > _NAME_LIMIT for name in names):
        raise xmp_refused("has names that are too long")
