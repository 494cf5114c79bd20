"""Draws small landscapes with a tower, for tests and for demonstrations without real photos.

The same seed draws the same picture. As a program: `python tests/rig/drawing.py FOLDER COUNT`.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]

SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((64, 124, 196), (206, 226, 240)),
    ((38, 58, 110), (248, 176, 122)),
    ((120, 150, 180), (226, 226, 220)),
    ((92, 64, 128), (250, 148, 120)),
)
WALLS: tuple[Colour, ...] = (
    (222, 200, 168),
    (196, 128, 96),
    (232, 226, 214),
    (150, 152, 160),
    (204, 170, 120),
)
MEADOWS: tuple[Colour, ...] = ((92, 128, 70), (130, 142, 84), (70, 104, 84), (188, 168, 118))


def draw_photo(seed: int, size: tuple[int, int] = (1200, 800)) -> Image.Image:
    """Draw a landscape: sky, sun, hills, a building, and the noise of a sensor."""
    rng = random.Random(seed)
    picture = _sky(rng, size)
    draw = ImageDraw.Draw(picture)
    _sun(draw, rng, size)
    meadow = rng.choice(MEADOWS)
    for depth in (0.55, 0.62, 0.7):
        _hills(draw, rng, size, depth, _mixed(meadow, (150, 170, 190), (0.7 - depth) * 4))
    _tower(draw, rng, size)
    _ground(draw, rng, size, meadow)
    return _photographed(picture, seed)


def save_photos(folder: Path, count: int, size: tuple[int, int] = (1200, 800)) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"drawn-{seed:04}.jpg" for seed in range(count)]
    for seed, path in enumerate(paths):
        draw_photo(seed, size).save(path, quality=88)
    return paths


def _sky(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    above, below = rng.choice(SKIES)
    down = np.linspace(0, 1, size[1])[:, None, None] ** 0.8
    rows = np.array(above) * (1 - down) + np.array(below) * down  # (H, 1, 3)
    return Image.fromarray(np.broadcast_to(rows, (size[1], size[0], 3)).astype(np.uint8))


def _sun(draw: ImageDraw.ImageDraw, rng: random.Random, size: tuple[int, int]) -> None:
    x, y, radius = size[0] * rng.uniform(0.1, 0.9), size[1] * rng.uniform(0.08, 0.3), min(size) * 0.05
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 244, 214))


def _hills(
    draw: ImageDraw.ImageDraw, rng: random.Random, size: tuple[int, int], depth: float, fill: Colour
) -> None:
    phases = [rng.uniform(0, 6.28) for _ in range(3)]
    across = np.linspace(0, 1, 60)
    waves = [np.sin(across * 5 * k + phase) / k for k, phase in enumerate(phases, start=1)]
    heights = (depth + np.sum(waves, axis=0) * 0.05) * size[1]
    ridge = [(float(x) * size[0], float(y)) for x, y in zip(across, heights, strict=True)]
    draw.polygon([(0, size[1]), *ridge, (size[0], size[1])], fill=fill)


def _tower(draw: ImageDraw.ImageDraw, rng: random.Random, size: tuple[int, int]) -> None:
    wall = rng.choice(WALLS)
    x, width = size[0] * rng.uniform(0.4, 0.6), size[0] * rng.uniform(0.03, 0.06)
    top, foot = size[1] * rng.uniform(0.12, 0.25), size[1] * 0.84
    draw.polygon(
        [(x - width * 2, foot), (x - width, top), (x + width, top), (x + width * 2, foot)], fill=wall
    )
    for storey in range(1, 6):
        y, half = top + (foot - top) * storey / 6, width * (1 + storey / 6)
        draw.line((x - half, y, x + half, y), fill=_mixed(wall, (40, 36, 40), 0.5), width=_thin(size))
    draw.line((x, top - size[1] * 0.1, x, top), fill=(60, 60, 70), width=_thin(size))


def _ground(draw: ImageDraw.ImageDraw, rng: random.Random, size: tuple[int, int], meadow: Colour) -> None:
    draw.rectangle((0, size[1] * 0.84, size[0], size[1]), fill=_mixed(meadow, (30, 40, 20), 0.25))
    for _ in range(rng.randint(4, 9)):
        x, y, half = (
            size[0] * rng.random(),
            size[1] * rng.uniform(0.8, 0.9),
            size[1] * rng.uniform(0.03, 0.06),
        )
        draw.rectangle((x - half / 8, y, x + half / 8, y + half), fill=(82, 62, 46))
        draw.ellipse((x - half, y - half * 2, x + half, y + half / 3), fill=_mixed(meadow, (24, 60, 30), 0.6))


def _photographed(picture: Image.Image, seed: int) -> Image.Image:
    """Blur edges and add noise, so that a JPEG of the picture is as large as a photo's."""
    soft = picture.filter(ImageFilter.GaussianBlur(min(picture.size) / 900))
    grain = np.random.default_rng(seed).normal(0, 4, (*soft.size[::-1], 1))
    return Image.fromarray(np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8))


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _thin(size: tuple[int, int]) -> int:
    return max(1, min(size) // 200)


def main() -> None:
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    paths = save_photos(arguments.folder, arguments.count)
    print(f"{len(paths)} pictures drawn into {arguments.folder}")  # noqa: T201 - a program prints


if __name__ == "__main__":
    main()
