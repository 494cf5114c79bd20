"""Identifies an image in any file and with any metadata."""

from blake3 import blake3

from tagger.photos.containers import read_container

DIGEST_VERSION = 1


def digest_photo(data: bytes) -> str:
    """Return the digest of a photo's image data and orientation, without other metadata.

    If the container cannot be parsed, it is a digest of the whole file, which never equals one of image data.
    """
    container = read_container(data)
    if container is None:
        return f"{DIGEST_VERSION}-{blake3(b'file').update(data).hexdigest()}"
    hasher = blake3(b"picture" + bytes([container.orientation]))
    for part in container.parts:
        hasher.update(part)
    return f"{DIGEST_VERSION}-{hasher.hexdigest()}"
