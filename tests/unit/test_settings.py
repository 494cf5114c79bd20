"""Where settings come from: the user's configuration folder or a named file, never the working directory."""

import logging
from pathlib import Path
from urllib.parse import quote

import pytest

from tagger.errors import SettingsInvalid
from tagger.settings import load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; no settings are made."""
    monkeypatch.delenv("TAGGER_CONFIG", raising=False)
    monkeypatch.setattr("platformdirs.user_config_path", lambda name, **_: tmp_path / "config" / name)
    folder = tmp_path / "download"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_settings_file_in_the_working_directory_is_ignored_with_a_hint(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "tagger.toml").write_text('model = "hostile.pt"\ndata_folder = "."\n')
    settings = load_settings()
    load_settings()
    assert (settings.model, settings.data_folder.is_absolute()) == (None, True)
    hints = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(hints) == 1
    assert "export TAGGER_CONFIG=./tagger.toml" in hints[0]


def test_the_configuration_folder_is_read_and_a_named_file_takes_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = folder.parent / "config" / "tagger"
    config.mkdir(parents=True)
    (config / "tagger.toml").write_text("top_k = 2\n")
    assert load_settings().top_k == 2
    monkeypatch.chdir(config)
    assert load_settings().top_k == 2
    monkeypatch.chdir(folder)
    (folder / "tagger.toml").write_text("top_k = 3\n")
    monkeypatch.setenv("TAGGER_CONFIG", "./tagger.toml")
    assert load_settings().top_k == 3
    assert caplog.records == []
    monkeypatch.setenv("TAGGER_CONFIG", "gone.toml")
    with pytest.raises(SettingsInvalid, match=r"gone\.toml"):
        load_settings()


def test_relative_paths_in_the_file_are_relative_to_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = folder.parent / "a place"
    config.mkdir()
    monkeypatch.setenv("TAGGER_CONFIG", str(config / "tagger.toml"))
    (config / "tagger.toml").write_text(
        'data_folder = "data"\nmodel = "mine.pt"\ndatabase_url = "sqlite:///tags.sqlite?timeout=9"\nroots = {home = "photos"}\n'
    )
    settings = load_settings()
    assert settings.data_folder == config / "data"
    assert settings.model == str(config / "mine.pt")
    assert settings.roots == {"home": config / "photos"}
    assert settings.database_url == f"sqlite:///{quote(str(config))}/tags.sqlite?timeout=9"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "landmarks"),  # a registered name
        ("model", "/models/mine.pt"),
        ("database_url", "postgresql://db/tagger"),
        ("database_url", "sqlite:////data/tags.sqlite"),
    ],
)
def test_names_servers_and_absolute_paths_are_kept(
    name: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine.toml").write_text(f'{name} = "{value}"\n')
    monkeypatch.setenv("TAGGER_CONFIG", "mine.toml")
    assert getattr(load_settings(), name) == value
