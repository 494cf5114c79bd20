"""The shipped model, and real photos for it."""

from pathlib import Path

import numpy as np
import torch

import tagger
from tagger.model.artifact import file_digest, load_module, read_manifest
from tagger.model.backends.protocol import Images
from tagger.photos.decoding import decode_photo

ARTIFACT = Path(tagger.__file__).parent / "shipped" / "landmarks.pt"


def shipped_module() -> torch.jit.ScriptModule:
    return load_module(ARTIFACT, file_digest(ARTIFACT))


def shipped_size() -> int:
    return read_manifest(ARTIFACT).input.size


def decoded_photos(test_data: Path, count: int) -> Images:
    """`count` of the test photos, evenly from all landmarks, decoded for the model: uint8 (B, H, W, 3)."""
    photos = sorted((test_data / "landmarks" / "test").rglob("*.jpg"))
    resize = read_manifest(ARTIFACT).input.resize
    chosen = photos[:: len(photos) // count][:count]
    assert len(chosen) == count
    return np.stack([decode_photo(photo.read_bytes(), resize, max_pixels=10**8).pixels for photo in chosen])
