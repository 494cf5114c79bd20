"""A small model of the drawn landmarks: edges in a few directions and a linear layer, trained in seconds."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import ImageOps

from docs.pictures.drawn_landmarks import GAZETTEER, draw_landmark
from docs.pictures.drawn_library import SIZES
from tagger.model.artifact import InputRule, Label, Manifest, save_artifact

SIDE = 96
FIRST_SEED = 100_000
"""The library is drawn with lower seeds, so none of its photos is trained on."""
STEPS = 300


def learn_landmarks(path: Path, per_label: int = 40) -> None:
    """Draw `per_label` photos of each landmark and of none, train the model on them, and write it."""
    labels = [
        Label(**row | {"city": row["city"] or None})  # type: ignore[arg-type]
        for row in csv.DictReader(GAZETTEER.splitlines())
    ]
    images, targets = _drawn([label.slug for label in labels], per_label)
    module = _Edges(len(labels)).train()
    with torch.no_grad():
        features = module.edges(images)
        module.mean.copy_(features.mean(dim=0))
        module.deviation.copy_(features.std(dim=0) + 1e-3)
    steps = torch.optim.Adam(module.parameters(), lr=0.003, weight_decay=1e-3)
    for _ in range(STEPS):
        loss = torch.nn.functional.cross_entropy(module.logits(features), targets)
        steps.zero_grad()
        loss.backward()
        steps.step()
    manifest = Manifest(
        name="drawn-18",
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
        labels=tuple(labels),
        input=InputRule(size=SIDE, short_side=SIDE),
        threshold=0.7,
        suggestion_threshold=0.4,
        threshold_reason="chosen for the screenshots",
        calibration={"method": "none"},
        training={"photos": len(images)},
        metrics={},
        versions={"torch": torch.__version__},
    )
    save_artifact(torch.jit.script(module.eval()), manifest, path)


def _drawn(slugs: list[str], per_label: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, uint8 (N, 3, SIDE, SIDE), and their targets; the last target is "no landmark"."""
    classes = [
        (slug, label) for label, slug in enumerate(slugs) for _ in range(per_label)
    ]
    classes += [(None, len(slugs))] * (4 * per_label)
    images = [
        _square(slug, FIRST_SEED + seed) for seed, (slug, _) in enumerate(classes)
    ]
    return torch.stack(images), torch.tensor([label for _, label in classes])


def _square(slug: str | None, seed: int) -> torch.Tensor:
    """The centre of a drawn photo, cropped as the tagger does."""
    width, height = SIZES[seed % len(SIZES)]
    scale = SIDE / min(width, height)
    picture = draw_landmark(slug, seed, (round(width * scale), round(height * scale)))
    middle = ImageOps.fit(picture, (SIDE, SIDE))
    return torch.from_numpy(np.array(middle)).permute(2, 0, 1)


class _Edges(torch.nn.Module):
    """uint8 (B, 3, H, W) → float32 (B, L): a linear layer on edges by direction and part of the image."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.cells = 12
        width = 6 * self.cells * self.cells
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.linear = torch.nn.Linear(width, labels + 1)
        torch.nn.init.zeros_(
            self.linear.weight
        )  # no random values: the same photos give the same model
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(self.edges(images)).float().softmax(dim=1)[:, :-1]

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear((features - self.mean) / self.deviation)

    def edges(self, images: torch.Tensor) -> torch.Tensor:
        colours = images.to(self.mean.dtype) / 255.0
        grey = colours.mean(dim=1)
        down = grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
        across = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]
        strength = torch.stack(
            [down.abs(), across.abs(), (down + across).abs(), (down - across).abs()],
            dim=1,
        )
        strength = strength / (strength.mean(dim=(1, 2, 3), keepdim=True) + 1e-3)
        pooled = torch.nn.functional.adaptive_avg_pool2d(
            strength.clamp(max=8.0), (self.cells, self.cells)
        )
        tints = torch.stack([colours[:, 0] - grey, colours[:, 2] - grey], dim=1)
        tinted = (
            torch.nn.functional.adaptive_avg_pool2d(tints, (self.cells, self.cells))
            * 4.0
        )
        return torch.cat([pooled, tinted], dim=1).flatten(1)
