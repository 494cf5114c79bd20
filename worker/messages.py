"""The wake-up, versioned JSON, and the log lines about invalid messages."""

import logging
import threading
import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tagger.database.enums import Priority

log = logging.getLogger(__name__)

VERSION: Literal[1] = 1
TASK_NAME = "tagger.tag_chunk"
TICK_NAME = "tagger.tick"


class WakeUp(BaseModel):
    """Says that chunks of a priority wait. The worker that receives it claims the next one in SQL."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = VERSION
    priority: Annotated[Priority, Field(strict=False)]


class InvalidMessages:
    """Logs that invalid messages were dropped, at most once within REPORT_S: another program may send without end."""

    REPORT_S = 60.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._next_at = 0.0

    def report(self, reason: str) -> None:
        """Report one more message that was dropped, and why."""
        with self._lock:
            self._count += 1
            now = time.monotonic()
            if now < self._next_at:
                return
            count, self._count, self._next_at = self._count, 0, now + self.REPORT_S
        log.error("Invalid messages: %d dropped (the last: %s)", count, reason)


INVALID_MESSAGES = InvalidMessages()
"""Those of this process."""
