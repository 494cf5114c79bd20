"""Placeholder images for photos that cannot be shown: a crossed-out frame and the reason in a few words."""

import io
from functools import cache

from PIL import Image, ImageDraw, ImageFont

_SIDE_PX = 256
_COLOUR = (139, 145, 152, 255)  # readable on light and on dark backgrounds
_TEXTS = {
    "unavailable": "not available now",
    "gone": "file is gone",
    "crashed": "damaged",
    "corrupt": "damaged",
    "truncated": "cut off",
    "not-an-image": "not an image",
    "timed-out": "took too long",
    "too-many-pixels": "too large",
    "too-large": "too large",
    "unsupported": "not supported",
    "unreadable": "not readable",
    "settling": "being written",
    "empty": "empty file",
}


@cache
def placeholder(kind: str) -> bytes:
    """Return a transparent PNG for a kind of failure. Browsers draw many PNGs faster than many SVGs."""
    image = Image.new("RGBA", (_SIDE_PX, _SIDE_PX))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((76, 76, 180, 160), radius=10, outline=_COLOUR, width=5)
    draw.line((86, 148, 112, 118, 132, 138, 148, 124, 172, 148), fill=_COLOUR, width=5, joint="curve")
    draw.line((72, 64, 184, 172), fill=_COLOUR, width=5)
    font = ImageFont.load_default(22)
    text = _TEXTS.get(kind, "cannot be shown")
    draw.text((_SIDE_PX / 2, 200), text, fill=_COLOUR, font=font, anchor="mm")
    png = io.BytesIO()
    image.save(png, "PNG")
    return png.getvalue()
