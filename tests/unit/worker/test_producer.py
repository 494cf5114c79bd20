"""The Celery app."""

from pathlib import Path

import pytest
from rig.servers import KEYS

from worker.producer import make_app


def test_nothing_is_imported_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strangers_module.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        make_app("memory://", KEYS).loader.import_task_module("strangers_module")
