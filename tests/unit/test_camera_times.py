"""Dates of a running clock, and dates that are none."""

from datetime import datetime

import pytest

from tagger.library.catalog.cameras import is_clock_time


@pytest.mark.parametrize(
    ("text", "utc_offset_s", "expected"),
    [
        ("2019-07-14T21:58:03", None, True),
        ("2099-09-29T10:10:10", None, True),
        ("2018-12-31T23:59:59", None, True),
        ("1990-01-02T00:00:01", None, True),
        ("2019-01-01T00:05:00", 3600, True),  # fireworks
        ("2000-01-01T00:00:34", None, False),  # a clock that lost power
        ("2008-01-01T13:05:00", None, False),
        ("2019-07-14T00:00:00", 7200, False),  # a date without a time
        ("1970-01-01T00:00:00", 0, False),
        ("1980-01-06T00:10:00", None, False),
        ("1965-08-02T12:00:00", None, False),  # a scan that somebody dated
    ],
)
def test_times_of_a_running_clock(text: str, utc_offset_s: int | None, expected: bool) -> None:
    assert is_clock_time(datetime.fromisoformat(text), utc_offset_s) is expected
