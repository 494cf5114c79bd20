"""Packets of XMP for tests, in the simplest form of RDF."""

from tagger.metadata.xmp.packet import NAMESPACES


def packet_of(inner: str, attributes: str = "") -> bytes:
    """A packet with one node, which declares the prefixes that it uses."""
    node = f'<rdf:Description rdf:about="" {attributes}>{inner}</rdf:Description>'
    used = {prefix: uri for prefix, uri in NAMESPACES.items() if prefix == "x" or f"{prefix}:" in node}
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in used.items() if prefix != "xml")
    return f"<x:xmpmeta {declared}><rdf:RDF>{node}</rdf:RDF></x:xmpmeta>".encode()


def xmp_list(field: str, *items: str, kind: str = "Bag") -> str:
    written = "".join(f"<rdf:li>{item}</rdf:li>" for item in items)
    return f"<{field}><rdf:{kind}>{written}</rdf:{kind}></{field}>"
