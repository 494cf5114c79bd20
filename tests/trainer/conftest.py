"""`trainer data` as a person types it, in this process."""

import logging
import sys
from collections.abc import Iterator

import pytest
from said import Said, Typed

from trainer.cli import main as cli


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Typed]:
    """`data("inspect", folder)` types `trainer data inspect FOLDER`."""
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)

    def typed(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["trainer", "data", *map(str, words)])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfdbinary.readouterr()
        return Said(int(ended.value.code or 0), out, err.decode())

    yield typed
    logging.getLogger("trainer").handlers = []
