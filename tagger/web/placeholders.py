"""What stands in a page where a photo cannot be shown: a crossed-out picture, and why in a word or two."""

import io
from functools import cache

from PIL import Image, ImageDraw, ImageFont

_SIDE = 256
_INK = (139, 145, 152, 255)  # readable on light and on dark ground
_WORDS = {
    "away": "disk is away",
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
    "empty": "empty file",
}


@cache
def placeholder(kind: str) -> bytes:
    """A transparent PNG for that kind of failure. Browsers draw a thousand of them sooner than as many drawings in SVG."""
    image = Image.new("RGBA", (_SIDE, _SIDE))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((76, 76, 180, 160), radius=10, outline=_INK, width=5)
    draw.line((86, 148, 112, 118, 132, 138, 148, 124, 172, 148), fill=_INK, width=5, joint="curve")
    draw.line((72, 64, 184, 172), fill=_INK, width=5)
    font = ImageFont.load_default(22)
    draw.text((_SIDE / 2, 200), _WORDS.get(kind, "cannot be shown"), fill=_INK, font=font, anchor="mm")
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
