"""Sheets of photos: a PNG with a row of a few photos for each label or mistake, beside its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.files import read_photo
from trainer.data.folders import MAX_BYTES, MAX_PIXELS

CELL = Resize(short_side=112, size=112)
GAP, COLUMN_GAP = 6, 40
NAME_WIDTH = 225
LETTERS_PER_LINE = 23
MOST_LINES = 4
LINE_HEIGHT = 19
PAPER, INK, PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class SheetRow:
    """A name, a note below it, and the photos beside them."""

    name: str
    note: str
    photos: Sequence[Path]


def draw_sheet(rows: Sequence[SheetRow], file: Path, *, columns: int = 1) -> None:
    """Draw the rows below each other, or in several columns, line by line."""
    step = CELL.size + GAP
    width = NAME_WIDTH + max(len(row.photos) for row in rows) * step + COLUMN_GAP
    sheet = Image.new(
        "RGB", (width * columns + GAP - COLUMN_GAP, -(-len(rows) // columns) * step + GAP), PAPER
    )
    draw, name_font, note_font = ImageDraw.Draw(sheet), _font("DejaVuSans-Bold"), _font("DejaVuSans")
    for number, row in enumerate(rows):
        left, top = number % columns * width + GAP, number // columns * step + GAP
        lines = wrap(row.name, LETTERS_PER_LINE)[:MOST_LINES]
        draw.text((left, top), "\n".join(lines), INK, name_font)
        draw.text((left, top + LINE_HEIGHT * len(lines) + 4), row.note, PALE, note_font)
        for column, photo in enumerate(row.photos):
            sheet.paste(_square(photo), (left + NAME_WIDTH + column * step, top))
    sheet.save(file)


def _square(path: Path) -> Image.Image:
    data = read_photo(path, max_bytes=MAX_BYTES).data
    return Image.fromarray(decode_photo(data, CELL, max_pixels=MAX_PIXELS).pixels)


def _font(name: str) -> ImageFont.FreeTypeFont:
    """A font of matplotlib, which covers most scripts."""
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", f"{name}.ttf")), 14)
