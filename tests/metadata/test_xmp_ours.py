"""Which of our fields go into a packet, in which form, and how they come out again."""

import pytest

from tagger.metadata import xmp
from tagger.metadata.additions import Additions, NamedLandmark, Position
from tagger.metadata.refusals import RefusalKind, WriteRefused

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DECLARED = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in {
        "rdf": RDF,
        "dc": "http://purl.org/dc/elements/1.1/",
        "lr": "http://ns.adobe.com/lightroom/1.0/",
        "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
        "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "landmarkTagger": "urn:landmark-tagger:xmp:1.0/",
    }.items()
)
EIFFEL = NamedLandmark(
    *("eiffel-tower", "Eiffel Tower", "France", "Île-de-France", "Paris", 48.8584, 2.2945, "point"),
    score=0.98765,
    model="landmarks-61",
    verdict="confirmed",
)
URN = "urn:landmark-tagger:landmark:eiffel-tower"
TOWER = Additions(
    (EIFFEL,),
    ("Eiffel Tower", "Paris", "France"),
    (("Places", "France", "Paris", "Eiffel Tower"),),
    Position(48.8584, -2.2945, 249.2),
    "Eiffel Tower, Paris",
)


LANGUAGES = (
    "<Iptc4xmpExt:LocationName><rdf:Alt><rdf:li xml:lang='en'>Eiffel Tower</rdf:li></rdf:Alt>"
    "</Iptc4xmpExt:LocationName>"
)


def packet(inner: str, attributes: str = "") -> bytes:
    node = f'<rdf:Description rdf:about="" {attributes}>{inner}</rdf:Description>'
    return f"<rdf:RDF {DECLARED}>{node}</rdf:RDF>".encode()


def listed(field: str, *items: str, kind: str = "Bag") -> str:
    written = "".join(f"<rdf:li>{item}</rdf:li>" for item in items)
    return f"<{field}><rdf:{kind}>{written}</rdf:{kind}></{field}>"


def said_after(before: bytes | None, additions: Additions = TOWER) -> dict[str, xmp.Value]:
    after = xmp.add(before, additions, sidecar=False)
    assert xmp.only_ours_differs(before, after) is None
    assert xmp.properties(xmp.remove(after)) == xmp.properties(before)
    return xmp.properties(after)


def test_every_field_is_written_in_its_own_form() -> None:
    said = said_after(None)
    assert said["dc:subject"] == ["Eiffel Tower", "Paris", "France"]
    assert said["lr:hierarchicalSubject"] == ["Places|France|Paris|Eiffel Tower"]
    assert said["digiKam:TagsList"] == ["Places/France/Paris/Eiffel Tower"]
    assert said["Iptc4xmpExt:LocationShown"] == [
        {
            "Iptc4xmpExt:LocationName": {"x-default": "Eiffel Tower"},
            "Iptc4xmpExt:LocationId": [URN],
            "Iptc4xmpExt:City": "Paris",
            "Iptc4xmpExt:ProvinceState": "Île-de-France",
            "Iptc4xmpExt:CountryName": "France",
            "exif:GPSLatitude": "48,51.5040N",
            "exif:GPSLongitude": "2,17.6700E",
        }
    ]
    assert said["exif:GPSLatitude"] == "48,51.5040N"
    assert said["exif:GPSLongitude"] == "2,17.6700W"
    assert said["exif:GPSProcessingMethod"] == "landmark-tagger"
    assert said["exif:GPSHPositioningError"] == "250/1"
    assert said["exif:GPSMapDatum"] == "WGS-84"
    assert said["dc:description"] == {"x-default": "Eiffel Tower, Paris"}


def test_a_packet_says_which_landmarks_it_has_and_what_was_added() -> None:
    after = xmp.add(None, TOWER, sidecar=True, also_added=[("EXIF:XPKeywords", "Eiffel Tower")])
    (landmark,) = xmp.landmarks(after)
    assert (landmark.slug, landmark.name, landmark.score) == ("eiffel-tower", "Eiffel Tower", "0.9877")
    assert (landmark.model, landmark.verdict) == ("landmarks-61", "confirmed")
    assert xmp.added(after) == (
        ("dc:subject", "Eiffel Tower"),
        ("dc:subject", "Paris"),
        ("dc:subject", "France"),
        ("lr:hierarchicalSubject", "Places|France|Paris|Eiffel Tower"),
        ("digiKam:TagsList", "Places/France/Paris/Eiffel Tower"),
        ("Iptc4xmpExt:LocationShown", URN),
        ("exif:GPSLatitude", "48,51.5040N"),
        ("exif:GPSLongitude", "2,17.6700W"),
        ("exif:GPSProcessingMethod", "landmark-tagger"),
        ("exif:GPSHPositioningError", "250/1"),
        ("exif:GPSMapDatum", "WGS-84"),
        ("dc:description", "Eiffel Tower, Paris"),
        ("EXIF:XPKeywords", "Eiffel Tower"),
    )
    assert xmp.properties(after)["landmarkTagger:Sidecar"] == "created"


def test_keywords_that_are_there_in_any_spelling_are_not_added_and_not_ours() -> None:
    before = packet(listed("dc:subject", "PARIS", "ours first", "Zu\u0308rich"))
    after = xmp.add(before, Additions(keywords=("Paris", "Zürich", "Rome", "rome")), sidecar=False)
    assert xmp.properties(after)["dc:subject"] == ["PARIS", "ours first", "Zu\u0308rich", "Rome"]
    assert xmp.added(after) == (("dc:subject", "Rome"),)


def test_a_list_of_paths_that_we_begin_starts_with_its_owners_keywords() -> None:
    # Programs take the first field that has any, so theirs would be gone from what they show.
    said = said_after(packet(listed("dc:subject", "Anna", "a|b/c")))
    assert said["dc:subject"] == ["Anna", "a|b/c", *TOWER.keywords]
    assert said["lr:hierarchicalSubject"] == ["Anna", "a¦b/c", "Places|France|Paris|Eiffel Tower"]
    assert said["digiKam:TagsList"] == ["Anna", "a¦b\\c", "Places/France/Paris/Eiffel Tower"]


def test_paths_of_the_owner_are_repeated_from_one_field_in_the_other() -> None:
    theirs = listed("lr:hierarchicalSubject", "People|Anna") + listed("dc:subject", "anna", "sun")
    said = said_after(packet(theirs))
    assert said["lr:hierarchicalSubject"] == ["People|Anna", "Places|France|Paris|Eiffel Tower"]
    assert said["digiKam:TagsList"] == ["People/Anna", "sun", "Places/France/Paris/Eiffel Tower"]


@pytest.mark.parametrize(
    ("field", "theirs"),
    [("MicrosoftPhoto:LastKeywordXMP", "People/Anna"), ("mediapro:CatalogSets", "People|Anna")],
)
def test_paths_of_the_owner_are_repeated_from_whichever_field_has_them(field: str, theirs: str) -> None:
    said = said_after(packet(listed(field, theirs)))
    assert said[field] == [theirs]
    assert said["lr:hierarchicalSubject"] == ["People|Anna", "Places|France|Paris|Eiffel Tower"]
    assert said["digiKam:TagsList"] == ["People/Anna", "Places/France/Paris/Eiffel Tower"]


def test_keywords_of_other_blocks_start_the_fields_that_we_begin_and_go_with_them() -> None:
    after = xmp.add(None, TOWER, sidecar=False, repeated=("Anna", "paris"))
    said = xmp.properties(after)
    assert said["dc:subject"] == ["Anna", "paris", "Eiffel Tower", "France"]
    assert said["digiKam:TagsList"] == ["Anna", "paris", "Places/France/Paris/Eiffel Tower"]
    assert xmp.only_ours_differs(None, after) is None
    assert xmp.remove(after) is None


def test_keywords_of_other_blocks_are_not_added_to_a_field_that_is_there() -> None:
    after = xmp.add(packet(listed("dc:subject", "sun")), TOWER, sidecar=False, repeated=("Anna",))
    assert xmp.properties(after)["dc:subject"] == ["sun", *TOWER.keywords]


def test_where_no_path_of_ours_is_added_no_list_of_paths_is_begun() -> None:
    after = xmp.add(packet(listed("dc:subject", "sun")), Additions(keywords=("Rome",)), sidecar=False)
    assert xmp.added(after) == (("dc:subject", "Rome"),)


def test_a_sidecar_begun_with_its_photos_packet_says_so_and_what_was_copied_stays() -> None:
    after = xmp.add(packet(listed("dc:subject", "sun")), TOWER, sidecar=True, created=True)
    assert xmp.properties(after)["landmarkTagger:Sidecar"] == "created"
    assert xmp.properties(xmp.remove(after)) == {"dc:subject": ["sun"]}
    assert xmp.remove(xmp.add(packet(""), TOWER, sidecar=True, created=True)) is None


def test_whether_anything_is_ours_is_known() -> None:
    assert xmp.is_ours(xmp.add(None, TOWER, sidecar=True))
    assert not any(map(xmp.is_ours, (None, packet(""), b"no XML")))


@pytest.mark.parametrize("kind", ["Bag", "Seq"])
def test_the_list_that_is_there_stays_the_kind_it_is(kind: str) -> None:
    after = xmp.add(packet(listed("dc:subject", "a", kind=kind)), TOWER, sidecar=False)
    assert f"<rdf:{kind}><rdf:li>a</rdf:li><rdf:li>Eiffel Tower</rdf:li>".encode() in after


@pytest.mark.parametrize(
    "before",
    [
        packet("<dc:subject>Paris, France</dc:subject>"),
        packet("", 'dc:subject="Paris"'),
        packet(listed("dc:subject", "Paris", kind="Alt")),
        packet(listed("dc:subject", "Paris") + listed("dc:subject", "Rome")),
        packet("<dc:subject rdf:parseType='Resource'><dc:subject>Paris</dc:subject></dc:subject>"),
        packet(listed("dc:subject", "Paris").replace("<dc:subject>", "<dc:subject dc:source='me'>")),
        packet("<Iptc4xmpExt:LocationShown rdf:parseType='Resource'/>"),
        packet("<landmarkTagger:Sidecar>created</landmarkTagger:Sidecar>"),
    ],
)
def test_forms_that_merging_would_damage_are_refused(before: bytes) -> None:
    with pytest.raises(WriteRefused) as refusal:
        xmp.add(before, TOWER, sidecar=False)
    assert refusal.value.kind is RefusalKind.XMP


def test_separators_within_names_are_harmless() -> None:
    said = said_after(None, Additions(paths=(("Places", "A|B/C", "\0", " "),)))
    assert said["lr:hierarchicalSubject"] == ["Places|A¦B/C"]
    assert said["digiKam:TagsList"] == ["Places/A¦B\\C"]


def test_what_xml_cannot_hold_is_dropped_and_all_else_is_kept() -> None:
    said = said_after(
        None, Additions(keywords=("a\0b\x1b\ud800\uffff", "<&>'\"]]>", "😀\r\n\t", "\x07", " \n"))
    )
    assert said["dc:subject"] == ["ab", "<&>'\"]]>", "😀\r\n\t"]


@pytest.mark.parametrize(
    "there",
    [
        f"<Iptc4xmpExt:LocationId><rdf:Bag><rdf:li>{URN}</rdf:li></rdf:Bag></Iptc4xmpExt:LocationId>",
        f"<Iptc4xmpExt:LocationId>{URN}</Iptc4xmpExt:LocationId>",
        "<Iptc4xmpExt:LocationName>EIFFEL tower</Iptc4xmpExt:LocationName>",
        "<Iptc4xmpExt:LocationName xml:lang='en'>Eiffel Tower</Iptc4xmpExt:LocationName>",
        LANGUAGES,
    ],
)
def test_a_location_that_is_shown_already_is_not_shown_twice(there: str) -> None:
    item = f"<rdf:li><rdf:Description>{there}</rdf:Description></rdf:li>"
    before = packet(f"<Iptc4xmpExt:LocationShown><rdf:Bag>{item}</rdf:Bag></Iptc4xmpExt:LocationShown>")
    field = "Iptc4xmpExt:LocationShown"
    assert said_after(before)[field] == xmp.properties(before)[field]


def test_locations_without_a_point_have_no_coordinates() -> None:
    area = NamedLandmark("old-town", "Old Town", latitude=1.0, longitude=2.0, extent="area")
    said = said_after(None, Additions((area,)))
    assert said["Iptc4xmpExt:LocationShown"] == [
        {
            "Iptc4xmpExt:LocationName": {"x-default": "Old Town"},
            "Iptc4xmpExt:LocationId": ["urn:landmark-tagger:landmark:old-town"],
        }
    ]


@pytest.mark.parametrize(
    "field", ["Latitude", "Longitude", "MapDatum", "ProcessingMethod", "HPositioningError"]
)
def test_a_position_is_added_only_where_nothing_is_said_of_any(field: str) -> None:
    before = packet("", f'exif:GPS{field}="x"')
    said = said_after(before)
    assert {name: value for name, value in said.items() if name.startswith("exif:")} == {
        f"exif:GPS{field}": "x"
    }


@pytest.mark.parametrize(
    ("latitude", "written"), [(0.0, "0,0.0000N"), (-0.5, "0,30.0000S"), (59.99999999, "60,0.0000N")]
)
def test_minutes_are_rounded_into_degrees(latitude: float, written: str) -> None:
    assert said_after(None, Additions(position=Position(latitude, 0, 1)))["exif:GPSLatitude"] == written


def test_a_position_that_is_none_is_not_written() -> None:
    for latitude in (float("nan"), float("inf"), 91.0):
        assert "exif:GPSLatitude" not in said_after(None, Additions(position=Position(latitude, 0, 1)))


def test_a_description_is_never_replaced() -> None:
    texts = "<dc:description><rdf:Alt><rdf:li xml:lang='fr'>Ma tour</rdf:li></rdf:Alt></dc:description>"
    assert said_after(packet(texts))["dc:description"] == {"fr": "Ma tour"}
    assert said_after(packet("", 'dc:description="Mine"'))["dc:description"] == "Mine"


def test_an_empty_description_is_filled_and_left_empty_again() -> None:
    shell = "<dc:description><rdf:Alt><rdf:li xml:lang='x-default'/></rdf:Alt></dc:description>"
    assert said_after(packet(shell))["dc:description"] == {"x-default": "Eiffel Tower, Paris"}


@pytest.mark.parametrize("item", ["rdf:_1 xml:lang='x-default'", "rdf:li xml:lang='x-default' rdf:value=''"])
def test_an_empty_description_in_an_odd_form_is_left_alone(item: str) -> None:
    before = packet(f"<dc:description><rdf:Alt><{item}/></rdf:Alt></dc:description>")
    assert said_after(before)["dc:description"] == {"x-default": ""}


def test_an_empty_list_is_left_empty_again() -> None:
    assert said_after(packet(listed("dc:subject")))["dc:subject"] == list(TOWER.keywords)


def test_what_its_owner_added_since_stays_in_order() -> None:
    after = xmp.add(packet(listed("dc:subject", "a", "b")), TOWER, sidecar=False)
    edited = after.replace(b"<rdf:li>Paris</rdf:li>", b"<rdf:li>c</rdf:li><rdf:li>Paris</rdf:li>")
    assert edited != after
    assert xmp.properties(xmp.remove(edited)) == {"dc:subject": ["a", "b", "c"]}


def test_a_packet_that_we_made_stays_while_something_of_its_owners_is_in_it() -> None:
    after = xmp.add(None, TOWER, sidecar=True)
    edited = after.replace(b"<rdf:li>Paris</rdf:li>", b"<rdf:li>mine</rdf:li>")
    left = xmp.remove(edited)
    assert xmp.properties(left) == {"dc:subject": ["mine"]}
    assert left is not None
    assert b"landmark-tagger:xmp" not in left


def test_an_empty_packet_of_somebody_elses_is_kept() -> None:
    before = packet("")
    back = xmp.remove(xmp.add(before, TOWER, sidecar=True))
    assert back is not None
    assert xmp.properties(back) == {}


def test_a_packet_without_us_is_left_to_the_byte() -> None:
    before = packet(listed("dc:subject", "a")) + b"\0\0"
    assert xmp.remove(before) == before


@pytest.mark.parametrize(
    ("written", "edited", "left"),
    [
        # Somebody else's position: what we said of ours goes, theirs stays whole.
        (
            b"48,51.5040N</exif:GPSLatitude>\n   <",
            b"40,0.0N</exif:GPSLatitude>\n   <",
            {"Latitude", "Longitude"},
        ),
        # Other programs write the same position with other decimals.
        (b"48,51.5040N</exif:GPSLatitude>\n   <", b"48,51.504000N</exif:GPSLatitude>\n   <", set()),
    ],
)
def test_a_position_goes_only_where_it_still_is_ours(written: bytes, edited: bytes, left: set[str]) -> None:
    after = xmp.add(packet(""), TOWER, sidecar=False)
    assert after.count(written) == 1
    said = xmp.properties(xmp.remove(after.replace(written, edited)))
    assert set(said) == {f"exif:GPS{name}" for name in left}


def test_a_description_goes_only_where_it_still_is_ours() -> None:
    after = xmp.add(packet(""), TOWER, sidecar=False)
    edited = after.replace(b'x-default">Eiffel Tower, Paris<', b'x-default">My tower<')
    assert edited != after
    assert xmp.properties(xmp.remove(edited)) == {"dc:description": {"x-default": "My tower"}}


def test_a_location_that_somebody_added_to_is_theirs() -> None:
    after = xmp.add(packet(""), TOWER, sidecar=False)
    end = b"</Iptc4xmpExt:City>"
    edited = after.replace(end, end + b"<Iptc4xmpExt:Sublocation>7e</Iptc4xmpExt:Sublocation>")
    (place,) = xmp.properties(xmp.remove(edited))["Iptc4xmpExt:LocationShown"]
    assert isinstance(place, dict)
    assert place["Iptc4xmpExt:Sublocation"] == "7e"


def test_values_are_found_in_the_forms_that_other_programs_write() -> None:
    rewritten = packet(
        f"<Iptc4xmpExt:LocationShown><rdf:Seq><rdf:li Iptc4xmpExt:LocationId='{URN}'/></rdf:Seq>"
        "</Iptc4xmpExt:LocationShown>"
        "<landmarkTagger:Added><rdf:Seq>"
        "<rdf:li rdf:parseType='Resource'><landmarkTagger:Field>dc:subject</landmarkTagger:Field>"
        "<landmarkTagger:Value>Paris</landmarkTagger:Value></rdf:li>"
        "<rdf:li><rdf:Description landmarkTagger:Field='dc:description' landmarkTagger:Value='Tower'/></rdf:li>"
        f"<rdf:li landmarkTagger:Field='Iptc4xmpExt:LocationShown' landmarkTagger:Value='{URN}'/>"
        "</rdf:Seq></landmarkTagger:Added>",
        'dc:subject="Paris" dc:description="Tower" landmarkTagger:Sidecar="created"',
    )
    assert xmp.remove(rewritten) is None


def test_nonsense_in_our_own_fields_is_passed_over() -> None:
    nonsense = packet(
        listed("dc:subject", "Paris", "Paris", "Rome")
        + "<landmarkTagger:Added><rdf:Bag><rdf:li>dc:subject</rdf:li>"
        "<rdf:li landmarkTagger:Field='dc:subject'/><rdf:li landmarkTagger:Value='Rome'/>"
        "<rdf:li landmarkTagger:Field='dc:subject' landmarkTagger:Value='Paris'/>"
        "<rdf:li landmarkTagger:Field='dc:title' landmarkTagger:Value='Mine'/></rdf:Bag></landmarkTagger:Added>"
        "<landmarkTagger:Landmarks><rdf:Bag><rdf:li>x</rdf:li></rdf:Bag></landmarkTagger:Landmarks>"
        "<landmarkTagger:WasEmpty>x</landmarkTagger:WasEmpty>",
        'dc:title="Mine"',
    )
    assert xmp.landmarks(nonsense) == ()
    assert xmp.properties(xmp.remove(nonsense)) == {"dc:title": "Mine", "dc:subject": ["Paris", "Rome"]}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (packet("", 'dc:title="a"'), packet("", 'dc:title="b"'), "dc:title was 'a' and would be 'b'"),
        (packet("", 'dc:title="a"'), packet(""), "dc:title was 'a' and would be absent"),
        (packet(""), packet("", 'dc:title="a"'), "dc:title was absent and would be 'a'"),
        (packet(listed("dc:subject", "a", "b")), packet(listed("dc:subject", "b", "a")), "dc:subject was"),
        (packet(""), b"no XML", "broken"),
    ],
)
def test_the_proof_names_what_differs(before: bytes, after: bytes, said: str) -> None:
    found = xmp.only_ours_differs(before, after)
    assert found is not None
    assert said in found


def test_extended_blocks_are_asked_for_our_fields() -> None:
    assert not xmp.in_extended(None)
    assert not xmp.in_extended(packet("", 'dc:title="a"'))
    assert xmp.in_extended(packet(listed("dc:subject", "a")))
    assert xmp.in_extended(packet("", 'exif:GPSLatitude="1,2N"'))
    assert xmp.in_extended(packet("", 'landmarkTagger:Other="x"'))
    assert xmp.in_extended(b"no XML")
