"""Daily windows: their text, and when they are open."""

from datetime import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tagger.errors import SettingsInvalid
from tagger.settings import load_settings
from tagger.system.times_of_day import DailyWindow

MINUTES = st.builds(time, st.integers(0, 23), st.integers(0, 59))


@pytest.mark.parametrize(
    ("text", "now", "is_open"),
    [
        ("09:00-17:30", "08:59:59", False),
        ("09:00-17:30", "09:00", True),
        ("09:00-17:30", "17:29:59", True),
        ("09:00-17:30", "17:30", False),
        ("22:00-06:00", "21:59", False),
        ("22:00-06:00", "23:59:59", True),
        ("22:00-06:00", "00:00", True),
        ("22:00-06:00", "06:00", False),
        ("18:00-00:00", "23:59", True),
        ("18:00-00:00", "00:00", False),
    ],
)
def test_a_window_is_open_from_its_start_until_its_end(text: str, now: str, is_open: bool) -> None:
    assert DailyWindow.parse(text).contains(time.fromisoformat(now)) is is_open


@given(MINUTES, MINUTES, MINUTES)
def test_of_a_window_and_the_rest_of_the_day_one_is_open(start: time, end: time, now: time) -> None:
    assume(start != end)
    assert DailyWindow(start, end).contains(now) is not DailyWindow(end, start).contains(now)


@given(st.text())
def test_a_text_is_a_window_or_is_refused(text: str) -> None:
    try:
        window = DailyWindow.parse(text)
    except ValueError:
        return
    assert str(window) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("22:00", "write two times of day, like 22:00-06:00"),
        ("22-6", "write two times of day"),
        ("24:00-06:00", "write two times of day"),
        ("06:00-06:00", "its ends are equal; to work all day, leave the window out"),
    ],
)
def test_an_invalid_window_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(
        SettingsInvalid, match=rf"worker_window \(TAGGER_WORKER_WINDOW\) is '{text}': {reason}"
    ):
        load_settings(worker_window=text)
