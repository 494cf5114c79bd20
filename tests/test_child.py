"""Photos read in a child process: the same as here, and a child that dies or hangs costs one photo at most."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagger.child import ChildReader
from tagger.errors import FailureKind, PhotoFailed
from tagger.images import Resize
from tagger.reading import Limits, reader_here

RESIZE = Resize(size=32, short_side=40)
LIMITS = Limits(readers=1, max_bytes=10**6, max_pixels=10**6, timeout_s=20)


def draw(path: Path, shade: int = 90) -> Path:
    exif = Image.Exif()
    exif[306] = "2020:01:02 03:04:05"
    Image.new("RGB", (60, 50), (shade, 10, 200)).save(path, exif=exif)
    return path


def test_a_child_reads_as_this_process_does(tmp_path: Path) -> None:
    names = ["a.jpg", "b.png", "blank space ü.jpg", os.fsdecode(b"odd-\xff.jpg"), "new\nline.jpg"]
    here = reader_here(RESIZE, LIMITS)
    with ChildReader(RESIZE, LIMITS) as child:
        for shade, name in enumerate(names):
            path = draw(tmp_path / name, shade)
            there, expected = child.open(path), here(path)
            assert (there.digest, there.file, there.facts) == (expected.digest, expected.file, expected.facts)
            image, own = there.decode(), expected.decode()
            assert np.array_equal(image.pixels, own.pixels)
            assert (image.width, image.height) == (own.width, own.height)


def test_a_photo_fails_in_a_child_as_it_does_here(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "words.jpg").write_text("no picture")
    with ChildReader(RESIZE, LIMITS) as child:
        for name, kind in (("gone.jpg", FailureKind.GONE), ("empty.jpg", FailureKind.EMPTY)):
            with pytest.raises(PhotoFailed) as failed:
                child.open(tmp_path / name)
            assert failed.value.failure.kind is kind
        words = child.open(tmp_path / "words.jpg")
        with pytest.raises(PhotoFailed) as failed:
            words.decode()
        assert failed.value.failure.kind is FailureKind.NOT_AN_IMAGE


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_was_killed_by_others_costs_nothing(tmp_path: Path, how: signal.Signals) -> None:
    path = draw(tmp_path / "a.jpg")
    with ChildReader(RESIZE, LIMITS) as child:
        photo = child.open(path)
        kill(child, how)
        assert np.array_equal(photo.decode().pixels, reader_here(RESIZE, LIMITS)(path).decode().pixels)
        kill(child, how)
        assert child.open(path).digest == photo.digest


def test_a_photo_that_kills_two_children_has_crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "faults" / "injected"))
    monkeypatch.setenv("INJECT_KILL_ON_OPEN", "kills")
    fine, killer = draw(tmp_path / "fine.jpg"), draw(tmp_path / "kills.jpg")
    with ChildReader(RESIZE, LIMITS) as child:
        for _ in range(2):
            with pytest.raises(PhotoFailed, match="SIGKILL") as failed:
                child.open(killer)
            assert failed.value.failure.kind is FailureKind.CRASHED
            assert child.open(fine).decode().width == 60


def test_a_child_is_not_ended_by_what_stops_its_worker(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.jpg")
    with ChildReader(RESIZE, LIMITS) as child:
        child.open(path)
        before = child._child
        for asked in (signal.SIGTERM, signal.SIGINT):
            kill(child, asked)
            child.open(path).decode()
        assert child._child is before


def kill(child: ChildReader, how: signal.Signals) -> None:
    assert child._child is not None
    os.kill(child._child._process.pid, how)


def test_a_child_that_hangs_is_ended_and_costs_one_photo(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.jpg")
    with ChildReader(RESIZE, Limits(1, 10**6, 10**6, timeout_s=3)) as child:
        digest = child.open(path).digest
        kill(child, signal.SIGSTOP)
        with pytest.raises(PhotoFailed, match="longer than 3 s") as failed:
            child.open(path)
        assert failed.value.failure.kind is FailureKind.TIMED_OUT
        assert child.open(path).digest == digest
