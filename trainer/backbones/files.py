"""Weights from a file that a person names: safetensors, or torchvision's `.pth`, which is read without running anything in it."""

import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from blake3 import blake3
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainer.backbones.described import Convention
from trainer.backbones.sources import State
from trainer.errors import WeightsUnsuitable

CONVENTION = "convention"
"""The entry of a safetensors file's metadata that says whose way the weights were learned in."""
CONVENTIONS: dict[str, Convention] = {"tensorflow": "tensorflow", "torchvision": "torchvision"}


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds; `convention` is None where it does not say."""

    state: State
    convention: Convention | None
    digest: str


def read_weights(path: Path, architecture: str) -> WeightsFile:
    """Read the tensors of `path`, in full precision.

    Raises:
        WeightsUnsuitable: it cannot be read, or is no file of weights.
    """
    try:
        digest = blake3(path.read_bytes()).hexdigest()
        state, said = _read_pth(path) if path.suffix == ".pth" else _read_safetensors(path)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it is no file of weights ({_first_line(error)})"
        raise WeightsUnsuitable(path=path, backbone=architecture, reason=reason) from error
    if said is not None and said not in CONVENTIONS:
        reason = f"its metadata says {CONVENTION}: {said}, where {' and '.join(CONVENTIONS)} are known"
        raise WeightsUnsuitable(path=path, backbone=architecture, reason=reason)
    full = {name: values.float() for name, values in state.items()}
    return WeightsFile(full, CONVENTIONS.get(said or ""), f"blake3:{digest}")


def _read_safetensors(path: Path) -> tuple[State, str | None]:
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        return state, (file.metadata() or {}).get(CONVENTION)


def _read_pth(path: Path) -> tuple[State, str | None]:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of pickles that it may not understand: those are refused
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError("it holds more than tensors by name")
    return dict(content), "torchvision"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
