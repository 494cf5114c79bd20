"""A small model of the drawn landmarks: edges in a few directions and a linear layer, trained in seconds."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import ImageOps
from support.drawn_landmarks import GAZETTEER, draw_landmark
from support.drawn_library import SIZES

from tagger.inference.artifact import InputRule, Label, Manifest, save_artifact

SIDE = 96
FIRST_SEED = 100_000
"""The library is drawn with lower ones: nothing that is shown was learned from."""
STEPS = 300


def learn_landmarks(path: Path, each: int = 40) -> None:
    """Draw each landmark so often and places without one, learn to tell them apart, and write the artifact to `path`."""
    labels = [
        Label(**row | {"city": row["city"] or None})  # type: ignore[arg-type]
        for row in csv.DictReader(GAZETTEER.splitlines())
    ]
    images, wanted = _drawn([label.slug for label in labels], each)
    module = _Edges(len(labels)).train()
    with torch.no_grad():
        seen = module.edges(images)
        module.mean.copy_(seen.mean(dim=0))
        module.deviation.copy_(seen.std(dim=0) + 1e-3)
    steps = torch.optim.Adam(module.parameters(), lr=0.003, weight_decay=1e-3)
    for _ in range(STEPS):
        loss = torch.nn.functional.cross_entropy(module.logits(seen), wanted)
        steps.zero_grad()
        loss.backward()
        steps.step()
    manifest = Manifest(
        name="drawn-18",
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
        labels=tuple(labels),
        input=InputRule(size=SIDE, short_side=SIDE),
        threshold=0.6,
        threshold_reason="chosen for pictures of the page",
        calibration={"method": "none"},
        training={"photos": len(images)},
        metrics={},
        versions={"torch": torch.__version__},
    )
    save_artifact(torch.jit.script(module.eval()), manifest, path)


def _drawn(slugs: list[str], each: int) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (N, 3, SIDE, SIDE) and the label of each; the last label is none of them."""
    asked = [(slug, label) for label, slug in enumerate(slugs) for _ in range(each)]
    asked += [(None, len(slugs))] * (4 * each)
    images = [_square(slug, FIRST_SEED + seed) for seed, (slug, _) in enumerate(asked)]
    return torch.stack(images), torch.tensor([label for _, label in asked])


def _square(slug: str | None, seed: int) -> torch.Tensor:
    """The middle of a drawn photo, as the tagger cuts it."""
    width, height = SIZES[seed % len(SIZES)]
    scale = SIDE / min(width, height)
    picture = draw_landmark(slug, seed, (round(width * scale), round(height * scale)))
    middle = ImageOps.fit(picture, (SIDE, SIDE))
    return torch.from_numpy(np.array(middle)).permute(2, 0, 1)


class _Edges(torch.nn.Module):
    """uint8 (B, 3, H, W) → float32 (B, L): how strong edges of each direction are in each part of the image."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.cells = 12
        width = 6 * self.cells * self.cells
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.linear = torch.nn.Linear(width, labels + 1)
        torch.nn.init.zeros_(self.linear.weight)  # so that the same drawings give the same model
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(self.edges(images)).float().softmax(dim=1)[:, :-1]

    def logits(self, seen: torch.Tensor) -> torch.Tensor:
        return self.linear((seen - self.mean) / self.deviation)

    def edges(self, images: torch.Tensor) -> torch.Tensor:
        colours = images.to(self.mean.dtype) / 255.0
        grey = colours.mean(dim=1)
        down = grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
        across = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]
        strength = torch.stack(
            [down.abs(), across.abs(), (down + across).abs(), (down - across).abs()], dim=1
        )
        strength = strength / (strength.mean(dim=(1, 2, 3), keepdim=True) + 1e-3)
        pooled = torch.nn.functional.adaptive_avg_pool2d(strength.clamp(max=8.0), (self.cells, self.cells))
        tints = torch.stack([colours[:, 0] - grey, colours[:, 2] - grey], dim=1)
        tinted = torch.nn.functional.adaptive_avg_pool2d(tints, (self.cells, self.cells)) * 4.0
        return torch.cat([pooled, tinted], dim=1).flatten(1)
