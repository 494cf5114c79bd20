"""The shipped model, a small network of format 2, and the passes over photos of any model."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tagger
from tagger.model.artifact import file_digest, load_module, read_manifest
from tagger.model.backends import Conversions
from tagger.model.backends.selection import BackendSelector
from tagger.model.devices import Device
from tagger.model.model import Model

ARTIFACT = Path(tagger.__file__).parent / "shipped" / "landmarks.pt"


def shipped_module() -> torch.jit.ScriptModule:
    return load_module(ARTIFACT, file_digest(ARTIFACT))


def shipped_size() -> int:
    return read_manifest(ARTIFACT).input.size


LABELS = 5
DIMENSION = 16
SIZE = 48


class SmallNetwork(nn.Module):
    """uint8 (B, 3, H, W) → float32 (B, LABELS) and (B, DIMENSION), with random weights from the seed."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Conv2d(3, 16, 3, stride=2)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.single = nn.Conv2d(16, 16, 1, groups=16)
        self.last = nn.Linear(DIMENSION, LABELS + 1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * (
                0.5 if parameter.dim() > 1 else 0.1
            )
        self.last.weight.data *= 8  # otherwise all images would have nearly the same scores

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = images.to(self.first.weight.dtype) / 255.0 - 0.5
        features = torch.relu(self.first(features))
        features = torch.relu(self.single(self.depthwise(features)))
        pooled = features.mean(dim=(2, 3))
        logits = self.last(pooled)
        return logits.float().softmax(dim=1)[:, :-1], pooled.float().sqrt()


class ScoresOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = SmallNetwork()

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(images)[0]
        return scores


def small_module(network: nn.Module | None = None) -> torch.jit.ScriptModule:
    """The network as TorchScript, loaded from a file so that it shares no compiled code with other tests."""
    artifact = io.BytesIO()
    torch.jit.save(torch.jit.script((network or SmallNetwork()).eval()), artifact)
    artifact.seek(0)
    module: torch.jit.ScriptModule = torch.jit.load(artifact)
    return module


FLOAT32 = Device("cpu", "float32", 8)


def small_selector(
    device: Device = FLOAT32,
    at_once: int = 1,
    ranges: Sequence[tuple[float, float]] = (),
    load: Callable[[], torch.jit.ScriptModule] = small_module,
) -> BackendSelector:
    """A selector for the small network, or another one, of which nothing was converted before."""
    return BackendSelector(load, device, SIZE, at_once, ranges, Conversions(ARTIFACT, "", None))


def record_inferences(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list to which the size of each forward pass over photos is added."""
    sizes: list[int] = []
    original = Model.outputs

    def outputs(self: Model, images: Any) -> Any:
        if any(image.any() for image in images):
            sizes.append(len(images))
        return original(self, images)

    monkeypatch.setattr(Model, "outputs", outputs)
    return sizes
