"""Images without near-duplicates among them, and folders of them."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def scene(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Coloured clouds. The same seed in another size gives a near-duplicate."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def draw_scene(path: Path, seed: int, size: tuple[int, int] = (96, 72), *, quality: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scene(seed, size).save(path, quality=quality)
    return path


def draw_label(folder: Path, seeds: Iterable[int]) -> None:
    for seed in seeds:
        draw_scene(folder / f"{seed}.jpg", seed)


def scene_bytes(seed: int) -> bytes:
    buffer = io.BytesIO()
    scene(seed).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    """The content of every file below `folder`, by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
