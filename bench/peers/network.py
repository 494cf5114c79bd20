"""The artifact used as the documentation of PyTorch and torchvision teaches: load, transform, forward, top k.

Follows https://docs.pytorch.org/vision/stable/transforms.html. The network takes uint8 and normalises inside, so a transform
ends with PILToTensor instead of ToTensor and Normalize.
"""

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

from bench.peers import TOP_K
from bench.photos import photos_in

Predictions = list[tuple[str, float]]  # slug and score, best first


@dataclass(frozen=True)
class Network:
    """A loaded network, the slugs of its labels, and the rule for its input."""

    module: torch.jit.ScriptModule
    slugs: list[str]
    input_rule: dict[str, Any]

    def predict(self, images: torch.Tensor) -> list[Predictions]:
        """Return the top k of each image of a batch, uint8 (B, 3, H, W)."""
        with torch.inference_mode():
            output = self.module(images)
        scores = (
            output[0] if isinstance(output, tuple) else output
        ).float()  # (B, L), perhaps with embeddings
        top = scores.topk(min(TOP_K, len(self.slugs)), dim=1)
        return [
            [(self.slugs[position], score) for position, score in zip(positions, values, strict=True)]
            for positions, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]


def load_network(path: Path) -> Network:
    """Load the network in float32, with the labels and the input rule of its manifest."""
    extra = {"manifest.json": ""}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        module = torch.jit.load(path, _extra_files=extra).float().eval()  # type: ignore[no-untyped-call]
    manifest = json.loads(extra["manifest.json"])
    return Network(module, [label["slug"] for label in manifest["labels"]], manifest["input"])


def make_transform(input_rule: dict[str, Any]) -> transforms.Compose:
    """Return the transform of torchvision that follows the network's input rule."""
    size = input_rule["size"]
    if input_rule["fit"] == "stretch":
        return transforms.Compose([transforms.Resize((size, size)), transforms.PILToTensor()])
    steps = [
        transforms.Resize(input_rule["short_side"]),
        transforms.CenterCrop(size),
        transforms.PILToTensor(),
    ]
    return transforms.Compose(steps)


def open_photo(path: str | Path, transform: transforms.Compose, draft_px: int = 0) -> torch.Tensor:
    """Return the network's input, uint8 (3, H, W).

    With `draft_px` the JPEG decoder may return a smaller image whose sides have at least this length:
    https://pillow.readthedocs.io/en/stable/reference/Image.html#PIL.Image.Image.draft
    """
    with Image.open(path) as photo:
        if draft_px:
            photo.draft("RGB", (draft_px, draft_px))
        image: torch.Tensor = transform(photo.convert("RGB"))
    return image


def expand_folders(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the photos among the paths and those in the folders."""
    for path in paths:
        if path.is_dir():
            yield from photos_in(path)
        else:
            yield path


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
