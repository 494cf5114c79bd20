"""Labelled folders of drawn photos to train on, and a network with random weights."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rig.drawing import draw_photo
from safetensors.torch import save_file
from torchvision import models

TINTS = {"01.Red_House": (200, 40, 40), "Green Tower": (40, 180, 60), "Tòa Xanh": (40, 70, 210)}
GREY = (128, 128, 128)


def draw_world(folder: Path) -> Path:
    """Draw `landmarks/{train,test}` with three labels, ten `others/`, and `unknown/` with photos of no landmark."""
    for number, (label, tint) in enumerate(TINTS.items()):
        draw_tinted(folder / "landmarks" / "train" / label, range(100 * number, 100 * number + 16), tint)
        draw_tinted(
            folder / "landmarks" / "test" / label, range(1000 + 100 * number, 1000 + 100 * number + 5), tint
        )
    draw_tinted(folder / "unknown" / "deep" / "down", range(2000, 2012), GREY)
    draw_others(folder / "others")
    return folder


def draw_others(folder: Path) -> None:
    """Draw two photos each of ten other landmarks: as many as training of few labels needs."""
    for number in range(10):
        draw_tinted(folder / f"place-{number}", range(3000 + 2 * number, 3002 + 2 * number), GREY)


def save_random_weights(path: Path) -> Path:
    """Save weights of MobileNetV2 that blur and mix channels at random: its features depend on colours."""
    network = models.mobilenet_v2(weights=None)
    generator = torch.Generator().manual_seed(0)
    for module in network.features.modules():
        if isinstance(module, torch.nn.Conv2d):
            if module.groups > 1:
                module.weight.data.fill_(1 / 9)
            else:
                deviation = (2 / module.weight[0].numel()) ** 0.5
                module.weight.data.normal_(0, deviation, generator=generator)
    state = {
        name: values for name, values in network.state_dict().items() if not name.startswith("classifier.")
    }
    save_file(state, path)
    return path


def draw_tinted(folder: Path, seeds: range, tint: tuple[int, int, int]) -> None:
    folder.mkdir(parents=True)
    for seed in seeds:
        photo = np.asarray(draw_photo(seed, (120, 90)).convert("RGB"), dtype=np.float32)
        tinted = 0.3 * photo + 0.7 * np.array(tint)
        Image.fromarray(tinted.astype(np.uint8)).save(folder / f"{seed}.jpg", quality=90)
