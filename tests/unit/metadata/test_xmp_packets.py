"""XMP packets of any form: values are added and removed without other changes, as other programs read them."""

import html
import json
import random
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, example, given, strategies as st
from lxml import etree
from support.examples import examples

from tagger.metadata import NamedLandmark, PositionEstimate, RefusalKind, TagFields, WriteRefused, xmp
from tagger.metadata.xmp import changes
from tagger.metadata.xmp.packet import NAMESPACES, RDF, sidecar_template

HEAD, TAIL = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', '<?xpacket end="w"?>'
KEYWORD = TagFields(keywords=("Eiffel Tower",))
TITLE = "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Été</rdf:li></rdf:Alt></dc:title>"


def rdf(inner: str, declared: str = "") -> str:
    return (
        f'<rdf:RDF xmlns:rdf="{RDF}" xmlns:dc="http://purl.org/dc/elements/1.1/" {declared}>'
        f'<rdf:Description rdf:about="">{inner}</rdf:Description></rdf:RDF>'
    )


def with_keyword(packet: bytes, *, sidecar: bool = False) -> bytes:
    return changes.add(packet, KEYWORD, sidecar=sidecar)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_packet_with_or_without_a_byte_order_mark_is_read(encoding, wrapped):
    packet = (HEAD + rdf(TITLE) + TAIL if wrapped else rdf(TITLE)).encode(encoding)
    assert xmp.properties(packet) == {"dc:title": {"x-default": "Été"}}
    assert "Été" in with_keyword(packet).decode("utf-8")


def test_wrappers_prefixes_and_comments_are_kept_and_none_added():
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
    written = with_keyword(rdf(TITLE).encode() + b"\0\0").decode()
    assert written.startswith("<rdf:RDF")
    assert written.endswith("</rdf:RDF>")


def test_padding_absorbs_added_values_is_new_in_embedded_packets_and_never_exceeds_a_segment():
    packet = (HEAD + rdf(TITLE) + " " * 3000 + TAIL).encode()
    after = with_keyword(packet)
    assert len(after) == len(packet)
    back = changes.remove(after)
    assert back is not None
    assert len(back) == len(packet)
    without = (HEAD + rdf(TITLE) + "\n" + TAIL).encode()
    assert with_keyword(without).count(b" ") > 2000
    assert with_keyword(without, sidecar=True).count(b" ") < 200
    large = (HEAD + rdf(f"<dc:source>{'x' * 64_000}</dc:source>") + "\n" + TAIL).encode()
    assert 65_000 < len(with_keyword(large)) <= 65_502


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
def test_invalid_packets_are_refused_with_a_reason(packet, reason):
    for touch in (xmp.properties, with_keyword, changes.remove):
        with pytest.raises(WriteRefused, match=reason) as refusal:
            touch(packet)
        assert refusal.value.kind is RefusalKind.XMP
    assert xmp.added_values(packet) == ()
    assert xmp.written_landmarks(packet) == ()


@pytest.mark.slow
def test_hostile_packets_take_linear_time():
    ours = (
        "<dc:subject><rdf:Bag>" + "<rdf:li>x</rdf:li>" * 20_000 + "</rdf:Bag></dc:subject><l:Added><rdf:Bag>"
    )
    ours += "<rdf:li l:Field='dc:subject' l:Value='x'/>" * 20_000 + "</rdf:Bag></l:Added>"
    packet = rdf(ours, "xmlns:l='urn:landmark-tagger:xmp:1.0/'").encode()
    # A quadratic algorithm would exceed the time limit of every test.
    assert xmp.properties(changes.remove(packet)) == {}
    marks = "a\u0301\u0316" * 1_000_000
    assert xmp.insertion_difference(
        None,
        with_keyword(rdf(f"<dc:subject><rdf:Bag><rdf:li>{marks}</rdf:li></rdf:Bag></dc:subject>").encode()),
    )


def test_old_and_odd_forms_of_rdf_are_read():
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


def test_sidecar_template_omits_dates_orientation_and_references():
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
    copy = sidecar_template(packet)
    assert xmp.properties(copy) == {"dc:creator": ["Anna"], "xmp:Rating": "5"}
    assert copy is not None
    assert b"xmpNote" not in copy
    assert sidecar_template(None) is None


@pytest.mark.parametrize("blank", [b"", b"\0" * 20, b" \r\n\t"])
def test_blank_packet_counts_as_none(blank):
    assert xmp.properties(blank) == {}
    assert changes.add(blank, KEYWORD, sidecar=False) == changes.add(None, KEYWORD, sidecar=False)
    assert sidecar_template(blank) is None


EIFFEL = NamedLandmark(
    "eiffel-tower", "Eiffel Tower", "France", "Île-de-France", "Paris", 48.8584, 2.2945, "point"
)
TOWER = TagFields(
    (EIFFEL,),
    ("Eiffel Tower", 'Tour "Eiffel" <&>'),
    (("Places", "France", "Paris", "Eiffel Tower"),),
    PositionEstimate(48.8584, 2.2945, 250, sight=NamedLandmark("louvre", "Louvre", "France")),
    "The tower, seen from afar",
)
FIELDS = {
    "XMP-x:XMPToolkit": "landmark-tagger",
    "XMP-dc:Subject": list(TOWER.keywords),
    "XMP-lr:HierarchicalSubject": ["Places|France|Paris|Eiffel Tower"],
    "XMP-digiKam:TagsList": ["Places/France/Paris/Eiffel Tower"],
    "XMP-dc:Description": TOWER.description,
    "XMP-exif:GPSLatitude": 48.8584,
    "XMP-exif:GPSLongitude": 2.2945,
    "XMP-exif:GPSProcessingMethod": "landmark-tagger",
    "XMP-exif:GPSHPositioningError": 250,
    "XMP-exif:GPSMapDatum": "WGS-84",
    "XMP-iptcCore:Location": "Louvre",
    "XMP-iptcExt:LocationCreated": [
        {
            "CountryName": "France",
            "LocationId": ["urn:landmark-tagger:landmark:louvre"],
            "LocationName": "Louvre",
            "Sublocation": "Louvre",
        }
    ],
}
LOCATION = {
    "City": "Paris",
    "CountryName": "France",
    "GPSLatitude": 48.8584,
    "GPSLongitude": 2.2945,
    "LocationId": ["urn:landmark-tagger:landmark:eiffel-tower"],
    "LocationName": "Eiffel Tower",
    "ProvinceState": "Île-de-France",
}


@pytest.fixture
def sidecar(tmp_path) -> Path:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path = tmp_path / "photo.jpg.xmp"
    path.write_bytes(changes.add(None, TOWER, sidecar=True))
    return path


def test_exiftool_reads_our_own_packet_and_what_it_rewrote_is_ours_to_delete(sidecar):
    command = ["exiftool", "-G1", "-struct", "-json", "-n", sidecar]
    (output,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert output["XMP-iptcExt:LocationShown"] == [LOCATION]
    assert {name: output.get(name) for name in FIELDS} == FIELDS
    change = ("-XMP-xmp:Rating=", "-XMP-dc:Subject-=nothing")
    command = ["exiftool", "-q", "-m", "-overwrite_original", *change, sidecar]
    subprocess.run(command, check=True, capture_output=True)
    assert changes.remove(sidecar.read_bytes()) is None


def test_exiv2_reads_our_own_packet_and_what_it_rewrites_is_removed(sidecar):
    if shutil.which("exiv2") is None:
        pytest.skip("exiv2 is not installed")
    command = ["exiv2", "-q", "-M", "set Xmp.xmp.Rating 4", sidecar]
    subprocess.run(command, check=True)
    command = ["exiv2", "-q", "-PXkv", sidecar]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    fields = dict(line.split(maxsplit=1) for line in output.splitlines() if len(line.split()) > 1)
    assert fields["Xmp.digiKam.TagsList"] == "Places/France/Paris/Eiffel Tower"
    assert fields["Xmp.lr.hierarchicalSubject"] == "Places|France|Paris|Eiffel Tower"
    assert fields["Xmp.dc.subject"] == ", ".join(TOWER.keywords)
    assert fields["Xmp.iptc.Location"] == "Louvre"
    assert fields["Xmp.iptcExt.LocationCreated[1]/Iptc4xmpExt:Sublocation"] == "Louvre"
    assert (fields["Xmp.exif.GPSLatitude"], fields["Xmp.xmp.Rating"]) == ("48,51.5040000N", "4")
    assert xmp.properties(changes.remove(sidecar.read_bytes())) == {"xmp:Rating": "4"}


WRITTEN_PREFIXES = ("dc", "xmp", "exif", "photoshop", "lr", "digiKam", "Iptc4xmpExt")
WRITTEN_NAMESPACES = {
    **{prefix: NAMESPACES[prefix] for prefix in WRITTEN_PREFIXES},
    "theirs": "http://example.org/theirs#",
    "rdf": RDF,
}
POOL = ("Eiffel Tower", "eiffel tower", "Tour Eiffel", "Zürich", "Zu\u0308rich", "a|b/c", "<&>'\"", "😀", " ")
TEXT = st.one_of(
    st.sampled_from(POOL),
    st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=8),
    st.text("ab \t\r\n\x85", max_size=4),
)
ANY_TEXT = st.one_of(TEXT, st.text(max_size=6), st.text("\0\x01\x1f\ud800\ufffeab", max_size=5))
LISTED = ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList")
SIMPLE = ("xmp:Label", "photoshop:City", "exif:GPSLatitude", "exif:GPSMapDatum", "dc:source", "theirs:word")
OTHER = (
    "dc:title",
    *(f"theirs:{name}" for name in ("bag", "struct", "deep")),
    "dc:description",
    "Iptc4xmpExt:LocationShown",
)


def escaped(text: str) -> str:
    return html.escape(text, quote=False).translate({ord(each): f"&#{ord(each)};" for each in '"\r\t\n'})


class Writer:
    """Writes values in random forms with random prefixes."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.prefixes = {prefix: prefix for prefix in WRITTEN_NAMESPACES}
        if rng.random() < 0.2:
            self.prefixes = {prefix: f"p{at}" for at, prefix in enumerate(WRITTEN_NAMESPACES)} | {
                "theirs": "theirs"
            }

    def name(self, name: str) -> str:
        prefix, _, local = name.partition(":")
        return f"{self.prefixes.get(prefix, prefix)}:{local}"

    def random_gap(self) -> str:
        return self.rng.choice(["", "", "\n  ", " <!-- a comment -->", "<?note?>"])

    def element(self, name: str, value: object) -> str:
        name = self.name(name)
        if isinstance(value, str):
            return f"<{name}>{self.text(value)}</{name}>"
        if isinstance(value, list):
            return self.around(name, self.container(self.rng.choice(["Bag", "Seq"]), value))
        assert isinstance(value, dict)
        if "rdf:value" in value:
            return self.qualified(name, dict(value))
        if value and not any(":" in key for key in value):
            items = [{"rdf:value": text, "xml:lang": language} for language, text in value.items()]
            return self.around(name, self.container("Alt", items))
        return self.structure(name, value)

    def text(self, value: str) -> str:
        if value and self.rng.random() < 0.1 and "]]>" not in value and "\r" not in value:
            return f"<![CDATA[{value}]]>"
        cut = self.rng.randint(0, len(value))
        return f"{escaped(value[:cut])}{self.rng.choice(['', '', '<!-- c -->'])}{escaped(value[cut:])}"

    def around(self, name: str, inner: str) -> str:
        return f"<{name}>{self.random_gap()}{inner}{self.random_gap()}</{name}>"

    def container(self, kind: str, items: list[object]) -> str:
        written = "".join(self.random_gap() + self.element("rdf:li", item) for item in items)
        return self.around(self.name(f"rdf:{kind}"), written)

    def qualified(self, name: str, value: dict[str, object]) -> str:
        language = value.get("xml:lang")
        if set(value) == {"rdf:value", "xml:lang"}:
            return f'<{name} xml:lang="{language}">{self.text(str(value["rdf:value"]))}</{name}>'
        return self.structure(name, value)

    def structure(self, name: str, value: dict[str, object]) -> str:
        form = self.rng.choice(["resource", "node", "attributes"])
        if form == "attributes" and value and all(isinstance(part, str) for part in value.values()):
            return f"<{name} {self.attributes(value)}/>"
        fields = "".join(self.random_gap() + self.element(*field) for field in value.items())
        if form == "node":
            return self.around(name, self.around(self.name("rdf:Description"), fields))
        opened = f'{name} {self.name("rdf:parseType")}="Resource"'
        return f"<{opened}>{fields}{self.random_gap()}</{name}>"

    def attributes(self, fields: dict[str, object]) -> str:
        return " ".join(f'{self.name(name)}="{escaped(str(text))}"' for name, text in fields.items())

    def node(self, fields: dict[str, object]) -> str:
        short = {k: v for k, v in fields.items() if isinstance(v, str) and self.rng.random() < 0.5}
        long = "".join(self.random_gap() + self.element(k, v) for k, v in fields.items() if k not in short)
        name = self.name("rdf:Description")
        return (
            f'<{name} {self.name("rdf:about")}="" {self.attributes(short)}>{long}{self.random_gap()}</{name}>'
        )

    def packet(self, fields: dict[str, object]) -> bytes:
        groups: list[dict[str, object]] = [{} for _ in range(self.rng.randint(1, 3))]
        for name, value in fields.items():
            self.rng.choice(groups)[name] = value
        declared = " ".join(f'xmlns:{self.prefixes[p]}="{uri}"' for p, uri in WRITTEN_NAMESPACES.items())
        nodes = "".join(self.random_gap() + self.node(group) for group in groups)
        rdf = self.name("rdf:RDF")
        body = f"{self.random_gap()}<{rdf} {declared}>{nodes}{self.random_gap()}</{rdf}>{self.random_gap()}"
        if self.rng.random() < 0.7:
            body = f'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="some &amp; other">{body}</x:xmpmeta>'
        return body.encode()


def values(name: str) -> st.SearchStrategy[object]:
    if name in LISTED or name == "theirs:bag":
        return st.lists(TEXT, min_size=int(name in LISTED), max_size=4)
    if name in ("dc:title", "dc:description"):
        return st.dictionaries(st.sampled_from(["x-default", "en", "fr"]), TEXT, min_size=1)
    if name == "Iptc4xmpExt:LocationShown":
        place = {"Iptc4xmpExt:City": TEXT, "Iptc4xmpExt:LocationName": values("dc:title")}
        return st.lists(st.fixed_dictionaries(place, optional={"theirs:word": TEXT}), min_size=1, max_size=2)
    structure = st.fixed_dictionaries({"theirs:a": TEXT, "xmp:b": TEXT})
    if name == "theirs:struct":
        return structure
    qualified = st.fixed_dictionaries({"rdf:value": TEXT, "theirs:kind": TEXT})
    deep = st.fixed_dictionaries({"theirs:list": st.lists(structure, max_size=2), "theirs:q": qualified})
    return deep if name == "theirs:deep" else TEXT


NAMED_FIELDS = st.fixed_dictionaries({}, optional={name: values(name) for name in (*LISTED, *SIMPLE, *OTHER)})
CHANCE = st.integers(0, 2**32).map(random.Random)
LANDMARK = st.builds(
    NamedLandmark,
    slug=st.sampled_from(["eiffel-tower", "big-ben", "ponte-vecchio"]),
    name=st.one_of(st.sampled_from(POOL), ANY_TEXT),
    country=st.none() | ANY_TEXT,
    region=st.none() | ANY_TEXT,
    city=st.none() | ANY_TEXT,
    latitude=st.none() | st.floats(-90, 90) | st.just(float("nan")),
    longitude=st.none() | st.floats(-180, 180),
    extent=st.sampled_from([None, "point", "area"]),
    score=st.none() | st.floats(0, 1),
    model=st.none() | ANY_TEXT,
    verdict=st.sampled_from([None, "confirmed"]),
)
ADDITIONS = st.builds(
    TagFields,
    landmarks=st.lists(LANDMARK, max_size=3).map(tuple),
    keywords=st.lists(st.one_of(st.sampled_from(POOL), ANY_TEXT), max_size=4).map(tuple),
    paths=st.lists(st.lists(ANY_TEXT, max_size=3).map(tuple), max_size=2).map(tuple),
    position=st.none()
    | st.builds(PositionEstimate, st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 1e6)),
    description=st.none() | ANY_TEXT,
)
REPEATED = st.lists(st.one_of(st.sampled_from(POOL), ANY_TEXT), max_size=3)
ELSEWHERE = st.lists(st.tuples(st.sampled_from(["EXIF:XPKeywords", "IPTC:Keywords"]), ANY_TEXT), max_size=2)
many = examples(19)


@many
@given(NAMED_FIELDS, CHANCE)
def test_every_form_of_rdf_has_the_same_values(fields, rng):
    assert xmp.properties(Writer(rng).packet(fields)) == fields


@many
@given(NAMED_FIELDS, CHANCE, ADDITIONS, ELSEWHERE, REPEATED, st.booleans())
def test_adding_and_removing_restores_the_packet(fields, rng, tag_fields, elsewhere, repeated, sidecar):
    packet = Writer(rng).packet(fields)
    after = changes.add(packet, tag_fields, sidecar=sidecar, repeated=repeated, also_added=elsewhere)
    assert after == changes.add(packet, tag_fields, sidecar=sidecar, repeated=repeated, also_added=elsewhere)
    assert xmp.insertion_difference(packet, after) is None
    again = changes.remove(after)
    assert xmp.properties(again) == fields
    assert tree(again.decode()) == tree(packet.decode())
    assert changes.remove(again) == again
    values = xmp.properties(after)
    for name in LISTED:
        assert_merged(fields.get(name), values.get(name))
    for name in fields.keys() - {*LISTED, "dc:description", "Iptc4xmpExt:LocationShown"}:
        assert values[name] == fields[name]


@many
@given(ADDITIONS, ELSEWHERE, st.booleans())
def test_our_own_packet_is_created_and_deleted(tag_fields, elsewhere, sidecar):
    packet = changes.add(None, tag_fields, sidecar=sidecar, also_added=elsewhere)
    assert xmp.insertion_difference(None, packet) is None
    assert changes.remove(packet) is None
    expected = list(dict.fromkeys(map(storable, tag_fields.keywords)))
    values = xmp.properties(packet).get("dc:subject", [])
    assert isinstance(values, list)
    assert set(values) <= set(expected)
    assert len({str(value).casefold() for value in values}) == len(values)


@many
@given(NAMED_FIELDS, CHANCE, NAMED_FIELDS, CHANCE)
def test_every_other_difference_is_found(fields, rng, changed, other):
    assume(fields != changed)
    packet = Writer(rng).packet(fields)
    after = changes.add(Writer(other).packet(changed), TOWER, sidecar=False)
    assert xmp.insertion_difference(packet, after) is not None


@many
@given(st.one_of(st.binary(max_size=200), st.text("<>/x:rdfRDF='\"&;! ?#\0", max_size=80).map(str.encode)))
@example(b"<!DOCTYPE a [<!ENTITY b 'c'>]><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'/>")
@example(b"")
def test_garbage_raises_only_refusals(packet):
    assert_survives(packet)


@many
@given(NAMED_FIELDS, CHANCE)
def test_damaged_packets_raise_only_refusals(fields, rng):
    packet = bytearray(changes.add(Writer(rng).packet(fields), TOWER, sidecar=True))
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(packet))
        # Swapped tags and texts yield valid XML more often than changed bytes.
        parts = [bytes(match[0]) for match in re.finditer(rb"<[^>]*>", packet[: start + 3000])]
        packet[start : start + rng.randint(0, 9)] = rng.choice([b"", b"\0", b"<", *parts])
    assert_survives(bytes(packet))


@many
@given(
    NAMED_FIELDS, CHANCE, st.lists(st.tuples(st.sampled_from([*LISTED, *SIMPLE, *OTHER]), TEXT), max_size=9)
)
def test_removal_takes_only_recorded_values(fields, rng, claimed):
    nothing = replace(TOWER, landmarks=(), keywords=(), paths=(), position=None, description=None)
    packet = changes.add(Writer(rng).packet(fields), nothing, sidecar=True, also_added=claimed)
    remaining = changes.remove(packet)
    values = xmp.properties(remaining)
    for name, value in fields.items():
        claims = [text for field, text in claimed if field == name]
        if not claims:
            assert values[name] == value
        elif isinstance(value, list):
            remaining = values.get(name, [])
            assert isinstance(remaining, list)
            assert len(value) - len(remaining) <= len(claims)
            assert all(item in claims for item in value if item not in remaining)


def assert_survives(packet: bytes) -> None:
    for touch in (xmp.properties, changes.remove, lambda packet: changes.add(packet, TOWER, sidecar=False)):
        with suppress(WriteRefused):
            touch(packet)
    assert isinstance(xmp.added_values(packet), tuple)
    assert isinstance(xmp.written_landmarks(packet), tuple)
    xmp.insertion_difference(packet, packet)
    xmp.conflicts_with_extended(packet)


def assert_merged(before: object, after: object) -> None:
    """Existing values are still there, in order, before new ones."""
    if before is not None:
        assert isinstance(before, list)
        assert isinstance(after, list)
        assert after[: len(before)] == before


def storable(text: str) -> str:
    return re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def tree(packet: str) -> str:
    """The XML without white space between tags, with forms, comments and prefixes."""
    envelope = re.search(r"<(x:xmpmeta|\w+:RDF).*</\1>", packet, re.DOTALL)
    assert envelope
    root = etree.fromstring(envelope[0], etree.XMLParser(strip_cdata=False))
    for element in root.iter():
        if len(element) and not (element.text or "").strip():
            element.text = None
        if not (element.tail or "").strip():
            element.tail = None
    return etree.tostring(root, encoding="unicode")
