"""Sample sheets: a few photos of each label with its name and counts, as PNG."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap

import matplotlib as mpl
from blake3 import blake3
from PIL import Image, ImageDraw, ImageFont

from tagger.errors import PhotoFailed
from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.files import read_photo
from tagger.photos.paths import path_text
from trainer.data.folders import MAX_BYTES, MAX_PIXELS, DatasetPhoto
from trainer.data.inspection import Inspection
from trainer.progress import photo_progress

SAMPLES = 6
CELL = Resize(short_side=112, size=112)
GAP = 6
NAME_WIDTH = 225
LETTERS_PER_LINE = 23
LABELS_PER_COLUMN = 32
LABELS_PER_SHEET = 96
"""A sheet with three columns is still readable; further labels are on further sheets."""
PAPER, INK, PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def write_sheets(inspection: Inspection, folder: Path) -> list[Path]:
    """Draw sheet.png, and sheet-2.png and so on if there are many labels; returns their paths."""
    samples = _samples(inspection)
    paths = []
    with photo_progress("drawing samples", len(samples)) as advance:
        for number, labels in enumerate(_sheets(list(samples)), start=1):
            sheet = _Sheet(len(labels))
            for position, label in enumerate(labels):
                sheet.draw_row(position, label, _counts_text(inspection, label), samples[label])
                advance(1)
            path = folder / ("sheet.png" if number == 1 else f"sheet-{number}.png")
            sheet.image.save(path)
            paths.append(path)
    return paths


def _sheets(labels: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(labels), LABELS_PER_SHEET):
        yield labels[first : first + LABELS_PER_SHEET]


def _samples(inspection: Inspection) -> dict[str, list[DatasetPhoto]]:
    """A few different images of each label, in an order that depends on their digests alone."""
    by_label: dict[str, dict[str, DatasetPhoto]] = defaultdict(dict)
    for photo, facts in zip(inspection.photos, inspection.facts, strict=True):
        by_label[photo.label].setdefault(blake3(facts.digest.encode()).hexdigest(), photo)
    return {
        label: [by_label[label][key] for key in sorted(by_label[label])[:SAMPLES]]
        for label in inspection.dataset.labels
    }


def _counts_text(inspection: Inspection, label: str) -> str:
    by_split = inspection.counts[label]
    return " · ".join(f"{split} {count}".strip() for split, count in by_split.items())


class _Sheet:
    """A sample sheet: columns of rows, one row per label."""

    def __init__(self, labels: int) -> None:
        columns = -(-labels // LABELS_PER_COLUMN)
        self._rows = -(-labels // columns)
        self._step = CELL.size + GAP
        self._column_width = NAME_WIDTH + SAMPLES * self._step + 3 * GAP
        size = (columns * self._column_width + GAP, self._rows * self._step + GAP)
        self.image = Image.new("RGB", size, PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._name_font, self._count_font = _font("DejaVuSans-Bold", 14), _font("DejaVuSans", 14)

    def draw_row(self, position: int, label: str, counts: str, samples: Sequence[DatasetPhoto]) -> None:
        column, row = divmod(position, self._rows)
        left, top = column * self._column_width + GAP, row * self._step + GAP
        lines = wrap(path_text(label)[0].replace("_", " "), LETTERS_PER_LINE)[:4]
        name = "\n".join(lines)
        self._draw.text((left, top), name, INK, self._name_font)
        self._draw.text((left, top + 19 * len(lines) + 4), counts, PALE, self._count_font)
        for number, photo in enumerate(samples):
            self.image.paste(_square(photo.path), (left + NAME_WIDTH + number * self._step, top))


def _square(path: Path) -> Image.Image:
    try:
        data = read_photo(path, max_bytes=MAX_BYTES).data
        return Image.fromarray(decode_photo(data, CELL, max_pixels=MAX_PIXELS).pixels)
    except PhotoFailed:  # it was readable before
        return Image.new("RGB", (CELL.size, CELL.size), PALE)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of matplotlib, which covers most scripts."""
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", f"{name}.ttf")), size)
