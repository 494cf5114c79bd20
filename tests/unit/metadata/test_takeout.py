"""JSON files of Google Takeout: facts, no facts, or a broken file."""

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.metadata.stated_facts import StatedFacts, stated_in_takeout

EIFFEL = {"latitude": 48.8584, "longitude": 2.2945, "altitude": 30.0}
ZERO = {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0}
TAKEN = {"timestamp": "1563140283", "formatted": "14 Jul 2019, 21:38:03 UTC"}
AT = datetime(2019, 7, 14, 21, 38, 3)  # noqa: DTZ001


def stated(**fields: object) -> StatedFacts:
    return stated_in_takeout(json.dumps({"title": "IMG_0001.jpg", "photoTakenTime": TAKEN} | fields).encode())


def test_the_position_is_what_a_person_set_else_what_the_camera_stated() -> None:
    at_eiffel = StatedFacts(taken_at=AT, latitude=48.8584, longitude=2.2945)
    assert stated(geoData=EIFFEL, geoDataExif={"latitude": 1.0, "longitude": 1.0}) == at_eiffel
    assert stated(geoData=ZERO, geoDataExif=EIFFEL) == at_eiffel
    assert stated(geoData={"latitude": 99.0, "longitude": 2.0}, geoDataExif=EIFFEL) == at_eiffel
    assert stated(geoData=ZERO, geoDataExif=ZERO) == stated() == StatedFacts(taken_at=AT)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("start", ["", "\r\n\r\n", "\n\ufeff"])
def test_blanks_and_marks_at_the_start_do_not_matter_in_any_encoding(encoding: str, start: str) -> None:
    text = start + json.dumps({"title": "Été.jpg", "photoTakenTime": TAKEN}, ensure_ascii=False)
    assert stated_in_takeout(text.encode(encoding)) == StatedFacts(taken_at=AT)


def test_the_time_is_that_of_capture_which_ente_calls_creation() -> None:
    uploaded = {"timestamp": "1700000000"}
    assert stated(creationTime=uploaded).taken_at == AT
    ente = {"title": "IMG_1.jpg", "creationTime": {"timestamp": 1563140283}, "geoData": EIFFEL}
    facts = stated_in_takeout(json.dumps(ente | {"modificationTime": uploaded}).encode())
    assert facts == StatedFacts(taken_at=AT, latitude=48.8584, longitude=2.2945)


@pytest.mark.parametrize(
    "position",
    [
        *({"latitude": 90.1, "longitude": 0.0}, {"latitude": 1.0, "longitude": -181}, {"latitude": 1.0}),
        *({"latitude": "48.8", "longitude": "2.2"}, {"latitude": True, "longitude": True}, [1, 2], None),
        {"latitude": 10**400, "longitude": 1},
    ],
)
def test_impossible_positions_are_none(position: object) -> None:
    assert stated(geoData=position) == StatedFacts(taken_at=AT)


@pytest.mark.parametrize(
    ("timestamp", "facts"),
    [
        ("0", StatedFacts()),
        ("-1", StatedFacts()),
        ("", StatedFacts()),
        (1563140283, StatedFacts(taken_at=AT)),
        ("-473385600", StatedFacts(taken_at=datetime(1955, 1, 1))),  # noqa: DTZ001 - a scan that was dated
        ("-62135596800", StatedFacts(is_date_unread=True)),  # the year 1
        ("1563140283000", StatedFacts(is_date_unread=True)),  # milliseconds
        ("soon", StatedFacts(is_date_unread=True)),
        ("1_563_140_283", StatedFacts(is_date_unread=True)),
        ("9" * 400, StatedFacts(is_date_unread=True)),
    ],
)
def test_times(timestamp: object, facts: StatedFacts) -> None:
    assert stated(photoTakenTime={"timestamp": timestamp}) == facts


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"photoTakenTime": NaN}', b"9" * 10_000]
)
def test_what_is_not_json_is_broken(data: bytes) -> None:
    assert stated_in_takeout(data) == StatedFacts(is_broken=True)


@pytest.mark.parametrize(
    "document",
    [{"title": "Trip to Paris", "date": TAKEN}, {"geoData": EIFFEL}, ["photoTakenTime"], "photoTakenTime", 7],
)
def test_json_that_is_not_of_a_photo_states_nothing(document: object) -> None:
    assert stated_in_takeout(json.dumps(document).encode()) == StatedFacts()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


@given(
    st.fixed_dictionaries(
        {"photoTakenTime": JSON | st.fixed_dictionaries({"timestamp": JSON})},
        optional={
            "geoData": JSON | st.fixed_dictionaries({"latitude": JSON, "longitude": JSON}),
            "geoDataExif": JSON,
        },
    )
)
def test_any_document_states_facts_that_a_photo_can_have(document: dict[str, object]) -> None:
    facts = stated_in_takeout(json.dumps(document).encode())
    if facts.latitude is not None and facts.longitude is not None:
        assert abs(facts.latitude) <= 90
        assert abs(facts.longitude) <= 180
    assert (facts.latitude is None) == (facts.longitude is None)
