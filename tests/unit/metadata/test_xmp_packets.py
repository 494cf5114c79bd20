"""Packets of many kinds: encodings, wrappers, padding, and refusals."""

import pytest

from tagger.metadata import xmp
from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.tag_fields import TagFields
from tagger.metadata.xmp.packet import NAMESPACES, RDF

HEAD, TAIL = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', '<?xpacket end="w"?>'
KEYWORD = TagFields(keywords=("Eiffel Tower",))
TITLE = "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Été</rdf:li></rdf:Alt></dc:title>"


def rdf(inner: str, declared: str = "") -> str:
    return (
        f'<rdf:RDF xmlns:rdf="{RDF}" xmlns:dc="http://purl.org/dc/elements/1.1/" {declared}>'
        f'<rdf:Description rdf:about="">{inner}</rdf:Description></rdf:RDF>'
    )


def with_keyword(packet: bytes, *, sidecar: bool = False) -> bytes:
    return xmp.add(packet, KEYWORD, sidecar=sidecar)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_packet_with_or_without_a_byte_order_mark_is_read(encoding: str, wrapped: bool) -> None:
    packet = (HEAD + rdf(TITLE) + TAIL if wrapped else rdf(TITLE)).encode(encoding)
    assert xmp.properties(packet) == {"dc:title": {"x-default": "Été"}}
    assert "Été" in with_keyword(packet).decode("utf-8")


def test_wrapper_toolkit_prefixes_and_comments_are_kept() -> None:
    body = (
        '<!-- first --><m:xmpmeta xmlns:m="adobe:ns:meta/" m:xmptk="Their Toolkit 1.0">'
        f'<r:RDF xmlns:r="{RDF}"><!-- second --><r:Description r:about="uuid:7"><?theirs x?>'
        '<a:b xmlns:a="http://example.org/">1</a:b></r:Description></r:RDF></m:xmpmeta>'
    )
    written = with_keyword(f"<?xpacket begin='' id='W5M'?>\n{body}\n<?xpacket end='r'?>".encode()).decode()
    assert written.startswith("<?xpacket begin='' id='W5M'?>")
    assert written.endswith("<?xpacket end='r'?>")
    for existing in ("<!-- first -->", "<!-- second -->", "<?theirs x?>", 'm:xmptk="Their Toolkit 1.0"'):
        assert existing in written
    assert '<a:b xmlns:a="http://example.org/">1</a:b>' in written
    # Added fields are about the same subject as the existing ones.
    assert written.count('r:about="uuid:7"') == 2


def test_packet_without_wrapper_or_xmpmeta_gets_none() -> None:
    written = with_keyword(rdf(TITLE).encode() + b"\0\0").decode()
    assert written.startswith("<rdf:RDF")
    assert written.endswith("</rdf:RDF>")


def test_padding_absorbs_added_values() -> None:
    packet = (HEAD + rdf(TITLE) + " " * 3000 + TAIL).encode()
    after = with_keyword(packet)
    assert len(after) == len(packet)
    back = xmp.remove(after)
    assert back is not None
    assert len(back) == len(packet)


def test_only_embedded_packets_get_new_padding() -> None:
    packet = (HEAD + rdf(TITLE) + "\n" + TAIL).encode()
    assert with_keyword(packet).count(b" ") > 2000
    assert with_keyword(packet, sidecar=True).count(b" ") < 200


def test_padding_never_exceeds_a_jpeg_segment() -> None:
    packet = (HEAD + rdf(f"<dc:source>{'x' * 64_000}</dc:source>") + "\n" + TAIL).encode()
    assert 65_000 < len(with_keyword(packet)) <= 65_502


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"no XML", "XMP cannot be read as XML from line 1, column 1 on. Write"),
        (rdf("<dc:x>" * 300 + "</dc:x>" * 300).encode(), r"as XML from line 1, column \d+ on\. Write"),
        (rdf(TITLE).encode("latin-1"), "UTF-8"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?>' + rdf("").encode(), "ISO-8859-1"),
        (f'<!DOCTYPE r [<!ENTITY e "x">]>{rdf("<dc:source>&e;</dc:source>")}'.encode(), "DOCTYPE"),
        (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', "0 rdf:RDF"),
        (f"<a>{rdf('')}{rdf('')}</a>".encode(), "2 rdf:RDF"),
        (rdf("<dc:x>" * 80 + "</dc:x>" * 80).encode(), "nested"),
        pytest.param(rdf("<dc:x/>" * 110_000).encode(), "too many", marks=pytest.mark.slow),
        (rdf("<dc:x " + " ".join(f"a{at}=''" for at in range(2_100)) + "/>").encode(), "attributes"),
        (rdf("", f"xmlns:n='{'u' * 2_000}'").encode(), "names"),
        (b" " * (33 << 20), "bytes"),
    ],
)
def test_invalid_packets_are_refused_with_a_reason(packet: bytes, reason: str) -> None:
    for touch in (xmp.properties, with_keyword, xmp.remove):
        with pytest.raises(WriteRefused, match=reason) as refusal:
            touch(packet)
        assert refusal.value.kind is RefusalKind.XMP
    assert xmp.added_values(packet) == ()
    assert xmp.written_landmarks(packet) == ()


@pytest.mark.slow
def test_hostile_packets_take_linear_time() -> None:
    ours = (
        "<dc:subject><rdf:Bag>" + "<rdf:li>x</rdf:li>" * 20_000 + "</rdf:Bag></dc:subject><l:Added><rdf:Bag>"
    )
    ours += "<rdf:li l:Field='dc:subject' l:Value='x'/>" * 20_000 + "</rdf:Bag></l:Added>"
    packet = rdf(ours, "xmlns:l='urn:landmark-tagger:xmp:1.0/'").encode()
    # A quadratic algorithm would exceed the time limit of every test.
    assert xmp.properties(xmp.remove(packet)) == {}
    marks = "a\u0301\u0316" * 1_000_000
    assert xmp.insertion_difference(
        None,
        with_keyword(rdf(f"<dc:subject><rdf:Bag><rdf:li>{marks}</rdf:li></rdf:Bag></dc:subject>").encode()),
    )


def test_old_and_odd_forms_of_rdf_are_read() -> None:
    fields = (
        "<dc:relation rdf:resource='http://example.org/'/>"
        "<dc:type rdf:parseType='Resource'><rdf:value>a</rdf:value><dc:q>b</dc:q></dc:type>"
        "<dc:coverage><dc:Place dc:name='c'/></dc:coverage>"
        "<dc:format/><dc:format>again</dc:format>"
        "<dc:rights rdf:parseType='Literal'><b>bold</b></dc:rights>"
    )
    assert xmp.properties(rdf(fields).encode()) == {
        "dc:relation": "http://example.org/",
        "dc:type": {"rdf:value": "a", "dc:q": "b"},
        "dc:coverage": {"rdf:type": "dc:Place", "dc:name": "c"},
        "dc:format": "",
        "dc:format (2)": "again",
        "dc:rights": f'<dc:rights xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:rdf="{RDF}" rdf:parseType="Literal">'
        "<b>bold</b></dc:rights>",
    }


def test_sidecar_template_omits_dates_orientation_and_references() -> None:
    ours = {
        "xmp:CreateDate": "2019-08-25T11:23:17",
        "tiff:Orientation": "6",
        "xmpNote:HasExtendedXMP": "0123456789ABCDEF0123456789ABCDEF",
    }
    declared = " ".join(f'xmlns:{name}="{NAMESPACES[name]}"' for name in ("xmp", "tiff", "xmpNote", "dc"))
    attributes = " ".join(f'{name}="{value}"' for name, value in ours.items())
    date = "<exif:DateTimeOriginal>2019-08-25T11:23:17</exif:DateTimeOriginal>"
    existing = '<dc:creator><rdf:Seq><rdf:li>Anna</rdf:li></rdf:Seq></dc:creator><xmp:Rating xmlns:xmp="http://ns.adobe.com/xap/1.0/">5</xmp:Rating>'
    packet = (
        f'<rdf:RDF xmlns:rdf="{RDF}" xmlns:exif="{NAMESPACES["exif"]}" {declared}>'
        f'<rdf:Description rdf:about="" {attributes}>{date}{existing}</rdf:Description></rdf:RDF>'
    ).encode()
    copy = xmp.sidecar_template(packet)
    assert xmp.properties(copy) == {"dc:creator": ["Anna"], "xmp:Rating": "5"}
    assert copy is not None
    assert b"xmpNote" not in copy
    assert xmp.sidecar_template(None) is None


@pytest.mark.parametrize("blank", [b"", b"\0" * 20, b" \r\n\t"])
def test_blank_packet_counts_as_none(blank: bytes) -> None:
    assert xmp.properties(blank) == {}
    assert xmp.add(blank, KEYWORD, sidecar=False) == xmp.add(None, KEYWORD, sidecar=False)
    assert xmp.sidecar_template(blank) is None
