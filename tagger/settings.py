"""Settings, read once at an entry point and handed down.

Order: option, environment variable `TAGGER_…`, `tagger.toml` (in the working directory, or named by
`TAGGER_CONFIG`), default. Nothing else in the package reads the environment.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import platformdirs
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tagger.errors import SettingsInvalid

CONFIG_NAME = "tagger.toml"


def _data_folder() -> Path:
    return platformdirs.user_data_path("tagger", appauthor=False)


def _whole(folder: Path) -> Path:
    try:
        place = folder.expanduser()
    except RuntimeError as error:  # the home of a user who is none
        raise ValueError(str(error)) from error
    if not place.is_absolute():
        raise ValueError("write each folder with its whole path, like /photos")
    return place


class Settings(BaseSettings):
    """Everything that can be set. Units end the names; None means the stated automatic choice."""

    model_config = SettingsConfigDict(
        env_prefix="TAGGER_", frozen=True, extra="forbid", env_parse_none_str="none"
    )

    data_folder: Path = Field(default_factory=_data_folder)
    """Where the SQLite database and the embedded Redis live."""
    database_url: str | None = None
    """None: a SQLite file in the data folder."""
    redis_url: str | None = None
    """None: an embedded Redis, started when it is needed."""
    model: str | None = None
    """A registered name or a file; None: the registered model in use, else the one that ships."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    top_k: Annotated[int, Field(ge=1, le=100)] = 5
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """The least score at which a landmark is accepted; None: the model's own."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Images per forward pass; None: what a self-test finds best."""
    runner: Literal["auto", "torchscript", "openvino"] = "auto"
    """What runs the model; auto: what a self-test finds fastest. TorchScript is the artifact's own, and the same everywhere."""
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Reader threads, and forward passes at a time on a CPU; None: the cores this process may use."""
    max_bytes: Annotated[int, Field(ge=1)] = 512 * 2**20
    max_pixels: Annotated[int, Field(ge=1)] = 250_000_000
    read_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """A photo whose reading takes longer is given up."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Where a worker serves its metrics to Prometheus; None: nowhere."""
    metrics_host: str = "127.0.0.1"
    log_format: Literal["text", "json"] = "text"
    """How a worker writes its log."""
    log_paths: bool = False
    """Whether photos' paths may stand in a worker's log."""
    web_token: Annotated[str, Field(min_length=16, pattern=r"^[!-~]+$")] | None = Field(None, repr=False)
    """What whoever opens the page has to know, where it is reached from other machines; None: `tagger serve` makes one."""
    web_upload_bytes: Annotated[int, Field(ge=1)] = 64 * 2**20
    """The largest photo that the page takes."""
    web_cache_bytes: Annotated[int, Field(ge=0)] = 2**30
    """What thumbnails may take on disk."""
    web_folders: list[Annotated[Path, AfterValidator(_whole)]] | None = None
    """Folders that the page may start jobs in; None: the roots that the database knows."""
    # The environment's "none" comes as None.
    web_write: Annotated[
        Literal["none", "sidecar", "embed"], BeforeValidator(lambda given: given or "none")
    ] = "sidecar"
    """The most that jobs begun from the page may write: nothing, files beside the photos, the photos themselves."""
    roots: dict[str, Path] = Field(default_factory=dict)
    """Where a root is on this machine, by its name, where that differs from the database."""

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite:///{quote(str(self.data_folder / 'tagger.sqlite'))}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _config_file())


def load_settings(**options: Any) -> Settings:
    """Build the settings; options that are None were not given and leave the choice to the other sources.

    Raises:
        SettingsInvalid: a value is of the wrong kind or out of range, a name is unknown, or the file is not TOML.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise SettingsInvalid(reason=_reason(error)) from error
    except ValueError as error:  # TOML that does not parse, JSON of `roots` that does not parse
        raise SettingsInvalid(reason=str(error)) from error


def shown_address(url: str) -> str:
    """A server's address for people: without user, password and options, whatever is odd about it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return f"there is no setting called {name}"
    given = (
        "" if name.endswith(("_url", "_token")) else f" is {first['input']!r}"
    )  # an address may hold a password
    return f"{name} (TAGGER_{name.upper()}){given}: {first['msg'].removeprefix('Input ').removeprefix('Value error, ').lower()}"


def _config_file() -> Path:
    named = os.environ.get("TAGGER_CONFIG")
    if named and not Path(named).is_file():
        raise SettingsInvalid(reason=f"TAGGER_CONFIG names {named}, which is not there")
    return Path(named or CONFIG_NAME)
