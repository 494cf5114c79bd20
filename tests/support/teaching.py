"""A tiny model of format 2, and photos of places that it does not know.

The embedding is a picture of 20 x 20 cells: photos of one place have nearly the same pattern, and no two
places do. It has about as many dimensions as real ones, for which the scores of classifiers are calibrated.
"""

from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from support.artifacts import LABELS, MeanColours, tiny_manifest
from support.camera_photos import NOON, gps_tags

from tagger.model.artifact import BackgroundStatistics, Embedding, Manifest, save_artifact

CELLS = 20
DIMENSION = CELLS * CELLS * 3
BACKGROUND_PHOTOS = 2000


def teachable_artifact(path: Path, *, seed: int = 0, name: str = "teachable", cells: int = CELLS) -> Manifest:
    """Write the model to `path`. The seed determines colours and digest; few cells make a small file."""
    manifest, data = _artifact(seed, name, cells)
    path.write_bytes(data)
    return manifest


@cache
def _artifact(seed: int, name: str, cells: int) -> tuple[Manifest, bytes]:
    dimension = cells * cells * 3
    embedding = Embedding(dimension=dimension, layer="cells", background_photos=BACKGROUND_PHOTOS)
    manifest = tiny_manifest(format=2, name=name, embedding=embedding, training={"seed": seed})
    generator = np.random.default_rng(seed)
    strangers = generator.uniform(0, 1, (BACKGROUND_PHOTOS, dimension)).astype(np.float32)
    background = BackgroundStatistics.measured(np.sqrt(strangers))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "artifact.pt"
        module = torch.jit.script(_Cells(MeanColours(len(LABELS), seed, 10_000), cells).eval())
        save_artifact(module, manifest, file, background=background)
        return manifest, file.read_bytes()


class _Cells(torch.nn.Module):
    """uint8 (B, 3, H, W) → scores (B, L) of the mean colour, and the root of each cell's colour (B, D)."""

    def __init__(self, colours: torch.nn.Module, cells: int) -> None:
        super().__init__()
        self.colours = colours
        self.cells = torch.nn.AdaptiveAvgPool2d(cells)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = self.cells(images.to(self.colours.colours.dtype) / 255.0)
        return self.colours(images), pooled.flatten(1).float().sqrt()


def draw_place(
    path: Path,
    place: int,
    *,
    seed: int = 0,
    noise: float = 0.05,
    cells: int = CELLS,
    exif: Image.Exif | None = None,
) -> Path:
    """Draw a photo of a place that the model does not know; another seed gives another photo of it."""
    pattern = np.random.default_rng(1000 + place).uniform(0.1, 0.9, (cells, cells, 3))
    noisy = pattern + np.random.default_rng((place, seed)).normal(0, noise, pattern.shape)
    pixels = (
        np.clip(noisy * 255, 0, 255).astype(np.uint8).repeat(80 // cells, axis=0).repeat(80 // cells, axis=1)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95, exif=Image.Exif() if exif is None else exif)
    return path


COLOSSEUM = (41.8903, 12.4922)


def draw_sight(folder: Path) -> None:
    """Draw five photos near a sight that show it and five that do not, 40 elsewhere, and scans: three of it."""
    seeds = count()

    def draw(name: str, place: int, hour: float | None, gps: tuple[float, float] | None) -> None:
        exif = Image.Exif()
        if hour is not None:
            at = NOON + timedelta(hours=hour)
            exif.get_ifd(0x8769)[0x9003] = at.strftime("%Y:%m:%d %H:%M:%S")
        if gps is not None:
            exif.get_ifd(0x8825).update(gps_tags(*gps))
        draw_place(folder / f"{name}.jpg", place, seed=next(seeds), noise=0.25, exif=exif)

    for number in range(40):
        draw(f"elsewhere-{number}", 100 + number, 24 * number, (51.5 + number / 100, 0.1))
    for number in range(5):
        draw(f"rome-{number}", 1, 1200 + 3 * number, COLOSSEUM)
        draw(f"dinner-{number}", 200 + number, 1201 + 3 * number, COLOSSEUM)
    for number in range(3):
        draw(f"scanned-{number}", 1, None, None)
        draw(f"other-{number}", 300 + number, None, None)
