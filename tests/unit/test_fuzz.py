"""Broken photos are decoded or fail alone, with a stable digest. `tests.rig.fuzz` runs the same checks for longer."""

import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.fuzz import DECODED, examine, examine_metadata, load_samples
from rig.mutations import broken
from rig.odd_photos import small_photos
from support.examples import examples

PHOTOS = small_photos()
seeds = st.integers(0, 2**32)
kinds = st.sampled_from(sorted(PHOTOS))
fuzzing = examples(150)


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


@examples(50)
@given(seed=seeds)
def test_broken_real_photos_are_shown_or_fail_alone(seed: int, tmp_path: Path, test_data: Path) -> None:
    rng = random.Random(seed)
    samples = _real_samples(test_data)
    path = tmp_path / "photo"
    path.write_bytes(broken(rng.choice(samples), samples, rng))
    examine(path)


@examples(38)
@given(kind=kinds, seed=seeds)
def test_metadata_leaves_the_picture_the_same(kind: str, seed: int) -> None:
    examine_metadata(PHOTOS[kind], random.Random(seed))


@cache
def _real_samples(folder: Path) -> list[bytes]:
    return [data for _, data in load_samples([folder / "hostile", folder / "exif"]) if len(data) < 300_000]


@pytest.mark.slow
def test_fuzzing_at_length_counts_every_file(tmp_path: Path) -> None:
    options = ("--files", "40", "--processes", "2", "--keep", tmp_path / "kept")
    command = [sys.executable, "-m", "tests.rig.fuzz", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| **total** | 40 |" in done.stdout
    assert not (tmp_path / "kept").exists()
