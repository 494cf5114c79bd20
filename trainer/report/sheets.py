"""Sheets of photos, each with what it shows, what it was named and how surely: to be looked at, not computed with."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from tagger.errors import PhotoFailed
from tagger.images import Resize, decode_photo
from tagger.photos import read_photo
from trainer.evaluation.mistakes import Mistake
from trainer.photos.limits import MAX_BYTES, MAX_PIXELS
from trainer.report.figures import drawing

_ACROSS = 6
_WHOLE = Resize(short_side=256, size=256, fit="stretch")
"""All of a photo and not only what the model saw of it; its proportions come back where it is drawn."""
_LONGEST = 26
"""Letters of a name that have room below a photo."""


def draw_sheet(mistakes: Sequence[Mistake], path: Path) -> None:
    """At least one photo, the surest mistake first, each whole."""
    columns = min(_ACROSS, len(mistakes))
    rows = -(-len(mistakes) // columns)
    with drawing(path, width=2.1 * columns, height=2.75 * rows, rows=rows, columns=columns) as axes:
        for each in axes[len(mistakes) :]:
            each.set_axis_off()
        for each, mistake in zip(axes, mistakes, strict=False):
            _show(each, mistake)


def _show(axes: Axes, mistake: Mistake) -> None:
    try:
        data = read_photo(mistake.path, max_bytes=MAX_BYTES).data
        image = decode_photo(data, _WHOLE, max_pixels=MAX_PIXELS)
        axes.imshow(image.pixels, aspect=image.height / image.width)
    except PhotoFailed:
        axes.text(0.5, 0.5, "cannot be read any more", ha="center")
    axes.set(xticks=[], yticks=[], anchor="SW")
    shown = f"shows {_short(mistake.shown)}" if mistake.shown else "shows none of them"
    text = f"{shown}\nnamed {_short(mistake.named)}\nscore {mistake.score:.2f}"
    axes.set_xlabel(text, fontsize=8, loc="left", multialignment="left", linespacing=1.3, parse_math=False)


def _short(name: str) -> str:
    return textwrap.shorten(name, _LONGEST, placeholder="…") if " " in name else name[:_LONGEST]
