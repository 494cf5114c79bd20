"""Settings: read once at an entry point, frozen, and passed down.

Precedence: command-line option, environment variable `TAGGER_…`, `tagger.toml` (in the user's configuration
folder, or the file named by `TAGGER_CONFIG`), default. No other module reads the environment. Settings can
name a model, which is a program. So nothing is read from the working directory: it may be a download.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from tagger.errors import SettingsInvalid
from tagger.extensions import BACKENDS, extension_names
from tagger.processes.permissions import writable_by_all
from tagger.texts.addresses import BUCKET_SCHEMES, database_address, redis_address
from tagger.texts.names import LANGUAGE_PATTERN
from tagger.texts.text_format import invalid_text

log = logging.getLogger(__name__)

CONFIG_NAME = "tagger.toml"
_PREFIX = "tagger_"
# Settings that are lists or objects, in the environment as JSON, each with an example.
JSON_EXAMPLES = {
    "web_folders": '["/photos", "s3://bucket/photos"]',
    "web_trusted_proxies": '["127.0.0.1", "10.0.0.0/8"]',
    "web_editors": '["ada", "bob"]',
    "roots": '{"holidays": "/mnt/holidays"}',
}
_OTHER_VARIABLES = ("config", "test_data")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_OTHER_HEADERS = {
    "authorization",
    "cookie",
    "host",
    "origin",
    "referer",
    "user-agent",
    "x-forwarded-for",
}
_TILES = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d+)?/[^\s\"';,<>]*")


def _absolute(folder: Path) -> Path:
    if folder.parts[:1] in {(f"{scheme}:",) for scheme in BUCKET_SCHEMES}:
        return folder
    try:
        path = folder.expanduser()
    except RuntimeError as error:  # ~user without such a user
        raise ValueError(str(error)) from error
    if not path.is_absolute():
        raise ValueError("each folder must be an absolute path, like /photos")
    return path


def _network(value: object) -> object:
    try:
        return ip_network(str(value))
    except ValueError as error:
        text = "each must be an address or a network, like 127.0.0.1 or 10.0.0.0/8"
        raise ValueError(f"{error}; {text}") from error


def _header(name: str) -> str:
    if not _HEADER.fullmatch(name) or name.lower() in _OTHER_HEADERS:
        raise ValueError(
            "it must be a header of its own, like X-Remote-User, of letters, digits and hyphens"
        )
    return name


def _page_url(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s@/?#]+(/[^\s@?#]*)?", url):
        raise ValueError(
            "it must be like http://HOST:PORT or https://HOST, without user and password"
        )
    path = urlsplit(url).path
    if path.strip("/"):
        raise ValueError(
            f"it must be like https://photos.example, without {path}: the page needs a host name of its "
            f"own, as its addresses begin at /"
        )
    return url


_BACKENDS = ("auto", "torchscript", "openvino", "openvino-int8")


def _backend(name: str) -> str:
    if name not in _BACKENDS and name not in extension_names(BACKENDS):
        raise ValueError(
            f"it must be one of {', '.join(_BACKENDS)}, and no installed package adds another"
        )
    return name


def _tiles(url: str) -> str:
    if not _TILES.fullmatch(url) or not all(
        part in url for part in ("{z}", "{x}", "{y}")
    ):
        raise ValueError("it must be like https://HOST/{z}/{x}/{y}.png")
    return url


def _data_folder() -> Path:
    folder = _user_folder(platformdirs.user_data_path)
    if folder is None:
        reason = "data_folder (TAGGER_DATA_FOLDER): it must be set, because this user has no home folder"
        raise SettingsInvalid(reason=reason)
    return folder


def _user_folder(find: Callable[..., Path]) -> Path | None:
    # One of the platform's folders of this user; None if the user has no home folder.
    try:
        folder = find("tagger", appauthor=False)
    except RuntimeError:
        return None
    return (
        folder if folder.is_absolute() else None
    )  # never a folder ~ in the working directory


def _in_home(folder: Path) -> Path:
    # The folder, in which ~ is the home folder: only shells replace it, and env files are read by none.
    try:
        path = folder.expanduser()
        str(path).encode()  # as a part of the database's address
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    except UnicodeEncodeError as error:
        raise ValueError("its name must be UTF-8") from error
    return path


class Settings(BaseModel):
    """All settings. Units end the names; None stands for the documented automatic choice.

    The environment and the file add those that are not passed.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # addresses contain passwords
    )

    data_folder: Annotated[Path, AfterValidator(_in_home)] = Field(
        default_factory=_data_folder,
        description="Folder of the SQLite database, the embedded Redis and the logs. "
        "Default: the platform's data folder.",
    )
    database_url: Annotated[str, AfterValidator(database_address)] | None = Field(
        None,
        repr=False,
        description="URL of the database, like "
        "`postgresql://tagger@db.example/tagger`; commas separate several hosts. "
        "Default: an SQLite file in the data folder.",
    )
    redis_url: Annotated[str, AfterValidator(redis_address)] | None = Field(
        None,
        repr=False,
        description="URL of Redis, like `redis://localhost:6379/0`, `rediss://…` with "
        "TLS, or `redis+socket:///PATH`. Default: an embedded Redis, started on "
        "demand.",
    )
    model: str | None = Field(
        None,
        description="Registered model, or a model file (with a slash, or ending in "
        ".pt), which is a program. Default: the models in use, else those of the "
        "package.",
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto",
        description="Device that runs the model; `auto`: the first available one.",
    )
    raw_pairs: bool = Field(
        True,
        description="Whether a RAW file and the JPEG or HEIC of the same name are one "
        "photo. A scan applies a change.",
    )
    top_k: int = Field(
        5, ge=1, le=100, description="Number of predictions stored for each photo."
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Lowest score of an accepted tag; 0 accepts all. Default: the "
        "threshold of the model.",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Images in one forward pass. Default: 8 on a CPU, 256 on a GPU.",
    )
    language: str | None = Field(
        None,
        pattern=LANGUAGE_PATTERN,
        description="Language of landmarks' names, shown and written, like `de` or "
        "`zh-Hant`. Default: that of the model.",
    )
    backend: Annotated[str, AfterValidator(_backend)] = Field(
        "auto",
        description="Library that runs the model: `torchscript` (the same scores on "
        "every machine), `openvino`, `openvino-int8` (eight-bit integers), the fastest "
        "of these (`auto`), or one of an installed package.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Reader threads, and parallel forward passes on a CPU. Default: "
        "the number of available cores.",
    )
    processes: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Processes of a worker, and of commands that classify photos "
        "themselves. They share `TAGGER_THREADS`. Default: one for every four cores, "
        "and in a command for every 500 photos.",
    )
    max_bytes: int = Field(
        512 * 2**20,
        ge=1,
        description="Largest file that is read, in bytes. Larger photos fail as "
        "`too-large`.",
    )
    max_pixels: int = Field(
        250_000_000,
        ge=1,
        description="Largest image that is decoded, in pixels. Larger images fail as "
        "`too-many-pixels`.",
    )
    read_timeout_s: float = Field(
        120.0,
        gt=0,
        description="Time limit for reading one photo, in seconds. Slower photos fail "
        "as `timed-out`.",
    )
    stall_timeout_s: float = Field(
        300.0,
        ge=10,
        description="Seconds without progress after which `tag`, `watch`, `worker`, "
        "`beat`, `serve` and `up` end, so that their supervisor restarts them.",
    )
    sandbox: Literal["suspicious", "always"] = Field(
        "suspicious",
        description="Photos decoded in confined processes: `suspicious` are those on "
        "which workers died, `always` are all. Uploads and RAW photos without a "
        "preview always are.",
    )
    settle_s: float = Field(
        3.0,
        ge=0,
        le=3600,
        description="Seconds without a change before a photo is read: it may still be "
        "being copied.",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on which a worker serves metrics to Prometheus. Default: no "
        "metrics.",
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address on which a worker serves metrics."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of log lines of workers and the web page."
    )
    web_token: str | None = Field(
        None,
        min_length=16,
        pattern=r"^[!-~]+$",
        repr=False,
        description="Token to sign in to the page from other machines. Default: "
        "`tagger serve` makes one at each start.",
    )
    web_view_token: str | None = Field(
        None,
        min_length=16,
        pattern=r"^[!-~]+$",
        repr=False,
        description="Token to sign in to look and search, and change nothing. Default: "
        "none.",
    )
    web_upload_bytes: int = Field(
        64 * 2**20,
        ge=1,
        description="Largest photo that the web page accepts as an upload, in bytes.",
    )
    web_upload_folder: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None,
        description="Folder into which editors may send photos on the web page. "
        "Default: only people with `TAGGER_WEB_TOKEN`, into `sent` in the data folder.",
    )
    web_upload_quota_bytes: int = Field(
        20 * 2**30,
        ge=1,
        description="How much all in `TAGGER_WEB_UPLOAD_FOLDER` may take, in bytes. "
        "Uploads beyond are refused.",
    )
    web_folders: list[Annotated[Path, AfterValidator(_absolute)]] | None = Field(
        None,
        description="Folders and prefixes of buckets (`s3://BUCKET/PREFIX`) in which "
        "the web page may start jobs, as a JSON list. Default: the roots in the "
        "database.",
    )
    web_write: Literal["none", "sidecar", "embed"] = Field(
        "sidecar",
        description="Where jobs started on the web page may write tags: nowhere, to "
        "sidecars, or into the photos too.",
    )
    web_trusted_proxies: list[
        Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
    ] = Field(
        [],
        description="Addresses or networks of reverse proxies whose X-Forwarded-For, "
        "-Proto, -Host and -Port the web page believes, as a JSON list.",
    )
    web_user_header: Annotated[str, AfterValidator(_header)] | None = Field(
        None,
        description="Header in which a proxy of `TAGGER_WEB_TRUSTED_PROXIES` names the "
        "person that it has signed in, like `X-Remote-User`. Default: people sign in "
        "with a token.",
    )
    web_user_role: Literal["viewer", "editor", "none"] | None = Field(
        None,
        description="Role of people whom `TAGGER_WEB_USER_HEADER` names; `none`: "
        "refused. Default: `viewer`.",
    )
    web_editors: list[str] = Field(
        [],
        description="Names of `TAGGER_WEB_USER_HEADER` that are editors, as a JSON "
        "list.",
    )
    web_map_tiles: Annotated[str, AfterValidator(_tiles)] | None = Field(
        None,
        description="URL of a tile server for the map, like "
        "`https://tiles.example/{z}/{x}/{y}.png`; it must allow other origins.",
    )
    web_map_file: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None,
        description="File of vector tiles for the map near by, in the schema of "
        "Protomaps' basemap, like `/photos/europe.pmtiles`.",
    )
    web_map_attribution: str = Field(
        "",
        max_length=200,
        description="Source of the tiles of `TAGGER_WEB_MAP_TILES`, which the map "
        "shows.",
    )
    web_url: Annotated[str, AfterValidator(_page_url)] | None = Field(
        None,
        description="Public address of the web page, like `https://photos.example`, to "
        "know its own pages behind proxies.",
    )
    roots: dict[str, Path] = Field(
        default_factory=dict,
        description="Folders of roots that differ on this machine, as a JSON object of "
        "root names.",
    )

    @property
    def work_stall_s(self) -> float:
        """How long work may make no progress: while a photo is read twice, or a server does not answer."""
        return max(self.stall_timeout_s, 2 * self.read_timeout_s)

    @property
    def effective_database_url(self) -> str:
        return (
            self.database_url
            or f"sqlite:///{quote(str(self.data_folder / 'tagger.sqlite'))}"
        )

    @property
    def conversions_folder(self) -> Path:
        """The models as they were compiled for this machine."""
        return self.data_folder / "conversions"

    @field_validator("web_user_header")
    @classmethod
    def _require_proxies(cls, header: str | None, info: ValidationInfo) -> str | None:
        if header is not None and not info.data.get("web_trusted_proxies", True):
            raise ValueError(
                "name the proxy in web_trusted_proxies, too: nobody else may send it"
            )
        return header

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **_merge(
                _merge(options, environment_values(type(self).model_fields)),
                file_values(config_file()),
            )
        )


def _merge(preferred: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    # The values of both. Where both have a dictionary, it gets the values of both, too.
    merged = dict(others)
    for name, value in preferred.items():
        other = others.get(name)
        merged[name] = (
            _merge(value, other)
            if isinstance(value, dict) and isinstance(other, dict)
            else value
        )
    return merged


def load_settings(**options: Any) -> Settings:
    """Build the settings from the command line's `options`, which take precedence unless they are None.

    Raises:
        SettingsInvalid: a value has the wrong type or is out of range, a name is unknown, the file is not
        TOML, or
            file names are not UTF-8 in this locale.
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":  # the same name would be another path than in other locales
        raise SettingsInvalid(
            reason=f"LC_ALL or LANG: this locale's file names are {encoding}; run: export PYTHONUTF8=1"
        )
    try:
        return Settings(
            **{name: value for name, value in options.items() if value is not None}
        )
    except OSError as error:  # the file cannot be read
        raise SettingsInvalid(reason=f"{error.filename}: {error.strerror}") from error
    except ValidationError as error:
        raise SettingsInvalid(reason=_reason(error)) from error


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    name, *path = map(str, first["loc"])
    if first["type"] == "extra_forbidden" and not path:
        return f"there is no setting {name}{_instead(name)}"
    # A URL may contain a password.
    is_secret = name.endswith(("_url", "_token"))
    value = "" if is_secret else f" is {first['input']!r}"
    message = invalid_text(first["msg"])
    if first["type"] in ("list_type", "dict_type") and not path:
        message += f"; as a variable, write it as JSON, like {JSON_EXAMPLES[name]}"
    return f"{name} (TAGGER_{name.upper()}){value}: {message}"


# Settings of which `none` is one of the choices; for others it means that there is no value.
_NONE_IS_A_CHOICE = {"web_write", "web_user_role"}


def environment_values(settings: Iterable[str]) -> dict[str, Any]:
    """The values of these settings in the environment, in any case; `none` is no value.

    White space and quotes around a value are removed, and an empty variable counts as unset. Other variables
    are ignored, with a warning.
    """
    for problem in unknown_variables():
        _mention(problem)
    variables = {name.lower(): text for name in os.environ if (text := _variable(name))}
    texts = {
        name: variables[_PREFIX + name]
        for name in settings
        if _PREFIX + name in variables
    }
    values = {name: _parse_variable(name, text) for name, text in texts.items()}
    return {
        name: value
        for name, value in values.items()
        if value is not None or texts[name] == "none"
    }


def unknown_variables() -> list[str]:
    """What is wrong with the variables that have the prefix of settings and are none, sorted by name."""
    known = {*Settings.model_fields, *_OTHER_VARIABLES}
    names = sorted(name for name in os.environ if name.lower().startswith(_PREFIX))
    return [
        f"{name} is no setting{_instead(setting, _PREFIX.upper())}"
        for name in names
        if (setting := name.lower().removeprefix(_PREFIX)) not in known
    ]


def _variable(name: str) -> str:
    text = os.environ.get(name, "").strip()
    is_quoted = len(text) > 1 and text[0] in "\"'" and text[0] == text[-1]
    return text[1:-1].strip() if is_quoted else text


def _parse_variable(name: str, text: str) -> Any:
    # The value of a variable. Text that should be JSON and is not stays, since validation reports it.
    if text == "none" and name not in _NONE_IS_A_CHOICE:
        return None
    if name not in JSON_EXAMPLES:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def file_values(file: Path) -> dict[str, Any]:
    """The settings of tagger.toml. Relative paths in it are relative to its folder."""
    if not file.is_file():
        return {}
    folder = file.absolute().parent
    for path in (folder, file.absolute()):
        if (problem := writable_by_all(path)) is not None:
            raise SettingsInvalid(
                reason=f"{file} is not read, because {problem[0]}; run: {problem[1]}"
            )
    import tomllib

    try:
        # Editors of Windows begin a file with a mark.
        found = tomllib.loads(file.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        kind = (
            "not UTF-8"
            if isinstance(error, UnicodeDecodeError)
            else f"no TOML: {error}"
        )
        raise SettingsInvalid(reason=f"{file.absolute()} is {kind}") from error
    values = {}
    for name, value in found.items():
        stripped = value.strip() if isinstance(value, str) else value
        values[name.lower()] = _absolute_value(name.lower(), stripped, folder)
    return values


def _absolute_value(name: str, value: Any, folder: Path) -> Any:
    # The value with absolute paths. One of the wrong type stays, since validation reports it.
    match name, value:
        case "roots", dict():
            return {
                root: path
                if "://" in str(path)
                else _absolute_value("data_folder", path, folder)
                for root, path in value.items()
            }
        case "database_url", str():
            scheme, mark, path = value.partition(":///")
            is_relative = (
                scheme.startswith("sqlite")
                and path
                and not path.startswith(("/", ":memory:"))
            )
            return (
                f"{scheme}{mark}{quote(str(folder))}/{path}" if is_relative else value
            )
        case "data_folder", str():
            return str(folder / os.path.expanduser(value))  # noqa: PTH111 - a user who does not exist is no error
        case "model", str() if is_model_path(value):
            return str(folder / os.path.expanduser(value))  # noqa: PTH111
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
    named = _variable("TAGGER_CONFIG")
    if not named:
        folder = _user_folder(platformdirs.user_config_path) or Path(os.devnull)
        with suppress(FileNotFoundError):  # the working directory was deleted
            _mention_ignored(Path.cwd() / CONFIG_NAME, folder / CONFIG_NAME)
        return folder / CONFIG_NAME
    if not Path(named).is_file():
        raise SettingsInvalid(
            reason=f"TAGGER_CONFIG names {named}, which does not exist"
        )
    return Path(named)


def _instead(name: str, prefix: str = "") -> str:
    # The name of a setting that was probably meant by one that there is not.
    close = get_close_matches(name, Settings.model_fields, n=1, cutoff=0.75)
    if not close:
        return ""
    return f"; did you mean {prefix}{close[0].upper() if prefix else close[0]}?"


@cache  # once per process, though settings are loaded several times
def _mention(problem: str) -> None:
    log.warning("%s", problem)


@cache  # once per process and folder, though settings are loaded several times
def _mention_ignored(ignored: Path, file: Path) -> None:
    if ignored.is_file() and not (file.is_file() and ignored.samefile(file)):
        log.warning(
            "%s in this folder is ignored; if you trust it, run: export TAGGER_CONFIG=./%s",
            CONFIG_NAME,
            CONFIG_NAME,
        )
