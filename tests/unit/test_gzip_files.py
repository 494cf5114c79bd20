"""Files that commands read: gzip is decompressed, within limits."""

import gzip
from pathlib import Path

import pytest

from tagger.cli.output import files


def test_gzip_that_grows_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "GZIP_FREE_BYTES", 1 << 16)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1 << 22)))
    with (
        files.open_seekable(tmp_path / "bomb.gz") as source,
        pytest.raises(gzip.BadGzipFile, match="200 times"),
    ):
        source.read()
    (tmp_path / "verdicts.gz").write_bytes(gzip.compress(b"[]"))
    with files.open_seekable(tmp_path / "verdicts.gz") as source:
        assert source.read() == b"[]"
