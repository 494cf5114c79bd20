"""What a backend selection depends on: the model, the options, and the kind of machine. Machines of one kind share selections."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Self

from tagger.model.devices import hardware_name

if TYPE_CHECKING:
    from tagger.model.backends.protocol import BackendOptions
    from tagger.model.devices import Device

_ENGINES = ("torch", "openvino")


@dataclass(frozen=True)
class SelectionKey:
    """Everything that may change the result of the selection. As text, it is JSON."""

    model: str
    device: str
    precision: str
    hardware: str
    backend: str | None
    at_once: int
    batch_size: int | None
    engines: tuple[str, ...]

    @classmethod
    def of(cls, digest: str, device: Device, options: BackendOptions) -> Self:
        """The key of a model on this machine."""
        return cls(
            digest,
            device.kind,
            str(device.dtype),
            hardware_name(device.kind),
            options.backend,
            options.at_once,
            options.batch_size,
            tuple(f"{name} {_version(name)}" for name in _ENGINES),
        )

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
