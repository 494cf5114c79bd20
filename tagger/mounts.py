"""Whether a folder's disk or share answers: a share that is away may hang instead of saying so."""

import os
import threading
from enum import Enum
from pathlib import Path

ANSWER_S = 5.0


class Mount(Enum):
    """What listing a folder gave."""

    FILLED = "filled"
    EMPTY = "empty"
    MISSING = "missing"
    SILENT = "silent"


def look_into(folder: Path) -> Mount:
    """List a folder's first entry; SILENT where that takes longer than ANSWER_S."""
    with _asking:
        question = _open_questions.get(folder)
        if question is None or not question.is_alive():
            question = _open_questions[folder] = _Question(folder)
            question.start()
    question.join(ANSWER_S)
    return question.answer


class _Question(threading.Thread):
    """Asks in a thread of its own; one that hangs is asked no second time, but waited for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="mount", daemon=True)
        self._folder = folder
        self.answer = Mount.SILENT

    def run(self) -> None:
        try:
            with os.scandir(self._folder) as entries:
                self.answer = Mount.EMPTY if next(entries, None) is None else Mount.FILLED
        except OSError:
            self.answer = Mount.MISSING


_asking = threading.Lock()
_open_questions: dict[Path, _Question] = {}
