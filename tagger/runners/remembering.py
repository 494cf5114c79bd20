"""What the self-test found, kept in a file so that later starts on this machine need none. Losing the file costs a self-test."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import TypeAdapter, ValidationError

from tagger.devices import processor_name
from tagger.runners.interface import Plan

if TYPE_CHECKING:
    from tagger.devices import Device

log = logging.getLogger(__name__)

MOST_KEPT = 50
_PLAN = TypeAdapter(Plan)
_ENGINES = ("torch", "torchvision", "openvino")


@dataclass(frozen=True)
class Circumstances:
    """All that may change what the self-test finds."""

    model: str
    device: str
    precision: str
    hardware: str
    runner: str | None
    at_once: int
    batch_size: int | None
    engines: tuple[str, ...]

    @classmethod
    def of(
        cls, digest: str, device: Device, runner: str | None, at_once: int, batch_size: int | None
    ) -> Self:
        """Those of this machine, for a model and what is asked of it."""
        engines = tuple(f"{name} {_version(name)}" for name in _ENGINES)
        return cls(
            digest, device.kind, str(device.dtype), _hardware(device), runner, at_once, batch_size, engines
        )

    @property
    def key(self) -> str:
        return json.dumps(asdict(self))


class Memory:
    """The plan that was found under these circumstances, if there is one."""

    def __init__(self, file: Path, circumstances: Circumstances) -> None:
        self._file = file
        self._key = circumstances.key

    @property
    def plan(self) -> Plan | None:
        """None where nothing is known, or what was written cannot be read."""
        known = self._read().get(self._key)
        try:
            return _PLAN.validate_python(known) if known else None
        except ValidationError:
            return None

    def keep(self, plan: Plan) -> None:
        """Write it down; a folder that cannot be written to makes every start a little longer, and is no reason to fail."""
        plans = dict(list(self._read().items())[1 - MOST_KEPT :]) | {self._key: asdict(plan)}
        partial = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(plans, indent=1))
            partial.replace(self._file)
        except OSError as error:
            log.info("what the self-test found is not kept: %s", error)
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _read(self) -> dict[str, dict[str, object]]:
        try:
            plans = json.loads(self._file.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return plans if isinstance(plans, dict) else {}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not there"


def _hardware(device: Device) -> str:
    if device.kind != "cuda":
        return processor_name()
    import torch

    return torch.cuda.get_device_name()
