"""Where settings come from: the user's configuration folder or a named file, never the working directory."""

import json
import logging
from pathlib import Path
from typing import get_args, get_origin
from urllib.parse import quote

import pytest

from tagger.errors import SettingsInvalid
from tagger.settings import Event, Settings, load_settings


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


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("TAGGER_TOP_K", "3", {"top_k": 3}),
        ("tagger_top_k", "3", {"top_k": 3}),
        ("TAGGER_THRESHOLD", "none", {"threshold": None}),
        ("TAGGER_ROOTS", '{"b": "/photos"}', {"roots": {"a": Path("/old"), "b": Path("/photos")}}),
        ("TAGGER_ROOTS", "null", {"roots": {"a": Path("/old")}}),
        ("TAGGER_WEB_FOLDERS", '["/a", "s3://bucket"]', {"web_folders": [Path("/a"), Path("s3://bucket")]}),
    ],
)
def test_a_variable_precedes_the_file_and_dictionaries_have_the_names_of_both(
    variable: str, text: str, expected: dict[str, object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine.toml").write_text(
        'top_k = 2\nthreshold = 0.5\nModel = "old"\nweb_folders = ["/old"]\nroots = {a = "/old"}\n'
    )
    monkeypatch.setenv("TAGGER_CONFIG", "mine.toml")
    monkeypatch.setenv(variable, text)
    values: dict[str, object] = {"top_k": 2, "threshold": 0.5, "model": "old", "web_folders": [Path("/old")]}
    values |= {"roots": {"a": Path("/old")}} | expected
    assert load_settings().model_dump(include=set(values)) == values
    assert load_settings(top_k=9).top_k == 9, "an option precedes both"


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("TAGGER_TOP_K", "none", r"^Invalid setting: top_k \(TAGGER_TOP_K\) is None"),
        (
            "TAGGER_TOP_K",
            "x",
            r"^Invalid setting: top_k \(TAGGER_TOP_K\) is 'x': it must be a whole number\.",
        ),
        ("TAGGER_TOP_K", "0", r"is '0': it must be greater than or equal to 1\."),
        ("TAGGER_THRESHOLD", "half", r"is 'half': it must be a number\."),
        ("TAGGER_DEVICE", "gpu", r"is 'gpu': it must be 'auto', 'cuda', 'mps' or 'cpu'\."),
        ("TAGGER_LANGUAGE", "German", r"language \(TAGGER_LANGUAGE\)"),
        ("TAGGER_REDIS_URL", "geheim", r"redis_url \(TAGGER_REDIS_URL\): it is not an address like redis://"),
        ("TAGGER_REDIS_URL", "redis://host:99999999/0", "it is not an address like redis://"),
        (
            "TAGGER_BACKEND",
            "nonsense",
            r"'nonsense': it must be one of auto, torchscript, openvino, openvino-int8",
        ),
    ],
)
def test_an_invalid_variable_is_refused_by_name(
    variable: str, text: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsInvalid, match=reason) as refused:
        load_settings()
    assert "geheim" not in str(refused.value)


SETTINGS = [f"TAGGER_{name.upper()}" for name in Settings.model_fields]


@pytest.mark.parametrize("variable", [*SETTINGS, "TAGGER_CONFIG"])
def test_an_empty_variable_is_unset(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    usual = load_settings()
    for empty in ("", " \t"):
        monkeypatch.setenv(variable, empty)
        assert load_settings() == usual


def test_white_space_around_a_value_is_no_part_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine.toml").write_text('model = " landmarks "\n')
    for variable, text in (
        ("CONFIG", " mine.toml "),
        ("REDIS_URL", " redis://host/0\n"),
        ("DEVICE", " cpu "),
        ("DATA_FOLDER", " /data "),
        ("THRESHOLD", " none "),
        ("TOP_K", " 3 "),
    ):
        monkeypatch.setenv(f"TAGGER_{variable}", text)
    settings = load_settings()
    assert (settings.redis_url, settings.device, settings.top_k) == ("redis://host/0", "cpu", 3)
    assert (settings.data_folder, settings.threshold, settings.model) == (Path("/data"), None, "landmarks")


JSON_SETTINGS = [
    name
    for name, field in Settings.model_fields.items()
    if any(get_origin(kind) in {list, dict} for kind in (field.annotation, *get_args(field.annotation)))
]


@pytest.mark.parametrize("name", JSON_SETTINGS)
def test_a_list_or_object_that_is_no_json_is_refused_with_an_example(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"TAGGER_{name.upper()}"
    monkeypatch.setenv(variable, "/photos,/more")
    with pytest.raises(SettingsInvalid, match="write it as JSON, like ") as refusal:
        load_settings()
    example = str(refusal.value).split(", like ")[1].split(". Correct")[0]
    monkeypatch.setenv(variable, example.replace("…", "A" * 32))
    assert getattr(load_settings(), name)


CHAT = {"url": "https://hooks.example/geheim", "secret": f"whsec_{'A' * 32}", "events": ["job.failures"]}


def test_receivers_of_webhooks_have_names_and_events(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folder / "settings.toml"
    config.write_text(f'[webhooks.monitor]\nurl = "http://127.0.0.1:9"\nsecret = "{CHAT["secret"]}"\n')
    monkeypatch.setenv("TAGGER_CONFIG", str(config))
    monkeypatch.setenv("TAGGER_WEBHOOKS", json.dumps({"chat": CHAT}))
    settings = load_settings()
    assert {name: receiver.events for name, receiver in settings.webhooks.items()} == {
        "chat": {Event.JOB_FAILURES},
        "monitor": set(Event),
    }
    assert "geheim" not in repr(settings) + repr(settings.webhooks)
    assert Settings(**settings.model_dump(mode="json")) == settings, "as other processes get them"


@pytest.mark.parametrize(
    ("receivers", "reason"),
    [
        ({"chat": CHAT | {"secret": "geheim"}}, r"webhooks\.chat\.secret .* it must be whsec_"),
        ({"chat": CHAT | {"url": "geheim"}}, r"webhooks\.chat\.url .* it must be like https://"),
        ({"chat": CHAT | {"events": ["job.done"]}}, r"webhooks\.chat\.events\.0 .*'landmark\.found'"),
        ({"chat": CHAT | {"events": []}}, r"webhooks\.chat\.events .* at least 1"),
        ({"chat": {"url": CHAT["url"]}}, r"webhooks\.chat\.secret .* required"),
        ({"https://hooks.example/geheim": CHAT}, r"^Invalid setting: webhooks \(.*names of receivers"),
        ({f"chat-{number}": CHAT for number in range(17)}, "at most 16"),
        (["geheim"], "valid dictionary"),
    ],
)
def test_invalid_receivers_are_refused_without_their_secrets(
    receivers: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGGER_WEBHOOKS", json.dumps(receivers))
    with pytest.raises(SettingsInvalid, match=reason) as refused:
        load_settings()
    assert "geheim" not in str(refused.value)
    assert "(TAGGER_WEBHOOKS)" in str(refused.value)


def test_receivers_that_are_no_json_are_refused_without_their_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAGGER_WEBHOOKS", "{'chat': 'geheim'}")
    with pytest.raises(SettingsInvalid, match="webhooks") as refused:
        load_settings()
    assert "geheim" not in str(refused.value)
