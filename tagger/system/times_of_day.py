"""Times of day like 06:00, and daily windows between two of them."""

import re
from dataclasses import dataclass
from datetime import time
from typing import Self

_TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


def is_time_of_day(text: str) -> bool:
    """Whether the text has hours and minutes, like 06:00."""
    return bool(_TIME_OF_DAY.fullmatch(text))


@dataclass(frozen=True)
class DailyWindow:
    """The time from `start` to `end` of each day, or to `end` of the next day where it is the earlier of the two."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `22:00-06:00`.

        Raises:
            ValueError: the text has another form, or its ends are equal.
        """
        start, _, end = text.partition("-")
        if not (is_time_of_day(start) and is_time_of_day(end)):
            raise ValueError("write two times of day, like 22:00-06:00")
        if start == end:
            raise ValueError("its ends are equal; to work all day, leave the window out")
        return cls(time.fromisoformat(start), time.fromisoformat(end))

    def contains(self, now: time) -> bool:
        """Whether it is open at this time of day. It is closed at its end."""
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"
