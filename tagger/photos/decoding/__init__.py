"""Decodes photos to pixels at the model's input size. This is the only preprocessing.

The trainer, `predict`, `tag` and the workers all use `decode_photo`, so a photo gives the same pixels everywhere.
"""

from tagger.photos.decoding.decode import (
    DecodedImage,
    Fit,
    Pixels,
    Resize,
    decode_photo,
    decode_whole,
    turned,
)

__all__ = ["DecodedImage", "Fit", "Pixels", "Resize", "decode_photo", "decode_whole", "turned"]
