"""Commands as a person types them, but in this process, which is quicker than starting one for each."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from artifacts import tiny_artifact
from said import Said, Typed
from servers import RedisServer

from tagger.cli import console
from tagger.cli.main import main
from tagger.database import Database, open_database


@pytest.fixture
def sqlite_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the commands of this test keep what they know."""
    url = f"sqlite:///{tmp_path / 'data' / 'tagger.sqlite'}"
    monkeypatch.setenv("TAGGER_DATABASE_URL", url)
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.delenv("TAGGER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return url


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def tagger(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Typed:
    """`tagger("query", "--json")` types that command."""

    def typed(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["tagger", *map(str, words)])
        monkeypatch.setattr(console.loudness, "level", 0)
        capfdbinary.readouterr()
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capfdbinary.readouterr()
        return Said(code, out, err.decode())

    return typed


@pytest.fixture
def person(
    tagger: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> Typed:
    """Somebody with a tiny model and a Redis of their own."""
    tiny_artifact(tmp_path / "tiny.pt")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "tiny.pt"))
    monkeypatch.setenv("TAGGER_DEVICE", "cpu")
    monkeypatch.setenv("TAGGER_REDIS_URL", redis_server.url)
    return tagger
