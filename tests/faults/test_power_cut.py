"""What a power cut leaves: each file that holds a person's data is flushed before its rename, and its folder
after that.

Real processes record the order of their flushes, renames and commits (see injected/flushes).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.commands import LABELS, Terminal, draw
from support.training_photos import draw_small_world

FULL = 2  # SQLite's `synchronous`: each commit is flushed


DERIVED = "pixels"  # The folder of decoded photos, which the trainer decodes again


class Recorder:
    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._file = terminal.folder / "flushes"
        terminal.inject(record_flushes=self._file)

    def events(self, *words: str | Path, program: str = "tagger") -> list[dict[str, Any]]:
        self._file.unlink(missing_ok=True)
        code = self._terminal.start(*words, program=program).wait(timeout=300)
        assert code == 0, self._terminal.log.read_text()[-2000:]
        events = [json.loads(line) for line in self._file.read_text().splitlines()]
        return [event for event in events if DERIVED not in event.get("name", "")]


def replaced(events: Sequence[dict[str, Any]]) -> set[str]:
    """The names of the replaced files, after a check that a power cut leaves each old or new."""
    assert [event for event in events if event.get("commit", FULL) != FULL] == []
    names = set()
    for at, event in enumerate(events):
        if "rename" in event:
            assert {"flush": event["rename"]} in events[:at], f"{event['name']} was not flushed"
            assert {"flush": event["folder"]} in events[at:], f"the folder of {event['name']} was not flushed"
            names.add(Path(event["name"]).name)
    return names


@pytest.fixture
def terminal(tmp_path) -> Terminal:
    terminal = Terminal(tmp_path / "terminal")
    for seed in range(3):
        draw(terminal.folder / "photos" / f"{seed}.jpg", seed % len(LABELS), seed=seed)
    return terminal


def test_what_was_written_is_on_the_disk_and_undo_records_of_photos_are_there_before(terminal):
    terminal.run("tag", "photos")
    recorder = Recorder(terminal)
    for words in (("write", "--to", "embed"), ("undo", "--all")):
        events = recorder.events("metadata", *words)
        assert replaced(events) == {"0.jpg", "1.jpg", "2.jpg"}
        first = next(at for at, event in enumerate(events) if "rename" in event)
        prepared = max(at for at, event in enumerate(events[:first]) if "flush" in event)
        assert any("commit" in event for event in events[prepared:first])
    events = recorder.events("metadata", "write", "--to", "sidecar")
    assert replaced(events) == {"0.jpg.xmp", "1.jpg.xmp", "2.jpg.xmp"}
    assert replaced(recorder.events("review", "export", "verdicts.jsonl")) == {"verdicts.jsonl"}


@pytest.mark.slow
def test_checkpoints_and_models_of_the_trainer_are_on_the_disk(terminal):
    world = draw_small_world(terminal.folder)
    recorder = Recorder(terminal)
    data = ("--data", world / "data", "--unknown", world / "unknown")
    sizes = ("--epochs", "2", "--size", "32", "--batch-size", "8")
    trained = recorder.events("train", "scratch", *data, "--out", "run", *sizes, program="trainer")
    assert "training.safetensors" in replaced(trained)
    assert "model.pt" in replaced(recorder.events("export", "run", "--out", "model.pt", program="trainer"))
