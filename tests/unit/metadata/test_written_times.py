"""Times in texts: the lawful forms, slightly wrong ones with one meaning, and those that are not taken."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.metadata.stated_facts import is_blank, parse_time
from tagger.photos.facts import PhotoFacts


@pytest.mark.parametrize(
    ("text", "taken_at", "offset_s"),
    [
        ("2015:08:22 10:08:19", "2015-08-22T10:08:19", None),
        ("2015-08-22T10:08:19.123Z", "2015-08-22T10:08:19", 0),
        ("2015-08-22T10:08+02:00", "2015-08-22T10:08:00", 7200),
        ("2015/08/22 10:08:19", "2015-08-22T10:08:19", None),
        ("2015.08.22 10.08.19", "2015-08-22T10:08:19", None),
        ("2015-08-22-10-08-19", "2015-08-22T10:08:19", None),
        ("2015:08:22:10:08:19", "2015-08-22T10:08:19", None),
        ("20150822 100819+0200", "2015-08-22T10:08:19", 7200),
        ("20150822T100819", "2015-08-22T10:08:19", None),
        ("2015:08:22 24:08:19", "2015-08-22T00:08:19", None),
        ("2015:08:22 10:08:60", "2015-08-22T10:09:00", None),
        ("2015:08:22  9:08:19", "2015-08-22T09:08:19", None),
        ("2015: 8:22 10: 8: 9", "2015-08-22T10:08:09", None),
        ("2015:08:22 10:08:19+02:00", "2015-08-22T10:08:19", 7200),
        ("2015:08:22 10:08:19.52 -0330", "2015-08-22T10:08:19", -12600),
        ("2015:08:22 10:08:19 UTC+02:00", "2015-08-22T10:08:19", 7200),
        ("2015:08:22 10:08:19+99:00", "2015-08-22T10:08:19", None),
        ("2015:08:22 10:08:19 PM", "2015-08-22T22:08:19", None),
        ("2015:08:22 12:08:19 a.m.", "2015-08-22T00:08:19", None),
        ("2015:08:22 22:08:19 pm+02:00", "2015-08-22T22:08:19", 7200),
        ("2015:08:22 下午 10:08:19", "2015-08-22T22:08:19", None),
        ("2015:08:22 午前 10:08:19", "2015-08-22T10:08:19", None),
    ],
)
def test_times_with_one_meaning(text: str, taken_at: str, offset_s: int | None) -> None:
    assert parse_time(text) == PhotoFacts(taken_at=datetime.fromisoformat(taken_at), utc_offset_s=offset_s)


@pytest.mark.parametrize(
    "text",
    [
        *("22/08/2015 10:08:19", "08/22/15 10:08:19", "2015:13:01 10:08:19", "2015:02:30 10:08:19"),
        *("2015:08:22 25:08:19", "2015:08:22 10:60:19", "2015:08:22 10:08:61", "2015:08:22 10:08:190"),
        *("2015:08:22 22:08:19 AM", "2015:08:22 00:08:19 PM", "2015:08:22", "2015-08", "2015", "1440230899"),
        *("yesterday", "9999:12:31 23:59:60"),
    ],
)
def test_other_times_are_not_taken(text: str) -> None:
    assert parse_time(text) is None


def test_days_alone_are_read_where_they_are_lawful() -> None:
    days = [parse_time(text, allows_day=True) for text in ("2015-08-22", "20150822", "2015-08", "2015")]
    assert days == [*[PhotoFacts(taken_at=datetime(2015, 8, 22))] * 2, None, None]  # noqa: DTZ001


@given(st.text(alphabet="0123456789:-/. TZ+ampPM", max_size=40) | st.text(max_size=40))
def test_any_text_is_a_time_or_none(text: str) -> None:
    time = parse_time(text, allows_day=True)
    assert time is None or not is_blank(text)
