"""Our fields in a packet: which are added, in which form, and their removal."""

import pytest
from rig.xmp_packets import packet_of, xmp_list

from tagger.metadata import NamedLandmark, PositionEstimate, RefusalKind, TagFields, WriteRefused, xmp
from tagger.metadata.xmp import changes

EIFFEL = NamedLandmark(
    *("eiffel-tower", "Eiffel Tower", "France", "Île-de-France", "Paris", 48.8584, 2.2945, "point"),
    score=0.98765,
    model="landmarks-61",
    verdict="confirmed",
)
URN = "urn:landmark-tagger:landmark:eiffel-tower"
TOWER = TagFields(
    (EIFFEL,),
    ("Eiffel Tower", "Paris", "France"),
    (("Places", "France", "Paris", "Eiffel Tower"),),
    PositionEstimate(48.8584, -2.2945, 249.2),
    "Eiffel Tower, Paris",
)


LANGUAGES = (
    "<Iptc4xmpExt:LocationName><rdf:Alt><rdf:li xml:lang='en'>Eiffel Tower</rdf:li></rdf:Alt>"
    "</Iptc4xmpExt:LocationName>"
)


def properties_after(before: bytes | None, tag_fields: TagFields = TOWER) -> dict[str, xmp.Value]:
    after = changes.add(before, tag_fields, sidecar=False)
    assert xmp.insertion_difference(before, after) is None
    assert xmp.properties(changes.remove(after)) == xmp.properties(before)
    return xmp.properties(after)


def test_every_field_has_its_own_form():
    properties = properties_after(None)
    assert properties["dc:subject"] == ["Eiffel Tower", "Paris", "France"]
    assert properties["lr:hierarchicalSubject"] == ["Places|France|Paris|Eiffel Tower"]
    assert properties["digiKam:TagsList"] == ["Places/France/Paris/Eiffel Tower"]
    assert properties["Iptc4xmpExt:LocationShown"] == [
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
    assert properties["exif:GPSLatitude"] == "48,51.5040N"
    assert properties["exif:GPSLongitude"] == "2,17.6700W"
    assert properties["exif:GPSProcessingMethod"] == "landmark-tagger"
    assert properties["exif:GPSHPositioningError"] == "250/1"
    assert properties["exif:GPSMapDatum"] == "WGS-84"
    assert properties["dc:description"] == {"x-default": "Eiffel Tower, Paris"}


def test_packet_records_landmarks_and_added_values():
    after = changes.add(None, TOWER, sidecar=True, also_added=[("EXIF:XPKeywords", "Eiffel Tower")])
    (landmark,) = xmp.written_landmarks(after)
    assert (landmark.slug, landmark.name, landmark.score) == ("eiffel-tower", "Eiffel Tower", "0.9877")
    assert (landmark.model, landmark.verdict) == ("landmarks-61", "confirmed")
    assert xmp.added_values(after) == (
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


def test_keywords_and_paths_of_the_owner_are_not_repeated():
    owners = ["PARIS", "ours first", "Zu\u0308rich", "Peter\u2019s\u00a0Hill"]
    before = packet_of(xmp_list("dc:subject", *owners))
    keywords = ("Paris", "Zürich", "Peter's Hill", "Rome", "rome")
    after = changes.add(before, TagFields(keywords=keywords), sidecar=False)
    assert xmp.properties(after)["dc:subject"] == [*owners, "Rome"]
    assert xmp.added_values(after) == (("dc:subject", "Rome"),)
    # Programs show the first field that has values, so the owner's would disappear.
    properties = properties_after(packet_of(xmp_list("dc:subject", "Anna", "a|b/c")))
    assert properties["dc:subject"] == ["Anna", "a|b/c", *TOWER.keywords]
    assert properties["lr:hierarchicalSubject"] == ["Anna", "a¦b/c", "Places|France|Paris|Eiffel Tower"]
    assert properties["digiKam:TagsList"] == ["Anna", "a¦b\\c", "Places/France/Paris/Eiffel Tower"]
    written = CATEGORIES.replace("<", "&lt;")
    properties = properties_after(packet_of(f"<acdsee:categories>{written}</acdsee:categories>"))
    assert properties["acdsee:categories"] == CATEGORIES
    assert properties["digiKam:TagsList"] == ["Family/Anna", "Trips", "Places/France/Paris/Eiffel Tower"]
    assert properties["lr:hierarchicalSubject"][:2] == ["Family|Anna", "Trips"]
    damaged = properties_after(packet_of(f"<acdsee:categories>{written[:40]}</acdsee:categories>"))
    assert damaged["digiKam:TagsList"] == ["Places/France/Paris/Eiffel Tower"]


@pytest.mark.parametrize(
    ("field", "owners"),
    [
        ("lr:hierarchicalSubject", "People|Anna"),
        ("MicrosoftPhoto:LastKeywordXMP", "People/Anna"),
        ("MicrosoftPhoto1.0:LastKeywordXMP", "People/Anna"),
        ("mediapro:CatalogSets", "People|Anna"),
    ],
)
def test_owners_paths_are_repeated_from_any_field(field, owners):
    properties = properties_after(packet_of(xmp_list(field, owners) + xmp_list("dc:subject", "anna", "sun")))
    assert properties[field][0] == owners
    assert properties["lr:hierarchicalSubject"][0] == "People|Anna"
    assert properties["digiKam:TagsList"] == ["People/Anna", "sun", "Places/France/Paris/Eiffel Tower"]


CATEGORIES = (
    "<Categories><Category Assigned='0'>Family<Category Assigned='1'> Anna </Category></Category>"
    "<Category Assigned='1'>Trips<Category Assigned='0'>Rome</Category></Category></Categories>"
)


def test_a_sidecar_keeps_copied_fields_and_no_character_that_xml_cannot_hold():
    after = changes.add(packet_of(xmp_list("dc:subject", "sun")), TOWER, sidecar=True, created=True)
    assert xmp.properties(after)["landmarkTagger:Sidecar"] == "created"
    assert xmp.properties(changes.remove(after)) == {"dc:subject": ["sun"]}
    assert changes.remove(changes.add(packet_of(""), TOWER, sidecar=True, created=True)) is None
    properties = properties_after(
        None, TagFields(keywords=("a\0b\x1b\ud800\uffff", "<&>'\"]]>", "😀\r\n\t", "\x07", " \n"))
    )
    assert properties["dc:subject"] == ["ab", "<&>'\"]]>", "😀\r\n\t"]


@pytest.mark.parametrize(
    "before",
    [
        packet_of(
            xmp_list("Iptc4xmpExt:LocationShown", "Paris") + xmp_list("Iptc4xmpExt:LocationShown", LANGUAGES)
        ),
        packet_of("<Iptc4xmpExt:LocationShown Iptc4xmpExt:City='Paris'/>"),
        packet_of("<dc:subject rdf:parseType='Resource'><dc:subject>Paris</dc:subject></dc:subject>"),
        packet_of(xmp_list("dc:subject", "Paris").replace("<dc:subject>", "<dc:subject dc:source='me'>")),
        packet_of("<landmarkTagger:Sidecar>created</landmarkTagger:Sidecar>"),
    ],
)
def test_fields_that_cannot_be_extended_are_refused(before):
    with pytest.raises(WriteRefused) as refusal:
        changes.add(before, TOWER, sidecar=False)
    assert refusal.value.kind is RefusalKind.XMP


@pytest.mark.parametrize(
    "existing",
    [
        f"<Iptc4xmpExt:LocationId><rdf:Bag><rdf:li>{URN}</rdf:li></rdf:Bag></Iptc4xmpExt:LocationId>",
        "<Iptc4xmpExt:LocationName>EIFFEL tower</Iptc4xmpExt:LocationName>",
        "<Iptc4xmpExt:LocationName xml:lang='en'>Eiffel Tower</Iptc4xmpExt:LocationName>",
        LANGUAGES,
    ],
)
def test_existing_location_is_not_added(existing):
    item = f"<rdf:li><rdf:Description>{existing}</rdf:Description></rdf:li>"
    before = packet_of(f"<Iptc4xmpExt:LocationShown><rdf:Bag>{item}</rdf:Bag></Iptc4xmpExt:LocationShown>")
    field = "Iptc4xmpExt:LocationShown"
    assert properties_after(before)[field] == xmp.properties(before)[field]


def test_locations_without_a_point_have_no_coordinates():
    area = NamedLandmark("old-town", "Old Town", latitude=1.0, longitude=2.0, extent="area")
    properties = properties_after(None, TagFields((area,)))
    assert properties["Iptc4xmpExt:LocationShown"] == [
        {
            "Iptc4xmpExt:LocationName": {"x-default": "Old Town"},
            "Iptc4xmpExt:LocationId": ["urn:landmark-tagger:landmark:old-town"],
        }
    ]


def test_the_sight_where_a_photo_was_taken_is_added_and_removed_as_a_whole():
    position = PositionEstimate(48.8606, 2.3376, 250, sight=NamedLandmark("louvre", "Louvre"))
    assert properties_after(None, TagFields(position=position))["Iptc4xmpCore:Location"] == "Louvre"


@pytest.mark.parametrize(
    "field", ["Latitude", "Longitude", "MapDatum", "ProcessingMethod", "HPositioningError"]
)
def test_position_is_added_only_without_existing_gps_fields(field):
    before = packet_of("", f'exif:GPS{field}="x"')
    properties = properties_after(before)
    assert {name: value for name, value in properties.items() if name.startswith("exif:")} == {
        f"exif:GPS{field}": "x"
    }


@pytest.mark.parametrize(
    ("latitude", "written"), [(0.0, "0,0.0000N"), (-0.5, "0,30.0000S"), (59.99999999, "60,0.0000N")]
)
def test_minutes_are_rounded_into_degrees(latitude, written):
    properties = properties_after(None, TagFields(position=PositionEstimate(latitude, 0, 1)))
    assert properties["exif:GPSLatitude"] == written


def test_a_description_is_never_replaced_and_one_of_version_1_removed():
    texts = "<dc:description><rdf:Alt><rdf:li xml:lang='fr'>Ma tour</rdf:li></rdf:Alt></dc:description>"
    assert properties_after(packet_of(texts))["dc:description"] == {"fr": "Ma tour"}
    assert properties_after(packet_of("", 'dc:description="Mine"'))["dc:description"] == "Mine"
    filled = changes.add(None, TOWER, sidecar=False).replace(
        b"'dc:description'", b"'dc:description[x-default]'"
    )
    filled = filled.replace(b'"dc:description"', b'"dc:description[x-default]"')
    assert ("dc:description[x-default]", TOWER.description) in xmp.added_values(filled)
    assert changes.remove(filled) is None


@pytest.mark.parametrize(
    "blank",
    [
        packet_of("<dc:subject/>"),
        packet_of("<dc:subject> \n </dc:subject>"),
        packet_of("<dc:subject><!-- none --></dc:subject>"),
        packet_of("", "dc:subject=''"),
        packet_of(xmp_list("dc:subject")),
    ],
)
def test_an_empty_list_gets_keywords_and_has_none_after_their_removal(blank):
    after = changes.add(blank, TOWER, sidecar=False)
    assert xmp.properties(after)["dc:subject"] == list(TOWER.keywords)
    assert xmp.insertion_difference(blank, after) is None
    assert "dc:subject" not in xmp.properties(changes.remove(after))


def test_values_of_owners_and_other_programs_are_found_and_kept_in_order():
    after = changes.add(packet_of(xmp_list("dc:subject", "a", "b")), TOWER, sidecar=False)
    edited = after.replace(b"<rdf:li>Paris</rdf:li>", b"<rdf:li>c</rdf:li><rdf:li>Paris</rdf:li>")
    assert xmp.properties(changes.remove(edited)) == {"dc:subject": ["a", "b", "c"]}
    after = changes.add(None, TOWER, sidecar=True)
    edited = after.replace(b"<rdf:li>Paris</rdf:li>", b"<rdf:li>mine</rdf:li>")
    remaining = changes.remove(edited)
    assert xmp.properties(remaining) == {"dc:subject": ["mine"]}
    assert remaining is not None
    assert b"landmark-tagger:xmp" not in remaining
    rewritten = packet_of(
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
    assert changes.remove(rewritten) is None


@pytest.mark.parametrize(
    ("latitude", "remaining"),
    [
        # The position of another program stays; our method is removed.
        (b"40,0.0N", {"exif:GPSLatitude", "exif:GPSLongitude"}),
        # Other programs write the same position with other decimals.
        (b"48,51.504000N", set()),
    ],
)
def test_position_is_removed_only_if_unchanged(latitude, remaining):
    after = changes.add(packet_of(""), TOWER, sidecar=False)
    end = b"</exif:GPSLatitude>\n   <"
    assert after.count(b"48,51.5040N" + end) == 1
    edited = after.replace(b"48,51.5040N" + end, latitude + end)
    assert xmp.properties(changes.remove(edited)).keys() == remaining


def test_fields_that_others_extended_or_hold_in_extended_xmp_stay():
    after = changes.add(packet_of(""), TOWER, sidecar=False)
    end = b"</Iptc4xmpExt:City>"
    edited = after.replace(end, end + b"<Iptc4xmpExt:Sublocation>7e</Iptc4xmpExt:Sublocation>")
    (place,) = xmp.properties(changes.remove(edited))["Iptc4xmpExt:LocationShown"]
    assert isinstance(place, dict)
    assert place["Iptc4xmpExt:Sublocation"] == "7e"
    assert not xmp.conflicts_with_extended(b"")
    assert not xmp.conflicts_with_extended(packet_of("", 'dc:title="a"'))
    assert xmp.conflicts_with_extended(packet_of(xmp_list("dc:subject", "a")))
    assert xmp.conflicts_with_extended(packet_of("", 'exif:GPSLatitude="1,2N"'))
    assert xmp.conflicts_with_extended(packet_of("", 'landmarkTagger:Added="x"'))
