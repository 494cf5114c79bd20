"""Broken photos are decoded or fail alone, with a stable digest."""

import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.mutations import broken, with_other_metadata
from rig.odd_photos import small_photos
from support.examples import examples

from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.camera import camera_facts, short_text
from tagger.photos.containers import digest_photo
from tagger.photos.decoding import Pixels, Resize, decode_photo
from tagger.photos.files import read_photo

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
MAX_TEXT = 400
RESIZE = Resize(short_side=256, size=224)
DECODED = "decoded"

PHOTOS = small_photos()
seeds = st.integers(0, 2**32)
kinds = st.sampled_from(sorted(PHOTOS))
fuzzing = examples(75)


@pytest.mark.parametrize("kind", sorted(PHOTOS))
def test_unbroken_photos_are_shown(kind: str, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(PHOTOS[kind])
    assert examine(tmp_path / "photo") == DECODED


@fuzzing
@given(kind=kinds, seed=seeds)
def test_broken_photos_are_shown_or_fail_alone(kind: str, seed: int, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(broken(PHOTOS[kind], list(PHOTOS.values()), random.Random(seed)))
    examine(path)


@examples(25)
@given(seed=seeds)
def test_broken_real_photos_are_shown_or_fail_alone(seed: int, tmp_path: Path, test_data: Path) -> None:
    rng = random.Random(seed)
    samples = _real_samples(test_data)
    path = tmp_path / "photo"
    path.write_bytes(broken(rng.choice(samples), samples, rng))
    examine(path)


@examples(19)
@given(kind=kinds, seed=seeds)
def test_metadata_leaves_the_picture_the_same(kind: str, seed: int) -> None:
    examine_metadata(PHOTOS[kind], random.Random(seed))


@cache
def _real_samples(folder: Path) -> list[bytes]:
    """About as many drawn photos as small real ones."""
    files = [path for name in ("hostile", "exif") for path in sorted((folder / name).rglob("*"))]
    real = [path.read_bytes() for path in files if path.is_file() and 0 < path.stat().st_size < 300_000]
    return [*PHOTOS.values()] * max(1, len(real) // len(PHOTOS)) + real


class Violation(Exception):
    """Reading a photo had an effect that no photo may have."""


def examine(path: Path) -> str:
    """Read a file completely; return `decoded` or the kind of its failure.

    Raises:
        Violation: the digest is not stable, a failure is not the photo's, or a text is not readable.
    """
    try:
        data = read_photo(path, max_bytes=MAX_BYTES).data
        if digest_photo(data) != digest_photo(bytes(bytearray(data))):
            raise Violation("two digests of the same bytes differ")
        facts = camera_facts(data)
        if abs(facts.latitude or 0) > 90 or abs(facts.longitude or 0) > 180:
            raise Violation(f"an impossible position: {facts}")
        if any(
            text is not None and text != short_text(text) for text in (facts.make, facts.model, facts.serial)
        ):
            raise Violation(f"an unprintable camera: {facts}")
        image = decode_photo(data, RESIZE, max_pixels=MAX_PIXELS)
    except PhotoFailed as failed:
        kind, text = failed.failure.kind, failed.failure.text
        if kind in (FailureKind.INTERNAL, FailureKind.GONE, FailureKind.UNREADABLE):
            raise Violation(f"{kind}: {text}") from failed
        if not text.isprintable() or not text.endswith(".") or len(text) > MAX_TEXT:
            raise Violation(f"an unreadable text: {text!r}") from failed
        return str(kind)
    if image.pixels.shape != (RESIZE.size, RESIZE.size, 3) or min(image.width, image.height) < 1:
        raise Violation(f"pixels of shape {image.pixels.shape} for {image.width} x {image.height}")
    return DECODED


def examine_metadata(data: bytes, rng: random.Random) -> None:
    """Check that other metadata changes neither the digest nor the pixels.

    Raises:
        Violation: it changes one of them.
    """
    changed = with_other_metadata(data, rng)
    try:
        pixels = _pixels(data)
    except PhotoFailed:
        return
    if changed is None:
        return
    if digest_photo(changed) != digest_photo(data):
        raise Violation("metadata changed the digest")
    if not np.array_equal(_pixels(changed), pixels):
        raise Violation("metadata changed the pixels")


def _pixels(data: bytes) -> Pixels:
    return decode_photo(data, RESIZE, max_pixels=MAX_PIXELS).pixels
