"""Broken photos are decoded or fail alone, with a stable digest. `bench.fuzz` runs the same checks for longer."""

import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig.mutations import broken, pieces_of, with_other_metadata
from rig.odd_photos import small_photos
from support.examples import examples

from bench.fuzz import (
    DECODED,
    ChildProcess,
    Options,
    Results,
    Violation,
    examine,
    examine_metadata,
    load_samples,
)

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


def test_the_same_seed_breaks_a_photo_in_the_same_way() -> None:
    for kind, data in PHOTOS.items():
        assert broken(data, [data], random.Random(kind)) == broken(data, [data], random.Random(kind))


def test_pieces_and_metadata_are_found_where_there_are_any() -> None:
    without_pieces = {kind for kind, data in PHOTOS.items() if not pieces_of(data)}
    assert without_pieces == {"gif", "gif animated", "bmp", "bmp palette", "raw raf"}
    with_metadata = {kind for kind, data in PHOTOS.items() if with_other_metadata(data, random.Random(1))}
    assert {"jpeg", "mpo", "png", "apng", "webp", "webp animated"} <= with_metadata


@cache
def _real_samples(folder: Path) -> list[bytes]:
    return [data for _, data in load_samples([folder / "hostile", folder / "exif"]) if len(data) < 300_000]


@pytest.mark.slow
def test_fuzzing_at_length_counts_every_file(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bench.fuzz",
        "--files",
        "40",
        "--processes",
        "2",
        "--keep",
        tmp_path / "kept",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| **total** | 40 |" in done.stdout
    assert not (tmp_path / "kept").exists()


def test_photo_that_ends_its_process_is_kept_and_named(tmp_path: Path) -> None:
    results = Results()
    options = Options(folders=[], files=2, seed=7, processes=1, keep=tmp_path / "kept")
    child = ChildProcess(options, tmp_path / "photo")
    try:
        assert child.read(0, results)
        before = (tmp_path / "photo").read_bytes()
        child.kill()
        assert not child.read(1, results)
    finally:
        child.kill()
    assert results.violations == [f"crash (code -9): {tmp_path / 'kept' / 'seed-7-000001'}"]
    assert (tmp_path / "kept" / "seed-7-000001").read_bytes() == before
    assert (results.files, results.outcomes["crash (code -9)"]) == (2, 1)


def test_anything_but_a_failure_of_the_photo_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(Violation, match="gone"):
        examine(tmp_path / "no such photo")
