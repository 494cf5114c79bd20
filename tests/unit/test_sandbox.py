"""Photos read in a sandbox: the same results as in this process; a crash or hang fails at most one photo."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagger.errors import FailureKind, PhotoFailed
from tagger.images import Resize
from tagger.photos.source import FolderSource, PhotoSource
from tagger.pipeline.child_process import ChildKilled, ParentStopping
from tagger.pipeline.requests import Limits, local_reader
from tagger.pipeline.sandbox import SandboxReader

RESIZE = Resize(size=32, short_side=40)
LIMITS = Limits(readers=1, max_bytes=10**6, max_pixels=10**6, timeout_s=20)


def draw(path: Path, shade: int = 90) -> Path:
    exif = Image.Exif()
    exif[306] = "2020:01:02 03:04:05"
    Image.new("RGB", (60, 50), (shade, 10, 200)).save(path, exif=exif)
    return path


def located(path: Path) -> tuple[PhotoSource, str]:
    return FolderSource(path.parent), path.name


def test_the_sandbox_reads_as_this_process_does(tmp_path: Path) -> None:
    names = ["a.jpg", "b.png", "blank space ü.jpg", os.fsdecode(b"odd-\xff.jpg"), "new\nline.jpg"]
    read_locally = local_reader(RESIZE, LIMITS)
    with SandboxReader(RESIZE, LIMITS) as child:
        for shade, name in enumerate(names):
            path = draw(tmp_path / name, shade)
            result, expected = child.open(*located(path)), read_locally(*located(path))
            assert (result.digest, result.version, result.facts) == (
                expected.digest,
                expected.version,
                expected.facts,
            )
            image, expected_image = result.decode(), expected.decode()
            assert np.array_equal(image.pixels, expected_image.pixels)
            assert (image.width, image.height) == (expected_image.width, expected_image.height)


def test_threads_that_read_at_the_same_time_get_their_own_photos(tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{shade}.jpg", shade) for shade in range(8)]
    read_locally = local_reader(RESIZE, LIMITS)
    with SandboxReader(RESIZE, LIMITS) as child, ThreadPoolExecutor(4) as pool:
        photos = list(pool.map(lambda path: child.open(*located(path)), paths))
        images = list(pool.map(lambda photo: photo.decode(), photos))
    for path, photo, image in zip(paths, photos, images, strict=True):
        expected = read_locally(*located(path))
        assert photo.digest == expected.digest
        assert np.array_equal(image.pixels, expected.decode().pixels)


def test_a_photo_fails_in_the_sandbox_as_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "words.jpg").write_text("no picture")
    with SandboxReader(RESIZE, LIMITS) as child:
        for name, kind in (("gone.jpg", FailureKind.GONE), ("empty.jpg", FailureKind.EMPTY)):
            with pytest.raises(PhotoFailed) as failed:
                child.open(*located(tmp_path / name))
            assert failed.value.failure.kind is kind
        text_file = child.open(*located(tmp_path / "words.jpg"))
        with pytest.raises(PhotoFailed) as failed:
            text_file.decode()
        assert failed.value.failure.kind is FailureKind.NOT_AN_IMAGE


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_child_is_restarted(tmp_path: Path, signal_number: signal.Signals) -> None:
    path = draw(tmp_path / "a.jpg")
    with SandboxReader(RESIZE, LIMITS) as child:
        photo = child.open(*located(path))
        kill(child, signal_number)
        assert np.array_equal(
            photo.decode().pixels, local_reader(RESIZE, LIMITS)(*located(path)).decode().pixels
        )
        kill(child, signal_number)
        assert child.open(*located(path)).digest == photo.digest


@pytest.mark.parametrize(
    ("fault", "signal_name", "is_proof"), [("KILL", "SIGKILL", False), ("FAULT", "SIGSEGV", True)]
)
def test_a_photo_that_ends_two_children_fails_as_crashed(
    tmp_path: Path, inject: Callable[[str, str], None], fault: str, signal_name: str, is_proof: bool
) -> None:
    inject(f"{fault}_ON_OPEN", "ends")
    fine, poison = draw(tmp_path / "fine.jpg"), draw(tmp_path / "ends.jpg")
    with SandboxReader(RESIZE, LIMITS) as child:
        for _ in range(2):
            with pytest.raises(PhotoFailed, match=signal_name) as failed:
                child.open(*located(poison))
            assert failed.value.failure.kind is FailureKind.CRASHED
            assert isinstance(failed.value, ChildKilled) is not is_proof
            assert child.open(*located(fine)).decode().width == 60


def test_a_photo_that_needs_more_memory_than_the_child_may_take_fails_as_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagger.pipeline.sandbox.memory_beside_this_process", lambda: 150 * 2**20)
    Image.new("1", (20_000, 12_000)).save(tmp_path / "large.png")
    fine = draw(tmp_path / "fine.jpg")
    with SandboxReader(RESIZE, replace(LIMITS, max_bytes=10**8, max_pixels=250 * 10**6)) as child:
        with pytest.raises(PhotoFailed, match="more memory") as failed:
            child.open(*located(tmp_path / "large.png")).decode()
        assert failed.value.failure.kind is FailureKind.CRASHED
        assert type(failed.value) is PhotoFailed
        assert child.open(*located(fine)).decode().width == 60


def test_a_child_without_a_photo_survives_unless_something_kills_it(tmp_path: Path) -> None:
    with SandboxReader(RESIZE, LIMITS) as child:
        assert child.survives(0.1)
        child.open(*located(draw(tmp_path / "a.jpg")))
        kill(child, signal.SIGKILL)
        assert not child.survives(5.0)


def test_a_wait_for_a_child_ends_when_the_parent_has_to_stop(tmp_path: Path) -> None:
    must_stop = threading.Event()
    with SandboxReader(RESIZE, LIMITS, must_stop.is_set) as child:
        child.open(*located(draw(tmp_path / "a.jpg")))
        kill(child, signal.SIGSTOP)
        must_stop.set()
        with pytest.raises(ParentStopping):
            child.open(*located(tmp_path / "a.jpg"))


def test_the_child_ignores_the_signals_that_stop_its_worker(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.jpg")
    with SandboxReader(RESIZE, LIMITS) as child:
        child.open(*located(path))
        before = child._child._process
        for number in (signal.SIGTERM, signal.SIGINT):
            kill(child, number)
            child.open(*located(path)).decode()
        assert child._child._process is before


def kill(child: SandboxReader, signal_number: signal.Signals) -> None:
    assert child._child._process is not None
    os.kill(child._child._process._process.pid, signal_number)


def test_a_hanging_child_is_killed_and_fails_one_photo(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.jpg")
    with SandboxReader(RESIZE, Limits(1, 10**6, 10**6, timeout_s=3)) as child:
        digest = child.open(*located(path)).digest
        kill(child, signal.SIGSTOP)
        with pytest.raises(PhotoFailed, match="longer than 3 s") as failed:
            child.open(*located(path))
        assert failed.value.failure.kind is FailureKind.TIMED_OUT
        assert child.open(*located(path)).digest == digest
