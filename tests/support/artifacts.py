"""Tiny artifacts for tests: real TorchScript files with real manifests, small and quick, and the same on every run.

The model looks at mean colours only: each label has a colour of its own, and a picture drawn in that colour gets the
label with a high score. `colour_of` tells a test which colour to draw; a picture in none of them is unknown.
"""

import colorsys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from tagger.inference.artifact import InputRule, Label, Manifest, save_artifact

SIZE = 64
THRESHOLD = 0.5
_NEARNESS = 40.0

LABELS = (
    Label(
        label="00.Eiffel_Tower",
        slug="eiffel-tower",
        name="Eiffel Tower",
        country="France",
        city="Paris",
        latitude=48.8584,
        longitude=2.2945,
        extent="point",
    ),
    Label(
        label="01.Brandenburg_Gate",
        slug="brandenburg-gate",
        name="Brandenburg Gate",
        country="Germany",
        city="Berlin",
        latitude=52.5163,
        longitude=13.3777,
        extent="point",
    ),
    Label(
        label="02.Château_de_Versailles",
        slug="chateau-de-versailles",
        name="Château de Versailles",
        country="France",
        city="Versailles",
        latitude=48.8049,
        longitude=2.1204,
        extent="area",
    ),
    Label(label="03.Nameless_Hill", slug="nameless-hill", name="Nameless Hill"),
)


def tiny_artifact(
    path: Path,
    labels: Sequence[Label] = LABELS,
    seed: int = 0,
    *,
    name: str = "tiny",
    threshold: float = THRESHOLD,
    created_at: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    most_in_memory: int = 10_000,
) -> Manifest:
    """Write an artifact to `path`; another seed gives the labels other colours, and the file another digest.

    A batch of more than `most_in_memory` fails as one does that is too large for a GPU.
    """
    manifest = Manifest(
        name=name,
        created_at=created_at,
        labels=tuple(labels),
        input=InputRule(size=SIZE, short_side=SIZE),
        threshold=threshold,
        threshold_reason="chosen for tests",
        calibration={"method": "none"},
        training={"seed": seed},
        metrics={"top1": 1.0},
        versions={"torch": torch.__version__},
    )
    save_artifact(torch.jit.script(_MeanColours(len(labels), seed, most_in_memory).eval()), manifest, path)
    return manifest


def colour_of(position: int, count: int = len(LABELS), seed: int = 0) -> tuple[int, int, int]:
    """The colour (RGB, 0 to 255) that a picture of the label at `position` is drawn in."""
    hue = (position / count + 0.37 * seed) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


class _MeanColours(torch.nn.Module):
    """uint8 (B, 3, H, W) → float32 (B, L): high where the mean colour is near the label's; the rest to 1 is none of them."""

    def __init__(self, count: int, seed: int, most_in_memory: int) -> None:
        super().__init__()
        colours = torch.tensor([colour_of(position, count, seed) for position in range(count)])
        # A parameter, so that the module has a dtype that casts change, as real models have.
        self.colours = torch.nn.Parameter(colours.float() / 255.0, requires_grad=False)  # (L, 3)
        self.nearness = _NEARNESS
        self.most_in_memory = most_in_memory

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.size(0) > self.most_in_memory:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        means = images.float().mean(dim=(2, 3)) / 255.0  # (B, 3)
        distances = (
            (means.to(self.colours.dtype).unsqueeze(1) - self.colours.unsqueeze(0)).square().sum(dim=2)
        )
        none_of_them = torch.full_like(distances[:, :1], -0.1 * self.nearness)
        logits = torch.cat([-self.nearness * distances, none_of_them], dim=1).float()  # (B, L + 1)
        return logits.softmax(dim=1)[:, :-1]
