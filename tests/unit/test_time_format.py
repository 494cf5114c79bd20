"""Times on pages of photos are in words."""

from datetime import UTC, datetime

from tagger.system.text_format import day_text, moment_text


def test_a_day_and_a_moment_are_in_words() -> None:
    time = datetime(2024, 6, 3, 4, 5, 59, tzinfo=UTC)
    assert day_text(time) == "3 June 2024"
    assert day_text(time.date()) == "3 June 2024"
    assert moment_text(time) == "3 June 2024, 04:05"
