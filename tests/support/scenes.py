"""Images without near-duplicates among them, in folders and in archives."""

import io
import warnings
import zipfile
from collections.abc import Iterable
from functools import cache
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
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@cache
def course_archive(top: str = "landmark_images", train: str = "train") -> bytes:
    """Two labels, four training photos, two test photos, and the extra files that macOS adds to archives."""
    names = [f"{train}/16.Eiffel_Tower/{n}.jpg" for n in (0, 1)] + [
        f"{train}/21.Taj_Mahal/{n}.jpg" for n in (2, 3)
    ]
    names += ["test/16.Eiffel_Tower/4.jpg", "test/21.Taj_Mahal/5.jpg"]
    files = {f"{top}/{name}": scene_bytes(number) for number, name in enumerate(names)}
    junk = {f"{top}/.DS_Store": b"x", f"__MACOSX/{top}/train/._0.jpg": b"x", f"{top}/readme.txt": b"hello"}
    return zip_of(files | junk)


def zip_of(files: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """An archive with these entries; any name is allowed, also twice."""
    buffer = io.BytesIO()
    entries = list(files.items()) if isinstance(files, dict) else files
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two entries of one name
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()
