"""The sample sheet: a row of photos for each label, with its name and how many there are of it, as PNG."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap

import matplotlib as mpl
from blake3 import blake3
from PIL import Image, ImageDraw, ImageFont

from tagger.errors import PhotoFailed
from tagger.images import Resize, decode_photo
from tagger.photos import path_text, read_photo
from trainer.datasets.folder import Member
from trainer.datasets.inspection import Inspection
from trainer.photos.limits import MAX_BYTES, MAX_PIXELS
from trainer.progress import photo_progress

SAMPLES = 6
CELL = Resize(short_side=112, size=112)
GAP = 6
NAME_WIDTH = 225
LETTERS_A_LINE = 23
LABELS_A_COLUMN = 32
LABELS_A_SHEET = 96
"""A sheet of three columns is as large as one can look at; more labels go on further sheets."""
PAPER, INK, PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def write_sheets(inspection: Inspection, folder: Path) -> list[Path]:
    """Draw sheet.png, and sheet-2.png and so on where there are many labels; returns their paths."""
    samples = _samples(inspection)
    paths = []
    with photo_progress("drawing samples", len(samples)) as advance:
        for number, labels in enumerate(_sheets(list(samples)), start=1):
            sheet = _Sheet(len(labels))
            for position, label in enumerate(labels):
                sheet.draw_row(position, label, _counts_text(inspection, label), samples[label])
                advance(1)
            path = folder / ("sheet.png" if number == 1 else f"sheet-{number}.png")
            sheet.picture.save(path)
            paths.append(path)
    return paths


def _sheets(labels: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(labels), LABELS_A_SHEET):
        yield labels[first : first + LABELS_A_SHEET]


def _samples(inspection: Inspection) -> dict[str, list[Member]]:
    """A few photos of each label, drawn by lot over their pictures, so that the same folder gives the same sheet."""
    lots: dict[str, dict[str, Member]] = defaultdict(dict)
    for member, looked in zip(inspection.members, inspection.looked, strict=True):
        lots[member.label].setdefault(blake3(looked.digest.encode()).hexdigest(), member)
    return {
        label: [lots[label][lot] for lot in sorted(lots[label])[:SAMPLES]]
        for label in inspection.dataset.labels
    }


def _counts_text(inspection: Inspection, label: str) -> str:
    by_split = inspection.counts[label]
    return " · ".join(f"{split} {count}".strip() for split, count in by_split.items())


class _Sheet:
    """One picture being drawn, columns of rows."""

    def __init__(self, labels: int) -> None:
        columns = -(-labels // LABELS_A_COLUMN)
        self._rows = -(-labels // columns)
        self._step = CELL.size + GAP
        self._column_width = NAME_WIDTH + SAMPLES * self._step + 3 * GAP
        size = (columns * self._column_width + GAP, self._rows * self._step + GAP)
        self.picture = Image.new("RGB", size, PAPER)
        self._draw = ImageDraw.Draw(self.picture)
        self._name_font, self._count_font = _font("DejaVuSans-Bold", 14), _font("DejaVuSans", 14)

    def draw_row(self, position: int, label: str, counts: str, samples: Sequence[Member]) -> None:
        column, row = divmod(position, self._rows)
        left, top = column * self._column_width + GAP, row * self._step + GAP
        lines = wrap(path_text(label)[0].replace("_", " "), LETTERS_A_LINE)[:4]
        name = "\n".join(lines)
        self._draw.text((left, top), name, INK, self._name_font)
        self._draw.text((left, top + 19 * len(lines) + 4), counts, PALE, self._count_font)
        for number, member in enumerate(samples):
            self.picture.paste(_square(member.path), (left + NAME_WIDTH + number * self._step, top))


def _square(path: Path) -> Image.Image:
    try:
        data = read_photo(path, max_bytes=MAX_BYTES).data
        return Image.fromarray(decode_photo(data, CELL, max_pixels=MAX_PIXELS).pixels)
    except PhotoFailed:  # it could be read a minute ago
        return Image.new("RGB", (CELL.size, CELL.size), PALE)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font with the letters of most languages; matplotlib brings it along."""
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", f"{name}.ttf")), size)
