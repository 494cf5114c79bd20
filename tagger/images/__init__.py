"""Photo bytes → pixels at the model's input size; the only preprocessing there is.

Trainer, `look`, `tag` and the worker all come through `decode_photo`, so the same photo gives the same pixels everywhere.
"""

from tagger.images.decode import DecodedImage, Fit, Pixels, Resize, decode_photo, decode_whole

__all__ = ["DecodedImage", "Fit", "Pixels", "Resize", "decode_photo", "decode_whole"]
