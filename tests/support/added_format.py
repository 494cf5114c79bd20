"""A format that the program does not have: QOI, whose metadata here is an XMP packet after the image."""

from PIL.QoiImagePlugin import QoiImageFile

from tagger.photos.formats import Blocks, FormatReader, opened

END = bytes(7) + b"\1"


def _image(data: bytes) -> bytes:
    image, end, _ = data.partition(END)
    return image + end


READER = FormatReader(
    lambda data, max_pixels: opened(QoiImageFile, data, max_pixels),
    image_parts=lambda data: (_image(data),),
    may_have_image=lambda data: END in data,
    exif=lambda _data: None,
    blocks=lambda data: Blocks(xmp=data.removeprefix(_image(data)) or None),
)
