"""Knowing a picture again, in whatever file and with whatever metadata."""

from blake3 import blake3

from tagger.photos.containers import read_container

DIGEST_VERSION = 1


def digest_photo(data: bytes) -> str:
    """Know a picture again: the digest of its image data and orientation, without other metadata.

    Where the container cannot be taken apart it is the digest of the whole file, which no picture's can equal.
    """
    container = read_container(data)
    if container is None:
        return f"{DIGEST_VERSION}-{blake3(b'file').update(data).hexdigest()}"
    hasher = blake3(b"picture" + bytes([container.orientation]))
    for part in container.parts:
        hasher.update(part)
    return f"{DIGEST_VERSION}-{hasher.hexdigest()}"
