"""Where settings come from: the user's configuration folder or a named file, never the working directory."""

import logging
import re
from pathlib import Path
from typing import get_args, get_origin
from urllib.parse import quote

import pytest

from tagger.database.connection import open_configured
from tagger.errors import SettingsInvalid, TaggerError
from tagger.settings import Settings, _mention, load_settings
from worker.broker import check_broker, find_broker


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory; no settings are made."""
    monkeypatch.delenv("TAGGER_CONFIG", raising=False)
    monkeypatch.setattr("platformdirs.user_config_path", lambda name, **_: tmp_path / "config" / name)
    folder = tmp_path / "download"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_settings_file_in_the_working_directory_is_ignored_with_a_hint(folder, caplog):
    (folder / "tagger.toml").write_text('model = "hostile.pt"\ndata_folder = "."\n')
    settings = load_settings()
    load_settings()
    assert (settings.model, settings.data_folder.is_absolute()) == (None, True)
    hints = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(hints) == 1
    assert "export TAGGER_CONFIG=./tagger.toml" in hints[0]


def test_the_configuration_folder_is_read_and_a_named_file_takes_its_place(folder, monkeypatch, caplog):
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


def test_relative_paths_in_the_file_are_relative_to_it_and_other_values_stay(folder, monkeypatch):
    config = folder.parent / "a place"
    config.mkdir()
    monkeypatch.setenv("TAGGER_CONFIG", str(config / "tagger.toml"))
    for name, value, expected in (
        ("data_folder", '"data"', config / "data"),
        ("model", '"mine.pt"', str(config / "mine.pt")),
        ("model", '"landmarks"', "landmarks"),  # a registered name
        ("model", '"/models/mine.pt"', "/models/mine.pt"),
        ("roots", '{home = "photos"}', {"home": config / "photos"}),
        (
            "database_url",
            '"sqlite:///t.sqlite?timeout=9"',
            f"sqlite:///{quote(str(config))}/t.sqlite?timeout=9",
        ),
        ("database_url", '"sqlite:////data/t.sqlite"', "sqlite:////data/t.sqlite"),
        ("database_url", '"postgresql://db/tagger"', "postgresql://db/tagger"),
    ):
        (config / "tagger.toml").write_text(f"{name} = {value}")
        assert getattr(load_settings(), name) == expected


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
    variable, text, expected, folder, monkeypatch
):
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
        ("TAGGER_TOP_K", "x", r"top_k \(TAGGER_TOP_K\) is 'x': it must be a whole number\."),
        ("TAGGER_TOP_K", "0", r"is '0': it must be greater than or equal to 1\."),
        ("TAGGER_THRESHOLD", "half", r"is 'half': it must be a number\."),
        ("TAGGER_STALL_TIMEOUT_S", "inf", r"is 'inf': it must be a finite number\."),
        ("TAGGER_DEVICE", "gpu", r"is 'gpu': it must be 'auto', 'cuda', 'mps' or 'cpu'\."),
        ("TAGGER_LANGUAGE", "German", r"language \(TAGGER_LANGUAGE\)"),
        ("TAGGER_REDIS_URL", "geheim", r"redis_url \(TAGGER_REDIS_URL\): it is not an address like redis://"),
        ("TAGGER_REDIS_URL", "redis://host:99999999/0", "it is not an address like redis://"),
        ("TAGGER_BACKEND", "x", r"'x': it must be one of auto, torchscript, openvino, openvino-int8"),
    ],
)
def test_an_invalid_variable_is_refused_by_name(variable, text, reason, monkeypatch):
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsInvalid, match=reason) as refused:
        load_settings()
    assert "geheim" not in str(refused.value)


SETTINGS = [f"TAGGER_{name.upper()}" for name in Settings.model_fields]


@pytest.mark.parametrize("variable", [*SETTINGS, "TAGGER_CONFIG"])
def test_an_empty_variable_is_unset(variable, monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    usual = load_settings()
    for empty in ("", " \t"):
        monkeypatch.setenv(variable, empty)
        assert load_settings() == usual


@pytest.mark.parametrize("form", [" {}\n", " '{}' ", ' "{}" '])
def test_white_space_and_quotes_that_an_env_file_keeps_are_no_part_of_a_value(form, folder, monkeypatch):
    (folder / "mine.toml").write_text('model = " landmarks "\n')
    for variable, text in (
        ("CONFIG", "mine.toml"),
        ("REDIS_URL", "redis://host/0"),
        ("DEVICE", "cpu"),
        ("DATA_FOLDER", "/data"),
        ("THRESHOLD", "none"),
        ("TOP_K", " 3 "),
        ("WEB_FOLDERS", '["/a"]'),
        ("MODEL", ""),
    ):
        monkeypatch.setenv(f"TAGGER_{variable}", form.format(text))
    settings = load_settings()
    assert (settings.redis_url, settings.device, settings.top_k) == ("redis://host/0", "cpu", 3)
    assert (settings.data_folder, settings.web_folders) == (Path("/data"), [Path("/a")])
    assert (settings.threshold, settings.model) == (None, "landmarks")


def test_a_list_or_object_that_is_no_json_is_refused_with_an_example(monkeypatch):
    for name, field in Settings.model_fields.items():
        kinds = {get_origin(kind) for kind in (field.annotation, *get_args(field.annotation))}
        if not kinds & {list, dict}:
            continue
        monkeypatch.setenv(f"TAGGER_{name.upper()}", "/photos,/more")
        with pytest.raises(SettingsInvalid, match="write it as JSON, like ") as refusal:
            load_settings()
        example = str(refusal.value).split(", like ")[1].split(". Correct")[0]
        monkeypatch.setenv(f"TAGGER_{name.upper()}", example)
        assert getattr(load_settings(), name)


def test_a_file_has_the_mark_of_windows_editors_or_is_named_with_what_is_wrong(folder, monkeypatch):
    file = folder / "mine.toml"
    monkeypatch.setenv("TAGGER_CONFIG", "mine.toml")
    file.write_bytes(b"\xef\xbb\xbftop_k = 3\n")
    assert load_settings().top_k == 3
    for content, problem in (
        (b"top_k = [", "is no TOML: Invalid value"),
        (b'model = "caf\xe9"', "is not UTF-8"),
        (b"roots = " + b"[" * 100_000, "is no TOML: "),
    ):
        file.write_bytes(content)
        with pytest.raises(SettingsInvalid, match=re.escape(f"{file} {problem}")):
            load_settings()
    file.write_text("topk = 1")
    with pytest.raises(SettingsInvalid, match=r"there is no setting topk; did you mean top_k\?"):
        load_settings()


def test_a_user_without_a_home_folder_needs_a_data_folder_and_nothing_else(monkeypatch):
    def no_home(*_: object, **__: object) -> Path:
        raise RuntimeError

    for name in ("user_data_path", "user_config_path"):
        monkeypatch.setattr(f"platformdirs.{name}", no_home)
    with pytest.raises(SettingsInvalid, match=r"TAGGER_DATA_FOLDER.* no home folder"):
        load_settings()
    monkeypatch.setenv("TAGGER_DATA_FOLDER", "/data")
    assert load_settings().data_folder == Path("/data")


PATHS = ("~", "~nobody/x", ".", "/dev/null", "/dev/null/x", "/proc/self/x", "//", "\udcff", "x" * 300)
WILD = [
    *("'", '"', "'x\"", "none", "null", "nan", "inf", "-1", "0", "1e999", "0x10", "9" * 5000, "true"),
    *("é日本", "\n", "x" * 5000),
    *("[]", "{}", "[" * 2000, "[" * 200_000, '["~nobody/x"]', '{"a": 1}', '{"a": {"url": "http://["}}'),
    *('["s3://"]', "[null]", '{"": ""}'),
    *PATHS,
    *("::", "@", "%", "%zz", "\x1b[31m"),
    *("http://[", "https://[::1", "http://h:99999", "https://h/{x}{y}{z}", "redis://[", "redis://h:99999"),
    *("redis://h/x", "unix://"),
    *("sqlite:///", "sqlite://h/x", "sqlite:///x?mode=ro", "sqlite:///x?timeout=y", "sqlite:///x?nonsense=1"),
    "sqlite:////dev/null",
    *("postgresql://[::", "postgresql://h:99999/x", "postgresql://h?sslmode=x", "host=h port=x", "host='"),
    *("a=b c", "service=", "mysql://h"),
    *("postgresql://127.0.0.1:1,127.0.0.1:2/x", "host=127.0.0.1 port=1 dbname=x connect_timeout=1"),
    "postgresql://127.0.0.1:1/x?port=x",
]  # fmt: skip


@pytest.mark.parametrize("variable", [*SETTINGS, "TAGGER_CONFIG"])
def test_any_value_is_used_or_refused_in_one_sentence(variable, folder, monkeypatch):
    """Opening the database and finding Redis raise errors of this program, too."""
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(folder / "data"))
    # In each data folder, a database is created, which takes long.
    for value in PATHS if variable == "TAGGER_DATA_FOLDER" else WILD:
        monkeypatch.setenv(variable, value)
        assert "\n" not in refusal_of(variable), value


def refusal_of(variable: str) -> str:
    try:
        settings = load_settings()
        if variable in {"TAGGER_DATA_FOLDER", "TAGGER_DATABASE_URL"}:
            open_configured(settings).close()
        if variable == "TAGGER_REDIS_URL":
            check_broker(find_broker(settings, "ledger", start=False))
    except TaggerError as error:
        return str(error)
    return ""


def test_a_variable_that_is_no_setting_is_mentioned_once(monkeypatch, caplog):
    for variable in ("TAGGER_REDISURL", "TAGGER_COLOUR", "tagger_modle"):
        monkeypatch.setenv(variable, "blue")
    _mention.cache_clear()
    load_settings()
    load_settings()
    assert [record.getMessage() for record in caplog.records] == [
        "TAGGER_COLOUR is no setting",
        "TAGGER_REDISURL is no setting; did you mean TAGGER_REDIS_URL?",
        "tagger_modle is no setting; did you mean TAGGER_MODEL?",
    ]
