"""The artifact as torchvision's and PyTorch's documentation would have anybody use it: load, transform, forward, top k.

https://docs.pytorch.org/vision/stable/transforms.html; the network takes uint8 and normalises inside, so a transform
ends with PILToTensor where others would have ToTensor and Normalize.
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

from bench.copies import EXTENSIONS
from bench.peers import TOP_K

Best = list[tuple[str, float]]  # slug and score, best first


@dataclass(frozen=True)
class Network:
    """A loaded network, what its labels are called, and how it wants its images."""

    module: torch.jit.ScriptModule
    slugs: list[str]
    rule: dict[str, Any]

    def best(self, images: torch.Tensor) -> list[Best]:
        """The top k of each image of a batch, uint8 (B, 3, H, W)."""
        with torch.inference_mode():
            scores = self.module(images).float()  # (B, L)
        best = scores.topk(min(TOP_K, len(self.slugs)), dim=1)
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [
            [(self.slugs[position], score) for position, score in zip(positions, values, strict=True)]
            for positions, values in rows
        ]


def load(path: Path) -> Network:
    """The network in float32, as stored, and what the file says of itself."""
    extra = {"manifest.json": ""}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        module = torch.jit.load(path, _extra_files=extra).float().eval()  # type: ignore[no-untyped-call]
    manifest = json.loads(extra["manifest.json"])
    return Network(module, [label["slug"] for label in manifest["labels"]], manifest["input"])


def transform_of(rule: dict[str, Any]) -> transforms.Compose:
    """The network's input rule in torchvision's words."""
    size = rule["size"]
    if rule["fit"] == "stretch":
        return transforms.Compose([transforms.Resize((size, size)), transforms.PILToTensor()])
    steps = [transforms.Resize(rule["short_side"]), transforms.CenterCrop(size), transforms.PILToTensor()]
    return transforms.Compose(steps)


def open_photo(path: str | Path, transform: transforms.Compose, draft_px: int = 0) -> torch.Tensor:
    """A photo as the network wants it, uint8 (3, H, W).

    With `draft_px` the JPEG decoder may give a smaller image whose sides are at least as long:
    https://pillow.readthedocs.io/en/stable/reference/Image.html#PIL.Image.Image.draft
    """
    with Image.open(path) as photo:
        if draft_px:
            photo.draft("RGB", (draft_px, draft_px))
        image: torch.Tensor = transform(photo.convert("RGB"))
    return image


def photos(paths: Iterable[Path]) -> Iterator[Path]:
    """The photos named, and those in the folders named, in order."""
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.suffix.lower() in EXTENSIONS)
        else:
            yield path


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
