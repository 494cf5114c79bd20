"""The pipeline with real files and fake models: bounds, batches, failures, closing."""

import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.threads import in_threads

from tagger.errors import FailureKind, PhotoFailed, ReadsTimedOut
from tagger.images import DecodedImage, Resize
from tagger.inference.backends.protocol import Decoder
from tagger.inference.model import Model
from tagger.metadata.camera import CameraFacts
from tagger.photos.files import PhotoVersion
from tagger.photos.source import FolderSource, PhotoSource
from tagger.pipeline import buffers
from tagger.pipeline.pipeline import Pipeline
from tagger.pipeline.reader_pool import MOST_HUNG
from tagger.pipeline.requests import (
    Limits,
    OpenPhoto,
    Reader,
    Request,
    RequestResult,
    ResultSink,
    local_reader,
)
from tagger.pipeline.results import AlreadyClassified, Classified, Failed, Unchanged

WAIT_S = 20.0
"""A timeout that only a hang reaches."""


class BrightModel:
    """A model whose scores are the image's mean red and the remainder to 1. A test can block it with `gate`."""

    batch_size = 4
    at_once = 1
    decoder: Decoder | None = None

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.memory_freed = threading.Event()
        self.batches: list[int] = []
        self.trouble: Exception | None = None
        self.manifest = _Manifest()

    predict = Model.predict

    def free_memory(self) -> None:
        self.memory_freed.set()

    def scores(self, images: Sequence[np.ndarray]) -> np.ndarray:
        assert self.gate.wait(WAIT_S)
        self.batches.append(len(images))
        if self.trouble:
            raise self.trouble
        red = [float(image[..., 0].mean()) / 255 for image in images]
        return np.array([[value, 1 - value] for value in red], dtype=np.float32)


class _Input:
    resize = Resize(size=32, short_side=32)


class _Manifest:
    labels = ("red", "not red")
    input = _Input()


@dataclass(eq=False)
class Box:
    """A sink that collects results."""

    known: set[str] = field(default_factory=set)
    top_k: int = 2
    threshold: float = 0.5
    received: "queue.SimpleQueue[Sequence[RequestResult] | Exception]" = field(
        default_factory=queue.SimpleQueue
    )

    def is_classified(self, digest: str) -> bool:
        return digest in self.known

    def deliver(self, answers: Sequence[RequestResult]) -> None:
        self.received.put(answers)

    def fail(self, error: Exception) -> None:
        self.received.put(error)

    def take(self, count: int) -> dict[Request, object]:
        answers: dict[Request, object] = {}
        while len(answers) < count:
            told = self.received.get(timeout=WAIT_S)
            assert not isinstance(told, Exception), told
            answers.update(told)
        assert len(answers) == count
        return answers


@pytest.fixture
def model() -> BrightModel:
    return BrightModel()


@pytest.fixture
def pipeline(model: BrightModel) -> Iterator[Pipeline]:
    made = Pipeline(model, Limits(readers=2, max_bytes=10**7, max_pixels=10**7))  # type: ignore[arg-type]
    yield made
    model.gate.set()
    made.close()


def file_request(path: Path, sink: ResultSink, classified: PhotoVersion | None = None) -> Request:
    """A request for a file."""
    return Request(FolderSource(path.parent), path.name, sink, classified)


def file_of(request: Request) -> Path:
    return Path(request.source.location) / request.path


def draw(path: Path, red: int, width: int = 40) -> Path:
    Image.new("RGB", (width, 40), (red, 0, 0)).save(path)
    return path


def drawn(folder: Path, count: int) -> list[Path]:
    return [draw(folder / f"{number:03}.png", number % 256, 40 + number // 256) for number in range(count)]


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that other threads bring about."""
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("the condition never held")


def test_every_photo_gets_its_own_result(pipeline: Pipeline, tmp_path: Path) -> None:
    paths = drawn(tmp_path, 50)
    order = list(range(50))
    random.Random(1).shuffle(order)
    box = Box()
    red_of = {}
    for number in order:
        request = file_request(paths[number], box)
        red_of[request] = number
        pipeline.submit(request)
    for request, result in box.take(50).items():
        assert isinstance(result, Classified)
        red = next(p for p in result.predictions if p.position == 0)
        assert red.score == pytest.approx(red_of[request] / 255, abs=0.01)
        assert (result.width, result.height) == (40, 40)
        assert result.version == PhotoVersion(
            file_of(request).stat().st_size, file_of(request).stat().st_mtime_ns
        )


def test_every_stage_is_bounded(pipeline: Pipeline, model: BrightModel, tmp_path: Path) -> None:
    paths = drawn(tmp_path, 120)
    box, submitted = Box(), []
    model.gate.clear()

    def submit_all() -> None:
        for path in paths:
            pipeline.submit(file_request(path, box))
            submitted.append(path)

    feeder = threading.Thread(target=submit_all)
    feeder.start()
    until(lambda: len(pipeline._buffers.photos) >= 2 * model.batch_size and not pipeline._buffers.reads)
    until(lambda: len(pipeline._buffers.requests) == 2 * model.batch_size)
    buffers = len(submitted)
    # Waiting, readied, one batch in the model's hands, and what readers may hold.
    assert buffers <= 2 * model.batch_size + (2 * model.batch_size + 2) + model.batch_size + 1
    assert len(pipeline._buffers.photos) <= 2 * model.batch_size + 2
    model.gate.set()
    feeder.join(WAIT_S)
    box.take(120)
    assert max(model.batches) == model.batch_size


def test_an_incomplete_batch_is_classified_when_no_more_photos_come(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    box = Box()
    for path in drawn(tmp_path, 2):
        pipeline.submit(file_request(path, box))
    box.take(2)
    assert sum(model.batches) == 2


def test_chunks_share_batches(pipeline: Pipeline, model: BrightModel, tmp_path: Path) -> None:
    boxes = [Box(top_k=1), Box(top_k=2), Box(threshold=0.01), Box()]
    model.gate.clear()
    paths = drawn(tmp_path, 9)
    pipeline.submit(file_request(paths[8], boxes[0]))
    until(lambda: len(pipeline._buffers.photos) == 0 and pipeline._buffers.waiters)
    for path, box in zip(paths[:8], boxes * 2, strict=True):
        pipeline.submit(file_request(path, box))
    until(lambda: len(pipeline._buffers.photos) == 8)
    model.gate.set()
    for box, count in zip(boxes, (3, 2, 2, 2), strict=True):
        for result in box.take(count).values():
            assert isinstance(result, Classified)
            assert len(result.predictions) == box.top_k
    assert len(model.batches) <= 4


def test_a_photo_that_fails_fails_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    good = drawn(tmp_path, 6)
    (tmp_path / "bad.png").write_bytes(good[0].read_bytes()[:60])
    (tmp_path / "empty.png").touch()
    bad = {
        tmp_path / "bad.png": FailureKind.TRUNCATED,
        tmp_path / "empty.png": FailureKind.EMPTY,
        tmp_path / "gone.png": FailureKind.GONE,
        tmp_path: FailureKind.UNREADABLE,
    }
    box = Box()
    for path in [*bad, *good]:
        pipeline.submit(file_request(path, box))
    kinds = {file_of(request): result for request, result in box.take(10).items()}
    assert all(isinstance(kinds[path], Classified) for path in good)
    for path, kind in bad.items():
        result = kinds[path]
        assert isinstance(result, Failed)
        assert result.failure.kind in {kind, FailureKind.CORRUPT, FailureKind.NOT_AN_IMAGE}
        assert (result.digest is not None) == (path.name == "bad.png")


def test_an_error_in_this_program_fails_the_photo_and_not_its_reader(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    class Foolish(Box):
        def is_classified(self, digest: str) -> bool:
            raise ZeroDivisionError("a mistake")

    box, foolish = Box(), Foolish()
    for path in drawn(tmp_path, 4):
        pipeline.submit(file_request(path, foolish))
        pipeline.submit(file_request(path, box))
    results = foolish.take(4).values()
    assert {result.failure.kind for result in results if isinstance(result, Failed)} == {FailureKind.INTERNAL}
    box.take(4)


def test_copies_are_decoded_once_and_fail_together(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    model.gate.clear()
    path = draw(tmp_path / "a.png", 200)
    copies = [tmp_path / f"copy-{number}.png" for number in range(5)]
    for copy in copies:
        copy.write_bytes(path.read_bytes())
    one, two = Box(), Box()
    for number, copy in enumerate(copies):
        pipeline.submit(file_request(copy, (one, two)[number % 2]))
    until(lambda: sum(len(waiters) for waiters in pipeline._buffers.waiters.values()) == 5)
    model.gate.set()
    results = [*one.take(3).values(), *two.take(2).values()]
    assert len({result.digest for result in results if isinstance(result, Classified)}) == 1
    assert model.batches == [1]
    assert pipeline._buffers.waiters == {}


def test_classified_and_unchanged_photos_skip_the_model(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    path = draw(tmp_path / "a.png", 200)
    box = Box()
    pipeline.submit(file_request(path, box))
    (looked,) = box.take(1).values()
    assert isinstance(looked, Classified)
    box.known.add(looked.digest)
    pipeline.submit(file_request(path, box))
    pipeline.submit(file_request(path, box, looked.version))
    pipeline.submit(file_request(path, box, PhotoVersion(looked.version.size_bytes, 1)))
    kinds = sorted(type(result).__name__ for result in box.take(3).values())
    assert kinds == [AlreadyClassified.__name__, AlreadyClassified.__name__, Unchanged.__name__]
    assert model.batches == [1]


def test_a_failing_model_fails_the_sinks_of_its_batch_only(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    box, later = Box(), Box()
    model.trouble = RuntimeError("no memory")
    pipeline.submit(file_request(draw(tmp_path / "a.png", 1), box))
    told = box.received.get(timeout=WAIT_S)
    assert told is model.trouble
    model.trouble = None
    pipeline.submit(file_request(draw(tmp_path / "a.png", 1), later))
    later.take(1)
    assert pipeline._buffers.waiters == {}


@pytest.mark.parametrize("shape", [(0, 2), (1, 3), (2,)])
def test_scores_of_the_wrong_shape_fail_the_batch_but_not_the_thread(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple
) -> None:
    box = Box()
    with monkeypatch.context() as patch:
        patch.setattr(model, "scores", lambda _images: np.zeros(shape, dtype=np.float32))
        pipeline.submit(file_request(draw(tmp_path / "a.png", 1), box))
        assert isinstance(box.received.get(timeout=WAIT_S), ValueError)
    pipeline.submit(file_request(draw(tmp_path / "b.png", 2), box))
    box.take(1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_fail_their_photo_alone(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    real = model.scores

    def some_bad(images: Sequence[np.ndarray]) -> np.ndarray:
        scores = real(images)
        scores[scores[:, 0] > 0.7] = value
        return scores

    monkeypatch.setattr(model, "scores", some_bad)
    box = Box()
    requests = [file_request(draw(tmp_path / f"{red}.png", red), box) for red in (10, 250, 100)]
    for request in requests:
        pipeline.submit(request)
    answers = box.take(3)
    assert [type(answers[request]) for request in requests] == [Classified, Failed, Classified]


def test_requests_can_be_withdrawn_before_they_are_read(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    model.gate.clear()
    mine, other = Box(), Box()
    paths = drawn(tmp_path, 22)
    for path in paths[:14]:
        pipeline.submit(file_request(path, other))
    until(lambda: not pipeline._buffers.reads and not pipeline._buffers.has_room())
    waiting = [file_request(path, mine) for path in paths[14:16]]
    for request in waiting:
        pipeline.submit(request)
    assert pipeline.withdraw(mine) == waiting
    assert pipeline.withdraw(mine) == []
    model.gate.set()
    other.take(14)
    assert mine.received.empty()


def test_closing_ends_the_threads_and_fails_waiting_sinks(model: BrightModel, tmp_path: Path) -> None:
    before = threading.active_count()
    pipeline = Pipeline(model, Limits(readers=3, max_bytes=10**7, max_pixels=10**7))  # type: ignore[arg-type]
    model.gate.clear()
    box = Box()
    paths = drawn(tmp_path, 60)
    refused = []

    def feed() -> None:
        try:
            for path in paths:
                pipeline.submit(file_request(path, box))
        except RuntimeError as error:
            refused.append(error)

    feeder = threading.Thread(target=feed)
    feeder.start()
    until(lambda: len(pipeline._buffers.requests) == 2 * model.batch_size)
    closer = threading.Thread(target=pipeline.close)
    closer.start()
    until(lambda: pipeline._buffers.closed)
    model.gate.set()
    closer.join(WAIT_S)
    feeder.join(WAIT_S)
    assert refused
    assert threading.active_count() == before
    told = []
    while not box.received.empty():
        told.append(box.received.get())
    assert any(isinstance(each, RuntimeError) for each in told)
    with pytest.raises(RuntimeError, match="closed"):
        pipeline.submit(file_request(paths[0], box))


def test_concurrent_sinks_get_all_their_results(pipeline: Pipeline, tmp_path: Path) -> None:
    paths = drawn(tmp_path, 40)
    boxes = [Box() for _ in range(6)]

    def feed(box: Box, seed: int) -> None:
        mine = paths[:]
        random.Random(seed).shuffle(mine)
        for path in mine:
            pipeline.submit(file_request(path, box))

    threads = [threading.Thread(target=feed, args=(box, seed)) for seed, box in enumerate(boxes)]
    for thread in threads:
        thread.start()
    for box in boxes:
        box.take(40)
    for thread in threads:
        thread.join(WAIT_S)
    assert pipeline._buffers.waiters == {}


def test_a_photo_the_model_fails_on_fails_alone(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = model.scores

    def picky(images: Sequence[np.ndarray]) -> np.ndarray:
        if any(image[..., 0].mean() > 200 for image in images):
            raise RuntimeError("stack\nit cannot stand red")
        return real(images)

    monkeypatch.setattr(model, "scores", picky)
    box = Box()
    requests = {red: file_request(draw(tmp_path / f"{red}.png", red), box) for red in (10, 250, 100, 50)}
    for request in requests.values():
        pipeline.submit(request)
    answers = box.take(4)
    failed = answers.pop(requests[250])
    assert isinstance(failed, Failed)
    assert (failed.failure.kind, failed.failure.text) == (
        FailureKind.INTERNAL,
        "the model fails on this photo: it cannot stand red",
    )
    assert all(isinstance(answer, Classified) for answer in answers.values())


class Hanging:
    """A reader that blocks on photos named `hangs…` until the test sets `gate`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.came_back = 0

    def open(self, source: PhotoSource, path: str) -> OpenPhoto:
        if path.startswith("hangs"):
            assert self.gate.wait(WAIT_S)
            self.came_back += 1
        return local_reader(_Input.resize, Limits(1, 10**7, 10**7))(source, path)


@pytest.fixture
def impatient(model: BrightModel) -> Iterator[Pipeline]:
    limits = Limits(readers=2, max_bytes=10**7, max_pixels=10**7, timeout_s=0.3)
    made = Pipeline(model, limits)  # type: ignore[arg-type]
    yield made
    made.close()


def test_hanging_reads_are_abandoned_and_others_continue(impatient: Pipeline, tmp_path: Path) -> None:
    hanging, box = Hanging(), Box()
    impatient._readers._reader = hanging.open
    stuck = [file_request(draw(tmp_path / f"hangs{n}.png", n), box) for n in range(4)]
    fine = [file_request(path, box) for path in drawn(tmp_path, 20)]
    for request in [*stuck, *fine]:
        impatient.submit(request)
    answers = box.take(24)
    for request in stuck:
        failed = answers[request]
        assert isinstance(failed, Failed)
        assert failed.failure.kind is FailureKind.TIMED_OUT
        assert "0.3 s" in failed.failure.text
    assert all(isinstance(answers[request], Classified) for request in fine)
    hanging.gate.set()
    until(lambda: hanging.came_back == 4 and impatient._readers._hung == 0)
    late = file_request(draw(tmp_path / "late.png", 77), box)
    impatient.submit(late)
    assert set(box.take(1)) == {late}  # and nothing of those that came back
    assert len(impatient._readers._threads) == 2 + 1


def test_copies_that_wait_for_a_hanging_decode_fail_with_it(impatient: Pipeline, tmp_path: Path) -> None:
    gate, box = threading.Event(), Box()
    path = draw(tmp_path / "a.png", 7)

    def open_slowly(source: PhotoSource, path: str) -> OpenPhoto:
        photo = local_reader(_Input.resize, Limits(1, 10**7, 10**7))(source, path)

        def decode() -> DecodedImage:
            assert gate.wait(WAIT_S)
            return photo.decode()

        return replace(photo, decode=decode)

    impatient._readers._reader = open_slowly
    for _ in range(3):
        impatient.submit(file_request(path, box))
    answers = box.take(3)
    assert [type(answer) for answer in answers.values()] == [Failed] * 3
    gate.set()
    impatient.submit(file_request(path, box))
    assert isinstance(next(iter(box.take(1).values())), Classified)


def test_too_many_hanging_reads_fail_all_sinks(impatient: Pipeline, tmp_path: Path) -> None:
    hanging, box = Hanging(), Box()
    impatient._readers._reader = hanging.open

    def submit_hanging(count: int) -> None:
        for number in range(count):
            path = draw(tmp_path / f"hangs{number}.png", number)
            impatient.submit(file_request(path, box))

    try:
        with pytest.raises(ReadsTimedOut, match="Check the disk or share"):
            submit_hanging(MOST_HUNG + 20)
        told = [box.received.get(timeout=WAIT_S) for _ in range(MOST_HUNG + 2)]
        assert isinstance(told[-1], ReadsTimedOut)
    finally:
        hanging.gate.set()


def test_an_idle_model_releases_memory_and_classifies_later_photos(
    model: BrightModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagger.pipeline.pipeline.IDLE_S", 0.05)
    box = Box()
    pipeline = Pipeline(model, Limits(2, 10**7, 10**7))  # type: ignore[arg-type]
    for path in drawn(tmp_path, 2):
        assert model.memory_freed.wait(WAIT_S)
        model.memory_freed.clear()
        pipeline.submit(file_request(path, box))
        box.take(1)
    pipeline.close()


# ── several passes at a time ──


AT_ONCE = 3


class CountingModel(BrightModel):
    """Counts concurrent passes."""

    at_once = AT_ONCE

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.inside = self.most_inside = 0

    def scores(self, images: Sequence[np.ndarray]) -> np.ndarray:
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            return super().scores(images)
        finally:
            with self.lock:
                self.inside -= 1


@pytest.fixture
def counting() -> CountingModel:
    return CountingModel()


@pytest.fixture
def wide(counting: CountingModel) -> Iterator[Pipeline]:
    """A pipeline with three model threads and eight readers."""
    made = Pipeline(counting, Limits(readers=8, max_bytes=10**7, max_pixels=10**7))  # type: ignore[arg-type]
    yield made
    counting.gate.set()
    made.close()


def test_concurrent_passes_are_limited_and_each_photo_gets_one_result(
    wide: Pipeline, counting: CountingModel, tmp_path: Path
) -> None:
    counting.gate.clear()
    box = Box()
    requests = [file_request(path, box) for path in drawn(tmp_path, 60)]
    feeder = threading.Thread(target=lambda: [wide.submit(request) for request in requests])
    feeder.start()
    until(lambda: counting.inside == AT_ONCE)
    counting.gate.set()
    answers = box.take(60)
    feeder.join(WAIT_S)
    assert counting.most_inside == AT_ONCE
    assert sum(counting.batches) == 60
    assert max(counting.batches) <= counting.batch_size
    for number, request in enumerate(requests):
        looked = answers[request]
        assert isinstance(looked, Classified)
        red = next(p for p in looked.predictions if p.position == 0)
        assert red.score == pytest.approx(number / 255, abs=0.01)
    assert box.received.empty()
    assert wide._buffers.waiters == {}


def test_copies_are_decoded_once_with_concurrent_passes(
    wide: Pipeline, counting: CountingModel, tmp_path: Path
) -> None:
    counting.gate.clear()
    paths = drawn(tmp_path, 12)
    boxes = [Box(), Box(), Box()]
    for path in paths:
        for box in boxes:
            wide.submit(file_request(path, box))
    until(lambda: sum(len(waiters) for waiters in wide._buffers.waiters.values()) == 36)
    counting.gate.set()
    for box in boxes:
        assert all(isinstance(answer, Classified) for answer in box.take(12).values())
    assert sum(counting.batches) == 12


def test_photos_that_the_model_rejects_fail_alone_with_concurrent_passes(
    wide: Pipeline, counting: CountingModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = counting.scores

    def picky(images: Sequence[np.ndarray]) -> np.ndarray:
        if any(image[..., 0].mean() > 200 for image in images):
            raise RuntimeError("it cannot stand red")
        return real(images)

    monkeypatch.setattr(counting, "scores", picky)
    box = Box()
    reds = [*range(0, 180, 4), 210, 230, 250]
    random.Random(7).shuffle(reds)
    requests = {file_request(draw(tmp_path / f"{red}.png", red), box): red for red in reds}
    for request in requests:
        wide.submit(request)
    for request, answer in box.take(len(reds)).items():
        assert isinstance(answer, Failed if requests[request] > 200 else Classified)


def test_photos_of_a_pass_that_fails_once_are_classified_again(
    wide: Pipeline, counting: CountingModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = counting.scores, threading.Event()

    def fails_once(images: Sequence[np.ndarray]) -> np.ndarray:
        if len(images) > 1 and not failed.is_set():
            failed.set()
            raise RuntimeError("once")
        return real(images)

    monkeypatch.setattr(counting, "scores", fails_once)
    boxes = [Box(), Box()]
    paths = drawn(tmp_path, 40)
    for number, path in enumerate(paths):
        wide.submit(file_request(path, boxes[number % 2]))
    for box in boxes:
        assert all(isinstance(answer, Classified) for answer in box.take(20).values())
    assert failed.is_set()


def test_closing_waits_for_passes_in_progress(counting: CountingModel, tmp_path: Path) -> None:
    before = threading.active_count()
    limits = Limits(readers=8, max_bytes=10**7, max_pixels=10**7)
    pipeline = Pipeline(counting, limits)  # type: ignore[arg-type]
    counting.gate.clear()
    inside, waiting = Box(), Box()
    paths = drawn(tmp_path, 30)
    for path in paths[:12]:
        pipeline.submit(file_request(path, inside))
    until(lambda: counting.inside == AT_ONCE and not pipeline._buffers.reads)
    until(lambda: not pipeline._buffers.requests)
    for path in paths[12:]:
        pipeline.submit(file_request(path, waiting))
    closer = threading.Thread(target=pipeline.close)
    closer.start()
    until(lambda: pipeline._buffers.closed)
    counting.gate.set()
    closer.join(WAIT_S)
    assert not closer.is_alive()
    assert threading.active_count() == before
    assert any(isinstance(each, RuntimeError) for each in all_told(waiting))
    answered = [each for each in all_told(inside) if not isinstance(each, Exception)]
    assert sum(len(answers) for answers in answered) == sum(counting.batches)


def all_told(box: Box) -> list[Sequence[RequestResult] | Exception]:
    return [box.received.get() for _ in range(box.received.qsize())]


class Quick:
    """A reader without files: a photo's name decides its result. Some reads take longer, as on a real disk."""

    pixels = np.zeros((32, 32, 3), dtype=np.uint8)

    def __init__(self) -> None:
        self._moments = random.Random(1)

    def open(self, _source: PhotoSource, path: str) -> OpenPhoto:
        time.sleep(self._moments.choice((0, 0, 0.0003, 0.001)))
        if path.startswith("bad"):
            raise PhotoFailed(FailureKind.CORRUPT, "it is bad")
        return OpenPhoto(path, PhotoVersion(1, 1), CameraFacts(), lambda: self._decoded(path))

    def _decoded(self, path: str) -> DecodedImage:
        if path.startswith("broken"):
            raise PhotoFailed(FailureKind.TRUNCATED, "it is broken")
        return DecodedImage(self.pixels, 32, 32)


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without timeouts, a thread that is not notified sleeps forever."""
    monkeypatch.setattr(buffers, "READ_WAIT_S", 600.0)
    monkeypatch.setattr(buffers, "GIVE_UP_CHECK_S", 600.0)
    monkeypatch.setattr(buffers, "LINGER_S", 0.0005)
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads are interrupted anywhere
    yield
    sys.setswitchinterval(usual_s)


@pytest.mark.usefixtures("trusting")
def test_no_thread_waits_forever_whatever_is_submitted_and_withdrawn(wide: Pipeline) -> None:
    wide._readers._reader = Quick().open
    in_threads([partial(_come_and_go, wide, seed) for seed in range(7)])
    assert wide._buffers.waiters == {}
    assert not wide._buffers.requests
    assert not wide._buffers.reads


@pytest.mark.usefixtures("trusting")
def test_a_single_photo_is_never_forgotten(wide: Pipeline) -> None:
    """No other photos wake sleeping threads."""
    wide._readers._reader = Quick().open
    for seed in range(100, 103):
        _come_and_go(wide, seed)


@pytest.mark.usefixtures("trusting")
def test_withdrawing_unblocks_a_waiting_submit(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    model.gate.clear()
    mine, other = Box(), Box()
    paths = drawn(tmp_path, 24)
    for path in paths[:14]:
        pipeline.submit(file_request(path, other))
    until(lambda: not pipeline._buffers.reads and not pipeline._buffers.has_room())
    for path in paths[14:22]:
        pipeline.submit(file_request(path, other))
    assert len(pipeline._buffers.requests) == 2 * model.batch_size
    waiting = threading.Thread(
        target=lambda: [pipeline.submit(file_request(path, mine)) for path in paths[22:]]
    )
    waiting.start()
    until(lambda: pipeline._buffers._submittable._waiters)  # type: ignore[attr-defined]
    withdrawn = pipeline.withdraw(other)
    waiting.join(WAIT_S)
    assert not waiting.is_alive()
    model.gate.set()
    mine.take(2)
    other.take(22 - len(withdrawn))


def test_ready_photos_do_not_wait_for_a_hanging_read(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "READ_WAIT_S", 0.02)
    hanging, box = Hanging(), Box()
    pipeline._readers._reader = hanging.open
    slow = file_request(draw(tmp_path / "hangs.png", 1), box)
    pipeline.submit(slow)
    ready = {file_request(path, box) for path in drawn(tmp_path, 2)}
    for request in ready:
        pipeline.submit(request)
    assert box.take(2).keys() == ready
    hanging.gate.set()
    assert box.take(1).keys() == {slow}


def _come_and_go(pipeline: Pipeline, seed: int) -> None:
    """Submit bursts of one to sixty photos, withdraw some, and wait for each burst."""
    drawn = random.Random(seed)
    box = Box(known={f"known {number}" for number in range(10)})
    for _ in range(60):
        open_requests = set()
        for _ in range(drawn.choice((1, 2, 3, 4, 5, 9, 20, 60))):
            kind = drawn.choice(("known", "bad", "broken", "picture", "picture", "picture"))
            request = file_request(Path(f"{kind} {drawn.randrange(10 if kind == 'known' else 400)}"), box)
            if pipeline.submit(request, give_up=lambda: drawn.random() < 0.3):
                open_requests.add(request)
            if drawn.random() < 0.03:
                open_requests -= set(pipeline.withdraw(box))
        if drawn.random() < 0.2:
            open_requests -= set(pipeline.withdraw(box))
        answers = box.take(len(open_requests))
        assert answers.keys() == open_requests
        for request in open_requests:
            expected = {"known": AlreadyClassified, "bad": Failed, "broken": Failed, "picture": Classified}
            assert isinstance(answers[request], expected[file_of(request).name.partition(" ")[0]])
        assert box.received.empty()


class Slow:
    """A disk that serves many reads at once, each slowly; counts concurrent reads."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self.pause_s = 0.1
        self.now = self.most = 0

    def __call__(self, source: PhotoSource, path: str) -> OpenPhoto:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(self.pause_s)
        with self._lock:
            self.now -= 1
        return self._reader(source, path)


def test_extra_readers_run_only_while_the_disk_is_slow(impatient: Pipeline, tmp_path: Path) -> None:
    readers = impatient._readers
    slow = readers._reader = Slow(readers._reader)
    box = Box()
    paths = drawn(tmp_path, 200)
    submitted = 0
    while slow.most <= 4:
        impatient.submit(file_request(paths[submitted % 200], box))
        submitted += 1
    slow.pause_s = 0.0
    while readers._extra_readers:
        impatient.submit(file_request(paths[submitted % 200], box))
        submitted += 1
    assert all(isinstance(result, Classified) for result in box.take(submitted).values())
    assert len(readers._threads) == 3  # two readers and the watch
