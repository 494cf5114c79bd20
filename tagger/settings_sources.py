"""Where settings are: the environment, and `tagger.toml` (in the user's configuration folder, or the file named by `TAGGER_CONFIG`).

Values are checked later (see settings). No other module reads the environment. Settings can name a model, which is a
program. So nothing is read from the working directory: it may be a download.
"""

import json
import logging
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import platformdirs

from tagger.errors import SettingsInvalid
from tagger.system.permissions import writable_by_all

log = logging.getLogger(__name__)

CONFIG_NAME = "tagger.toml"
_PREFIX = "tagger_"
JSON_EXAMPLES = {
    "web_folders": '["/photos", "s3://bucket/photos"]',
    "web_trusted_proxies": '["127.0.0.1", "10.0.0.0/8"]',
    "webhooks": '{"chat": {"url": "https://hooks.example/tagger", "secret": "whsec_…"}}',
    "roots": '{"holidays": "/mnt/holidays"}',
}
"""Settings that are lists or objects, in the environment as JSON, each with an example."""


def environment_values(settings: Iterable[str]) -> dict[str, Any]:
    """The values of these settings in the environment, where case does not matter; `none` is no value, and `null` in JSON has no effect.

    Other variables are ignored; `tagger doctor` lists them.
    """
    variables = {name.lower(): text for name, text in os.environ.items()}
    texts = {name: variables[_PREFIX + name] for name in settings if _PREFIX + name in variables}
    values = {name: _parse_variable(name, text) for name, text in texts.items()}
    return {name: value for name, value in values.items() if value is not None or texts[name] == "none"}


def _parse_variable(name: str, text: str) -> Any:
    """The value of a variable. Text that should be JSON and is not is returned as it is, since validation reports it."""
    if text == "none":
        return None
    if name not in JSON_EXAMPLES:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def file_values(file: Path) -> dict[str, Any]:
    """The settings of tagger.toml. Relative paths in it are relative to its folder: in the working directory, they could name other files."""
    if not file.is_file():
        return {}
    folder = file.absolute().parent
    for path in (folder, file.absolute()):
        if (problem := writable_by_all(path)) is not None:
            raise SettingsInvalid(reason=f"{file} is not read, because {problem[0]}; run: {problem[1]}")
    import tomllib

    with file.open("rb") as opened:
        values = {name.lower(): value for name, value in tomllib.load(opened).items()}
    return {name: _absolute_value(name, value, folder) for name, value in values.items()}


def _absolute_value(name: str, value: Any, folder: Path) -> Any:
    """The value with absolute paths; one of the wrong type is returned as it is, since validation reports it."""
    match name, value:
        case "roots", dict():
            return {
                root: path if "://" in str(path) else _absolute_value("data_folder", path, folder)
                for root, path in value.items()
            }
        case "database_url", str():
            scheme, mark, path = value.partition(":///")
            is_relative = scheme.startswith("sqlite") and path and not path.startswith(("/", ":memory:"))
            return f"{scheme}{mark}{quote(str(folder))}/{path}" if is_relative else value
        case "data_folder", str():
            return str(folder / Path(value).expanduser())
        case "model", str() if is_model_path(value):
            return str(folder / Path(value).expanduser())
    return value


def is_model_path(model: str) -> bool:
    """Whether the setting `model` is a file, not a registered name: it has a slash or ends in .pt.

    A file in the working directory must not take the place of a model that is not registered (any more).
    """
    return os.sep in model or model.endswith(".pt")


def config_file() -> Path:
    """The settings file, which may not exist.

    Raises:
        SettingsInvalid: TAGGER_CONFIG names a file that does not exist.
    """
    named = os.environ.get("TAGGER_CONFIG")
    if not named:
        file = platformdirs.user_config_path("tagger", appauthor=False) / CONFIG_NAME
        _mention_ignored(Path.cwd() / CONFIG_NAME, file)
        return file
    if not Path(named).is_file():
        raise SettingsInvalid(reason=f"TAGGER_CONFIG names {named}, which does not exist")
    return Path(named)


@cache  # once per process and folder, though settings are loaded several times
def _mention_ignored(ignored: Path, file: Path) -> None:
    if ignored.is_file() and not (file.is_file() and ignored.samefile(file)):
        log.warning(
            "%s in this folder is ignored; if you trust it, run: export TAGGER_CONFIG=./%s",
            CONFIG_NAME,
            CONFIG_NAME,
        )
