"""Photos decoded in a sandbox, as in this process; one that crashes, hangs or attacks fails alone."""

import io
import json
import os
import platform
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rig.odd_photos import small_photos
from support.decoding import local_reader

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.decoding import Resize
from tagger.photos.decoding.limits import MemoryBudget
from tagger.photos.files import PhotoBytes
from tagger.photos.source import FolderSource, PhotoSource
from tagger.pipeline import Limits, OpenPhoto, open_bytes
from tagger.pipeline.sandbox import ParentStopping, RunningChild, Sandbox

RESIZE = Resize(size=32, short_side=40)
LIMITS = Limits(readers=1, max_bytes=10**6, max_pixels=10**6, timeout_s=20)
LINUX = pytest.mark.skipif(platform.system() != "Linux", reason="the kernel of Linux confines processes")


def draw(path: Path, shade: int = 90) -> Path:
    exif = Image.Exif()
    exif[306] = "2020:01:02 03:04:05"
    Image.new("RGB", (60, 50), (shade, 10, 200)).save(path, exif=exif)
    return path


def draw_with(path: Path, word: str) -> Path:
    """A photo with a word in its bytes, where faults look for it."""
    draw(path).write_bytes(path.read_bytes() + word.encode())
    return path


def located(path: Path) -> tuple[PhotoSource, str]:
    return FolderSource(path.parent), path.name


def read(sandbox: Sandbox, path: Path) -> OpenPhoto:
    return sandbox.read(*located(path))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox without faults: its child is started once, and again after a test that kills it."""
    with Sandbox(LIMITS) as shared:
        yield shared


def in_memory(data: bytes) -> PhotoBytes:
    return PhotoBytes(data, len(data), 0)


def test_the_sandbox_reads_and_fails_as_this_process_does(sandbox, tmp_path):
    names = ["a.jpg", "b.png", "blank space ü.jpg", os.fsdecode(b"odd-\xff.jpg"), "new\nline.jpg"]
    read_locally = local_reader(LIMITS)
    for shade, name in enumerate(names):
        path = draw(tmp_path / name, shade)
        result, expected = read(sandbox, path), read_locally(*located(path))
        for fact in ("digest", "version", "facts"):
            assert getattr(result, fact) == getattr(expected, fact)
        image, expected_image = result.decode(RESIZE), expected.decode(RESIZE)
        assert np.array_equal(image.pixels, expected_image.pixels)
        assert (image.width, image.height) == (expected_image.width, expected_image.height)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "words.jpg").write_text("no picture")
    for name, kind in (("gone.jpg", FailureKind.GONE), ("empty.jpg", FailureKind.EMPTY)):
        with pytest.raises(PhotoFailed) as failed:
            read(sandbox, tmp_path / name)
        assert failed.value.failure.kind is kind
    text_file = read(sandbox, tmp_path / "words.jpg")
    with pytest.raises(PhotoFailed) as failed:
        text_file.decode(RESIZE)
    assert failed.value.failure.kind is FailureKind.NOT_AN_IMAGE


def test_photos_of_every_kind_are_decoded_without_files_threads_or_programs():
    limits = replace(LIMITS, timeout_s=60)
    with Sandbox(limits) as sandbox:
        for kind, data in small_photos().items():
            photo = sandbox.open(in_memory(data))
            expected = open_bytes(in_memory(data), limits)
            assert (photo.digest, photo.facts) == (expected.digest, expected.facts), kind
            assert np.array_equal(photo.decode(RESIZE).pixels, expected.decode(RESIZE).pixels), kind


# ---------- what a photo finds that takes over its decoder ----------


def attack(
    tmp_path: Path, inject: Callable[[str, str], None]
) -> tuple[dict[str, str], dict[str, list[object]]]:
    inject("ATTACK_ON_DECODE", "attacks")
    with Sandbox(LIMITS) as sandbox, pytest.raises(PhotoFailed) as failed:
        read(sandbox, draw_with(tmp_path / "a.jpg", "attacks")).decode(RESIZE)
    results, surroundings = json.loads(failed.value.failure.text)
    return results, surroundings


@LINUX
def test_a_photo_that_takes_over_its_decoder_is_refused_everything(tmp_path, inject, monkeypatch):
    monkeypatch.setenv("TAGGER_DATABASE_URL", "postgresql://tagger:secret@db.example/tagger")
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "a file").open("wb") as file:
        for descriptor in (listener.fileno(), file.fileno()):
            os.set_inheritable(descriptor, True)
        results, surroundings = attack(tmp_path, inject)
    assert results.pop("raise a limit") == "ValueError"
    assert set(results.values()) == {"PermissionError"}, results
    own = [
        name for name in surroundings["environment"] if not str(name).startswith(("PYTHON", "INJECT", "LC_"))
    ]
    assert set(own) <= {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "LD_LIBRARY_PATH"}
    # The pipes, and standard output and error without readers.
    assert surroundings["descriptors"] == [0, 1, 2, 3]


@LINUX
@pytest.mark.parametrize("absent", ["seccomp", "landlock"])
def test_files_and_sockets_are_refused_where_the_kernel_lacks_a_layer(tmp_path, inject, absent):
    inject("WITHOUT_LAYERS", absent)
    results, _ = attack(tmp_path, inject)
    refused = (
        "read a file", "read the program", "write a file", "open a UDP socket", "make a pipe",
        "start a program",
    )  # fmt: skip
    assert not {results[name] for name in refused} & {"succeeded", "FileNotFoundError"}, results


TRUE_FACTS: dict[str, Any] = {
    "digest": "1-" + "ab" * 32,
    "taken_at": "2020-01-02T03:04:05",
    "latitude": 1,
    "longitude": -2.5,
    "gps_error_m": 5,
    "utc_offset_s": -12600,
    "origin": "edited",
    "make": "Canon",
    "model": "Canon EOS 5D",
    "serial": None,
    "is_date_unread": False,
    "orientation": 6,
}


def test_a_child_that_lies_or_ends_by_a_signal_without_a_name_fails_its_photo(tmp_path, monkeypatch):
    monkeypatch.setattr("tagger.pipeline.sandbox.minimal_environment", lambda: {"PYTHONPATH": str(tmp_path)})
    replies = [
        ("a document of 4294967295 bytes", b"\xff\xff\xff\xff"),
        ("Expecting property name", b"\0\0\0\1{"),
        ("recursion depth", b"\0\0\xea\x60" + b"[" * 60_000),
        ("no document", b"\0\0\0\2[]"),
        ("not a valid FailureKind", b'\0\0\0\x0f{"kind": "odd"}'),
    ]
    programs = [
        (text, f"import sys; sys.stdout.buffer.write({reply!r}); sys.stdout.flush(); sys.stdin.read()")
        for text, reply in replies
    ]
    programs.append(("signal 40", "import os; os.kill(os.getpid(), 40)"))
    for number, (text, program) in enumerate(programs):
        (tmp_path / f"child{number}.py").write_text(program)
        monkeypatch.setattr("tagger.pipeline.sandbox.MODULE", f"child{number}")
        with Sandbox(LIMITS) as child, pytest.raises(PhotoFailed, match=text):
            child.open(in_memory(b"a"))


@pytest.mark.parametrize(
    "lie",
    [
        {"digest": 7},
        {"digest": "1-" + "a" * 1000},
        {"taken_at": []},
        {"taken_at": "2020-01-02T03:04:05+01:00"},
        {"latitude": float("nan")},
        {"latitude": True},
        {"longitude": None},
        {"gps_error_m": float("inf")},
        {"utc_offset_s": 10**6},
        {"origin": []},
        {"orientation": 9},
        {"make": "a" * 65},
        {"model": "two\nlines"},
        {"serial": "\ud800"},
    ],
)
def test_facts_of_a_child_are_checked(monkeypatch, lie):
    monkeypatch.setattr(RunningChild, "call", lambda *args, **kwargs: TRUE_FACTS | lie)
    with Sandbox(LIMITS) as sandbox, pytest.raises(PhotoFailed, match="sent nonsense"):
        sandbox.open(in_memory(b"a"))


@pytest.mark.parametrize(("width", "height"), [(2**63, 1), (True, True), (0, 1), (1001, 1000)])
def test_sizes_of_a_child_are_checked(monkeypatch, width, height):
    """A database refuses a number of that size, and with it all photos that are stored together."""
    replies = TRUE_FACTS | {"width": width, "height": height, "damaged": False}
    monkeypatch.setattr(RunningChild, "call", lambda *args, **kwargs: replies)
    with Sandbox(LIMITS) as sandbox:
        photo = sandbox.open(in_memory(b"a"))
        with pytest.raises(PhotoFailed, match="sent nonsense"):
            photo.decode(RESIZE)


def test_a_cut_off_photo_is_damaged_in_a_child_too():
    file = io.BytesIO()
    Image.effect_noise((200, 150), 80).convert("RGB").save(file, "JPEG")
    with Sandbox(LIMITS) as sandbox:
        decoded = [
            sandbox.open(in_memory(data)).decode(RESIZE).is_damaged
            for data in (file.getvalue(), file.getvalue()[: len(file.getvalue()) // 2])
        ]
    assert decoded == [False, True]


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "\x1b[2J", "two\nlines"])
def test_the_text_of_a_failure_is_one_that_every_database_stores(text):
    stored = PhotoFailed(FailureKind.CORRUPT, f"damaged: {text}").failure.text
    assert stored == f"damaged: {ascii(text)[1:-1]}"
    assert stored.isprintable()


@pytest.mark.parametrize(
    ("fault", "timeout_s", "text", "kind"),
    [
        ("BUSY", 2, "Decoding it took longer than 2 s", FailureKind.TIMED_OUT),
        ("GROW", 20, "more memory", FailureKind.CRASHED),
        ("KILL", 20, "SIGKILL", FailureKind.CRASHED),
        ("FAULT", 20, "SIGSEGV", FailureKind.CRASHED),
    ],
)
def test_a_photo_that_takes_all_or_ends_two_children_fails_alone(
    tmp_path, inject, fault, timeout_s, text, kind
):
    inject(f"{fault}_ON_DECODE", "poison")
    fine, poison = draw(tmp_path / "fine.jpg"), draw_with(tmp_path / "a.jpg", "poison")
    with Sandbox(replace(LIMITS, timeout_s=timeout_s)) as child:
        with pytest.raises(PhotoFailed, match=text) as failed:
            read(child, poison).decode(RESIZE)
        assert failed.value.failure.kind is kind
        assert read(child, fine).decode(RESIZE).width == 60


# ---------- children that come and go ----------


def test_a_large_image_reserves_memory_in_the_parent(tmp_path, monkeypatch):
    reserved: list[int] = []

    class Budget(MemoryBudget):
        @contextmanager
        def reserve(self, needed_bytes: int) -> Iterator[None]:
            reserved.append(needed_bytes)
            yield

    monkeypatch.setattr("tagger.pipeline.sandbox.MEMORY_BUDGET", Budget(1))
    Image.new("1", (10_000, 7_000)).save(tmp_path / "large.png")
    with Sandbox(replace(LIMITS, max_pixels=10**8, timeout_s=60)) as sandbox:
        read(sandbox, draw(tmp_path / "small.jpg")).decode(RESIZE)
        assert reserved == []
        read(sandbox, tmp_path / "large.png").decode(RESIZE)
    assert len(reserved) == 1
    assert reserved[0] >= 70_000_000


def test_a_child_that_ended_or_was_killed_is_restarted_and_ignores_its_workers_signals(sandbox, tmp_path):
    path = draw(tmp_path / "a.jpg")
    photo = read(sandbox, path)
    running = sandbox._children[0]._process
    kill(sandbox, signal.SIGALRM)  # as after some minutes without a photo
    running._process.wait(60)
    assert running.is_retired
    assert photo.decode(RESIZE).width == 60
    assert sandbox._children[0]._process is not running
    kill(sandbox, signal.SIGKILL)
    assert np.array_equal(
        photo.decode(RESIZE).pixels, local_reader(LIMITS)(*located(path)).decode(RESIZE).pixels
    )
    kill(sandbox, signal.SIGSEGV)
    assert read(sandbox, path).digest == photo.digest
    read(sandbox, path)
    before = sandbox._children[0]._process
    for number in (signal.SIGTERM, signal.SIGINT):
        kill(sandbox, number)
        read(sandbox, path).decode(RESIZE)
    assert sandbox._children[0]._process is before


def test_several_children_decode_at_once_and_a_late_photo_starts_none(tmp_path):
    paths = [draw(tmp_path / f"{shade}.jpg", shade) for shade in range(3)]
    with Sandbox(LIMITS, count=2) as sandbox:
        first, second = read(sandbox, paths[0]), read(sandbox, paths[1])
        assert [child.is_started for child in sandbox._children] == [True, True]
        third = read(sandbox, paths[2])  # takes the place of one that is not decoded yet
        images = [photo.decode(RESIZE) for photo in (first, second, third)]
    for path, image in zip(paths, images, strict=True):
        assert np.array_equal(image.pixels, local_reader(LIMITS)(*located(path)).decode(RESIZE).pixels)
    with Sandbox(LIMITS) as sandbox:
        with pytest.raises(PhotoFailed, match="too many photos") as failed:
            sandbox.open(in_memory(b"a"), ends_at=time.monotonic())
        assert failed.value.failure.kind is FailureKind.TIMED_OUT
        assert not sandbox._children[0].is_started


def test_a_wait_for_a_child_ends_when_the_parent_has_to_stop(tmp_path):
    must_stop = threading.Event()
    with Sandbox(LIMITS, must_stop=must_stop.is_set) as child:
        read(child, draw(tmp_path / "a.jpg"))
        kill(child, signal.SIGSTOP)
        must_stop.set()
        with pytest.raises(ParentStopping):
            read(child, tmp_path / "a.jpg")


def kill(child: Sandbox, signal_number: signal.Signals) -> None:
    os.kill(child._children[0]._process._process.pid, signal_number)


def test_a_hanging_child_is_killed_and_fails_one_photo(tmp_path):
    path = draw(tmp_path / "a.jpg")
    with Sandbox(replace(LIMITS, timeout_s=3)) as child:
        digest = read(child, path).digest
        kill(child, signal.SIGSTOP)
        with pytest.raises(PhotoFailed, match="longer than 3 s") as failed:
            read(child, path)
        assert failed.value.failure.kind is FailureKind.TIMED_OUT
        assert read(child, path).digest == digest
