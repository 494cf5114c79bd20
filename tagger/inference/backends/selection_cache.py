"""Stores the selected backends in a file, so that later starts need not measure them again. The file may be deleted at any time."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Self

from pydantic import TypeAdapter, ValidationError

from tagger.inference.backends.protocol import BackendChoice
from tagger.inference.devices import processor_name
from tagger.system.permissions import create_private_file, make_private_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tagger.inference.backends.protocol import BackendOptions
    from tagger.inference.devices import Device

log = logging.getLogger(__name__)

MAX_ENTRIES = 50
_CHOICE = TypeAdapter(BackendChoice)
_ENGINES = ("torch", "torchvision", "openvino")


@dataclass(frozen=True)
class CacheKey:
    """Everything that may change the result of the selection."""

    model: str
    device: str
    precision: str
    hardware: str
    backend: str | None
    at_once: int
    batch_size: int | None
    gpu_jpeg: bool
    engines: tuple[str, ...]

    @classmethod
    def of(cls, digest: str, device: Device, options: BackendOptions) -> Self:
        """The key of a model on this machine."""
        return cls(
            digest,
            device.kind,
            str(device.dtype),
            _hardware(device),
            options.backend,
            options.at_once,
            options.batch_size,
            options.gpu_jpeg,
            tuple(f"{name} {_version(name)}" for name in _ENGINES),
        )

    def __str__(self) -> str:
        return json.dumps(asdict(self))


class SelectionCache:
    """One entry of a cache file."""

    def __init__(self, file: Path, key: CacheKey) -> None:
        self._file = file
        self._key = str(key)

    @property
    def choice(self) -> BackendChoice | None:
        """None if there is no entry or it cannot be read."""
        entry = self._read().get(self._key)
        try:
            return _CHOICE.validate_python(entry) if entry else None
        except ValidationError:
            return None

    def store(self, choice: BackendChoice) -> None:
        """Store the choice. An unwritable folder is logged and otherwise ignored: it only makes the next start slower."""
        entries = dict(list(self._read().items())[1 - MAX_ENTRIES :]) | {self._key: asdict(choice)}
        partial = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            make_private_folder(self._file.parent)
            create_private_file(partial)
            partial.write_text(json.dumps(entries, indent=1))
            partial.replace(self._file)
        except OSError as error:
            log.info("the result of the selection cannot be stored: %s", error)
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _read(self) -> dict[str, dict[str, object]]:
        try:
            entries = json.loads(self._file.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return entries if isinstance(entries, dict) else {}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _hardware(device: Device) -> str:
    if device.kind != "cuda":
        return processor_name()
    import torch

    return torch.cuda.get_device_name()
