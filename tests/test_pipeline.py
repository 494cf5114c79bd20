"""The pipeline with real files and models that do what the test needs: bounds, batches, failures, its end."""

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
from threads import in_threads

from tagger import in_hand
from tagger.errors import FailureKind, PhotoFailed, ReadsHang
from tagger.images import DecodedImage, Resize
from tagger.metadata.camera import CameraFacts
from tagger.pipeline import Pipeline
from tagger.readers import MOST_HUNG
from tagger.reading import Answer, Limits, OpenPhoto, Reader, Request, reader_here
from tagger.results import Failed, FileState, Known, Looked, Unchanged
from tagger.runners.interface import Decoder

WAIT_S = 20.0
"""Far more than anything here takes; only a hang reaches it."""


class BrightModel:
    """Scores are the picture's mean red and what is missing to 1; a test may hold it up at its gate."""

    batch_size = 4
    at_once = 1
    decoder: Decoder | None = None

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.trouble: Exception | None = None
        self.manifest = _Manifest()

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
    """A sink that keeps what it is told."""

    known: set[str] = field(default_factory=set)
    top_k: int = 2
    threshold: float = 0.5
    told: "queue.SimpleQueue[Sequence[Answer] | Exception]" = field(default_factory=queue.SimpleQueue)

    def is_known(self, digest: str) -> bool:
        return digest in self.known

    def deliver(self, answers: Sequence[Answer]) -> None:
        self.told.put(answers)

    def broken(self, error: Exception) -> None:
        self.told.put(error)

    def take(self, count: int) -> dict[Request, object]:
        answers: dict[Request, object] = {}
        while len(answers) < count:
            told = self.told.get(timeout=WAIT_S)
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


def draw(path: Path, red: int, width: int = 40) -> Path:
    Image.new("RGB", (width, 40), (red, 0, 0)).save(path)
    return path


def drawn(folder: Path, count: int) -> list[Path]:
    return [draw(folder / f"{number:03}.png", number % 256, 40 + number // 256) for number in range(count)]


def until(condition: Callable[[], object]) -> None:
    """Wait for what other threads are about to do."""
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to that")


def test_every_photo_gets_its_own_answer_in_any_order(pipeline: Pipeline, tmp_path: Path) -> None:
    paths = drawn(tmp_path, 50)
    order = list(range(50))
    random.Random(1).shuffle(order)
    box = Box()
    red_of = {}
    for number in order:
        request = Request(paths[number], box)
        red_of[request] = number
        pipeline.submit(request)
    for request, result in box.take(50).items():
        assert isinstance(result, Looked)
        red = next(p for p in result.predictions if p.position == 0)
        assert red.score == pytest.approx(red_of[request] / 255, abs=0.01)
        assert (result.width, result.height) == (40, 40)
        assert result.file == FileState(request.path.stat().st_size, request.path.stat().st_mtime_ns)


def test_what_is_in_hand_is_bounded_at_every_stage(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    paths = drawn(tmp_path, 120)
    box, submitted = Box(), []
    model.gate.clear()

    def submit_all() -> None:
        for path in paths:
            pipeline.submit(Request(path, box))
            submitted.append(path)

    feeder = threading.Thread(target=submit_all)
    feeder.start()
    until(lambda: len(pipeline._in_hand.readied) >= 2 * model.batch_size and not pipeline._in_hand.readings)
    until(lambda: len(pipeline._in_hand.waiting) == 2 * model.batch_size)
    in_hand = len(submitted)
    # Waiting, readied, one batch in the model's hands, and what readers may hold.
    assert in_hand <= 2 * model.batch_size + (2 * model.batch_size + 2) + model.batch_size + 1
    assert len(pipeline._in_hand.readied) <= 2 * model.batch_size + 2
    model.gate.set()
    feeder.join(WAIT_S)
    box.take(120)
    assert max(model.batches) == model.batch_size


def test_a_batch_that_is_not_full_is_delivered_when_nothing_more_comes(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    box = Box()
    for path in drawn(tmp_path, 2):
        pipeline.submit(Request(path, box))
    box.take(2)
    assert sum(model.batches) == 2


def test_chunks_of_several_holders_fill_batches_together(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    boxes = [Box(top_k=1), Box(top_k=2), Box(threshold=0.01), Box()]
    model.gate.clear()
    paths = drawn(tmp_path, 9)
    pipeline.submit(Request(paths[8], boxes[0]))
    until(lambda: len(pipeline._in_hand.readied) == 0 and pipeline._in_hand.riders)
    for path, box in zip(paths[:8], boxes * 2, strict=True):
        pipeline.submit(Request(path, box))
    until(lambda: len(pipeline._in_hand.readied) == 8)
    model.gate.set()
    for box, count in zip(boxes, (3, 2, 2, 2), strict=True):
        for result in box.take(count).values():
            assert isinstance(result, Looked)
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
        pipeline.submit(Request(path, box))
    kinds = {request.path: result for request, result in box.take(10).items()}
    assert all(isinstance(kinds[path], Looked) for path in good)
    for path, kind in bad.items():
        result = kinds[path]
        assert isinstance(result, Failed)
        assert result.failure.kind in {kind, FailureKind.CORRUPT, FailureKind.NOT_AN_IMAGE}
        assert (result.digest is not None) == (path.name == "bad.png")


def test_an_error_in_this_program_fails_the_photo_and_not_its_reader(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    class Foolish(Box):
        def is_known(self, digest: str) -> bool:
            raise ZeroDivisionError("a mistake")

    box, foolish = Box(), Foolish()
    for path in drawn(tmp_path, 4):
        pipeline.submit(Request(path, foolish))
        pipeline.submit(Request(path, box))
    results = foolish.take(4).values()
    assert {result.failure.kind for result in results if isinstance(result, Failed)} == {FailureKind.INTERNAL}
    box.take(4)


def test_copies_in_hand_ride_on_one_look_and_fail_together(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    model.gate.clear()
    path = draw(tmp_path / "a.png", 200)
    copies = [tmp_path / f"copy-{number}.png" for number in range(5)]
    for copy in copies:
        copy.write_bytes(path.read_bytes())
    one, two = Box(), Box()
    for number, copy in enumerate(copies):
        pipeline.submit(Request(copy, (one, two)[number % 2]))
    until(lambda: sum(len(riders) for riders in pipeline._in_hand.riders.values()) == 5)
    model.gate.set()
    results = [*one.take(3).values(), *two.take(2).values()]
    assert len({result.digest for result in results if isinstance(result, Looked)}) == 1
    assert model.batches == [1]
    assert pipeline._in_hand.riders == {}


def test_known_and_unchanged_photos_do_not_come_to_the_model(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    path = draw(tmp_path / "a.png", 200)
    box = Box()
    pipeline.submit(Request(path, box))
    (looked,) = box.take(1).values()
    assert isinstance(looked, Looked)
    box.known.add(looked.digest)
    pipeline.submit(Request(path, box))
    pipeline.submit(Request(path, box, looked.file))
    pipeline.submit(Request(path, box, FileState(looked.file.size_bytes, 1)))
    kinds = sorted(type(result).__name__ for result in box.take(3).values())
    assert kinds == [Known.__name__, Known.__name__, Unchanged.__name__]
    assert model.batches == [1]


def test_a_model_that_fails_tells_everybody_it_concerns_and_goes_on_with_others(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    box, later = Box(), Box()
    model.trouble = RuntimeError("no memory")
    pipeline.submit(Request(draw(tmp_path / "a.png", 1), box))
    told = box.told.get(timeout=WAIT_S)
    assert told is model.trouble
    model.trouble = None
    pipeline.submit(Request(draw(tmp_path / "a.png", 1), later))
    later.take(1)
    assert pipeline._in_hand.riders == {}


@pytest.mark.parametrize("shape", [(0, 2), (1, 3), (2,)])
def test_scores_of_the_wrong_shape_break_the_batch_and_not_the_thread(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple
) -> None:
    box = Box()
    with monkeypatch.context() as patch:
        patch.setattr(model, "scores", lambda _images: np.zeros(shape, dtype=np.float32))
        pipeline.submit(Request(draw(tmp_path / "a.png", 1), box))
        assert isinstance(box.told.get(timeout=WAIT_S), ValueError)
    pipeline.submit(Request(draw(tmp_path / "b.png", 2), box))
    box.take(1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_fail_their_photo_alone(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    real = model.scores

    def some_bad(images: Sequence[np.ndarray]) -> np.ndarray:
        scores = real(images)
        scores[scores[:, 0] > 0.7] = value
        return scores

    monkeypatch.setattr(model, "scores", some_bad)
    box = Box()
    requests = [Request(draw(tmp_path / f"{red}.png", red), box) for red in (10, 250, 100)]
    for request in requests:
        pipeline.submit(request)
    answers = box.take(3)
    assert [type(answers[request]) for request in requests] == [Looked, Failed, Looked]


def test_what_nobody_has_begun_to_read_can_be_withdrawn(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    model.gate.clear()
    mine, other = Box(), Box()
    paths = drawn(tmp_path, 22)
    for path in paths[:14]:
        pipeline.submit(Request(path, other))
    until(lambda: not pipeline._in_hand.readings and not pipeline._in_hand.has_room())
    waiting = [Request(path, mine) for path in paths[14:16]]
    for request in waiting:
        pipeline.submit(request)
    assert pipeline.withdraw(mine) == waiting
    assert pipeline.withdraw(mine) == []
    model.gate.set()
    other.take(14)
    assert mine.told.empty()


def test_closing_ends_the_threads_and_tells_those_who_wait(model: BrightModel, tmp_path: Path) -> None:
    before = threading.active_count()
    pipeline = Pipeline(model, Limits(readers=3, max_bytes=10**7, max_pixels=10**7))  # type: ignore[arg-type]
    model.gate.clear()
    box = Box()
    paths = drawn(tmp_path, 60)
    refused = []

    def feed() -> None:
        try:
            for path in paths:
                pipeline.submit(Request(path, box))
        except RuntimeError as error:
            refused.append(error)

    feeder = threading.Thread(target=feed)
    feeder.start()
    until(lambda: len(pipeline._in_hand.waiting) == 2 * model.batch_size)
    closer = threading.Thread(target=pipeline.close)
    closer.start()
    until(lambda: pipeline._in_hand.closed)
    model.gate.set()
    closer.join(WAIT_S)
    feeder.join(WAIT_S)
    assert refused
    assert threading.active_count() == before
    told = []
    while not box.told.empty():
        told.append(box.told.get())
    assert any(isinstance(each, RuntimeError) for each in told)
    with pytest.raises(RuntimeError, match="closed"):
        pipeline.submit(Request(paths[0], box))


def test_many_holders_at_once_all_get_everything(pipeline: Pipeline, tmp_path: Path) -> None:
    paths = drawn(tmp_path, 40)
    boxes = [Box() for _ in range(6)]

    def feed(box: Box, seed: int) -> None:
        mine = paths[:]
        random.Random(seed).shuffle(mine)
        for path in mine:
            pipeline.submit(Request(path, box))

    threads = [threading.Thread(target=feed, args=(box, seed)) for seed, box in enumerate(boxes)]
    for thread in threads:
        thread.start()
    for box in boxes:
        box.take(40)
    for thread in threads:
        thread.join(WAIT_S)
    assert pipeline._in_hand.riders == {}


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
    requests = {red: Request(draw(tmp_path / f"{red}.png", red), box) for red in (10, 250, 100, 50)}
    for request in requests.values():
        pipeline.submit(request)
    answers = box.take(4)
    failed = answers.pop(requests[250])
    assert isinstance(failed, Failed)
    assert (failed.failure.kind, failed.failure.text) == (
        FailureKind.INTERNAL,
        "the model fails on this photo: it cannot stand red",
    )
    assert all(isinstance(answer, Looked) for answer in answers.values())


class Hanging:
    """A reader whose photos named `hangs…` are held up until the test lets them go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.came_back = 0

    def open(self, path: Path) -> OpenPhoto:
        if path.name.startswith("hangs"):
            assert self.gate.wait(WAIT_S)
            self.came_back += 1
        return reader_here(_Input.resize, Limits(1, 10**7, 10**7))(path)


@pytest.fixture
def impatient(model: BrightModel) -> Iterator[Pipeline]:
    limits = Limits(readers=2, max_bytes=10**7, max_pixels=10**7, timeout_s=0.3)
    made = Pipeline(model, limits)  # type: ignore[arg-type]
    yield made
    made.close()


def test_reads_that_hang_are_given_up_and_the_others_go_on(impatient: Pipeline, tmp_path: Path) -> None:
    hanging, box = Hanging(), Box()
    impatient._readers._reader = hanging.open
    stuck = [Request(draw(tmp_path / f"hangs{n}.png", n), box) for n in range(4)]
    fine = [Request(path, box) for path in drawn(tmp_path, 20)]
    for request in [*stuck, *fine]:
        impatient.submit(request)
    answers = box.take(24)
    for request in stuck:
        failed = answers[request]
        assert isinstance(failed, Failed)
        assert failed.failure.kind is FailureKind.TIMED_OUT
        assert "0.3 s" in failed.failure.text
    assert all(isinstance(answers[request], Looked) for request in fine)
    hanging.gate.set()
    until(lambda: hanging.came_back == 4 and impatient._readers._hung == 0)
    late = Request(draw(tmp_path / "late.png", 77), box)
    impatient.submit(late)
    assert set(box.take(1)) == {late}  # and nothing of those that came back
    assert len(impatient._readers._threads) == 2 + 1


def test_copies_that_ride_on_a_decode_that_hangs_are_given_up_with_it(
    impatient: Pipeline, tmp_path: Path
) -> None:
    gate, box = threading.Event(), Box()
    path = draw(tmp_path / "a.png", 7)

    def open_slowly(path: Path) -> OpenPhoto:
        photo = reader_here(_Input.resize, Limits(1, 10**7, 10**7))(path)

        def decode() -> DecodedImage:
            assert gate.wait(WAIT_S)
            return photo.decode()

        return replace(photo, decode=decode)

    impatient._readers._reader = open_slowly
    for _ in range(3):
        impatient.submit(Request(path, box))
    answers = box.take(3)
    assert [type(answer) for answer in answers.values()] == [Failed] * 3
    gate.set()
    impatient.submit(Request(path, box))
    assert isinstance(next(iter(box.take(1).values())), Looked)


def test_where_too_many_reads_hang_everybody_is_told(impatient: Pipeline, tmp_path: Path) -> None:
    hanging, box = Hanging(), Box()
    impatient._readers._reader = hanging.open

    def submit_hanging(count: int) -> None:
        for number in range(count):
            path = draw(tmp_path / f"hangs{number}.png", number)
            impatient.submit(Request(path, box))

    try:
        with pytest.raises(ReadsHang, match="Check the disk or share"):
            submit_hanging(MOST_HUNG + 20)
        told = [box.told.get(timeout=WAIT_S) for _ in range(MOST_HUNG + 2)]
        assert isinstance(told[-1], ReadsHang)
    finally:
        hanging.gate.set()


# ── several passes at a time ──


AT_ONCE = 3


class CountingModel(BrightModel):
    """Tells how many passes are in it now."""

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
    """A pipeline in which three threads run the model and eight read."""
    made = Pipeline(counting, Limits(readers=8, max_bytes=10**7, max_pixels=10**7))  # type: ignore[arg-type]
    yield made
    counting.gate.set()
    made.close()


def test_as_many_passes_run_at_a_time_as_the_model_allows_and_each_photo_is_answered_once(
    wide: Pipeline, counting: CountingModel, tmp_path: Path
) -> None:
    counting.gate.clear()
    box = Box()
    requests = [Request(path, box) for path in drawn(tmp_path, 60)]
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
        assert isinstance(looked, Looked)
        red = next(p for p in looked.predictions if p.position == 0)
        assert red.score == pytest.approx(number / 255, abs=0.01)
    assert box.told.empty()
    assert wide._in_hand.riders == {}


def test_copies_ride_on_one_look_while_several_passes_run(
    wide: Pipeline, counting: CountingModel, tmp_path: Path
) -> None:
    counting.gate.clear()
    paths = drawn(tmp_path, 12)
    boxes = [Box(), Box(), Box()]
    for path in paths:
        for box in boxes:
            wide.submit(Request(path, box))
    until(lambda: sum(len(riders) for riders in wide._in_hand.riders.values()) == 36)
    counting.gate.set()
    for box in boxes:
        assert all(isinstance(answer, Looked) for answer in box.take(12).values())
    assert sum(counting.batches) == 12


def test_photos_the_model_fails_on_fail_alone_while_other_passes_run(
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
    requests = {Request(draw(tmp_path / f"{red}.png", red), box): red for red in reds}
    for request in requests:
        wide.submit(request)
    for request, answer in box.take(len(reds)).items():
        assert isinstance(answer, Failed if requests[request] > 200 else Looked)


def test_a_pass_that_fails_once_costs_its_photos_a_second_look_and_nobody_else_anything(
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
        wide.submit(Request(path, boxes[number % 2]))
    for box in boxes:
        assert all(isinstance(answer, Looked) for answer in box.take(20).values())
    assert failed.is_set()


def test_closing_while_passes_run_waits_for_them_and_tells_the_others(
    counting: CountingModel, tmp_path: Path
) -> None:
    before = threading.active_count()
    limits = Limits(readers=8, max_bytes=10**7, max_pixels=10**7)
    pipeline = Pipeline(counting, limits)  # type: ignore[arg-type]
    counting.gate.clear()
    inside, waiting = Box(), Box()
    paths = drawn(tmp_path, 30)
    for path in paths[:12]:
        pipeline.submit(Request(path, inside))
    until(lambda: counting.inside == AT_ONCE and not pipeline._in_hand.readings)
    until(lambda: not pipeline._in_hand.waiting)
    for path in paths[12:]:
        pipeline.submit(Request(path, waiting))
    closer = threading.Thread(target=pipeline.close)
    closer.start()
    until(lambda: pipeline._in_hand.closed)
    counting.gate.set()
    closer.join(WAIT_S)
    assert not closer.is_alive()
    assert threading.active_count() == before
    assert any(isinstance(each, RuntimeError) for each in all_told(waiting))
    answered = [each for each in all_told(inside) if not isinstance(each, Exception)]
    assert sum(len(answers) for answers in answered) == sum(counting.batches)


def all_told(box: Box) -> list[Sequence[Answer] | Exception]:
    return [box.told.get() for _ in range(box.told.qsize())]


class Quick:
    """A reader of photos that are no files: their names say what they are. Some take a moment longer, as on any disk."""

    pixels = np.zeros((32, 32, 3), dtype=np.uint8)

    def __init__(self) -> None:
        self._moments = random.Random(1)

    def open(self, path: Path) -> OpenPhoto:
        time.sleep(self._moments.choice((0, 0, 0.0003, 0.001)))
        if path.name.startswith("bad"):
            raise PhotoFailed(FailureKind.CORRUPT, "it is bad")
        return OpenPhoto(path.name, FileState(1, 1), CameraFacts(), lambda: self._decoded(path))

    def _decoded(self, path: Path) -> DecodedImage:
        if path.name.startswith("broken"):
            raise PhotoFailed(FailureKind.TRUNCATED, "it is broken")
        return DecodedImage(self.pixels, 32, 32)


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads wake each other only where there is something to do. Here one that was forgotten sleeps on for ever."""
    monkeypatch.setattr(in_hand, "PATIENCE_S", 600.0)
    monkeypatch.setattr(in_hand, "LOOK_AGAIN_S", 600.0)
    monkeypatch.setattr(in_hand, "LINGER_S", 0.0005)
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads are interrupted anywhere
    yield
    sys.setswitchinterval(usual_s)


@pytest.mark.usefixtures("trusting")
def test_however_photos_come_go_and_are_withdrawn_nobody_waits_for_ever(wide: Pipeline) -> None:
    wide._readers._reader = Quick().open
    in_threads([partial(_come_and_go, wide, seed) for seed in range(7)])
    assert wide._in_hand.riders == {}
    assert not wide._in_hand.waiting
    assert not wide._in_hand.readings


@pytest.mark.usefixtures("trusting")
def test_one_alone_is_never_forgotten(wide: Pipeline) -> None:
    """Nobody else's photos wake the threads that sleep."""
    wide._readers._reader = Quick().open
    for seed in range(100, 103):
        _come_and_go(wide, seed)


@pytest.mark.usefixtures("trusting")
def test_who_waits_for_room_goes_on_when_somebody_else_withdraws(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    model.gate.clear()
    mine, other = Box(), Box()
    paths = drawn(tmp_path, 24)
    for path in paths[:14]:
        pipeline.submit(Request(path, other))
    until(lambda: not pipeline._in_hand.readings and not pipeline._in_hand.has_room())
    for path in paths[14:22]:
        pipeline.submit(Request(path, other))
    assert len(pipeline._in_hand.waiting) == 2 * model.batch_size
    waiting = threading.Thread(target=lambda: [pipeline.submit(Request(path, mine)) for path in paths[22:]])
    waiting.start()
    until(lambda: pipeline._in_hand._submittable._waiters)  # type: ignore[attr-defined]
    withdrawn = pipeline.withdraw(other)
    waiting.join(WAIT_S)
    assert not waiting.is_alive()
    model.gate.set()
    mine.take(2)
    other.take(22 - len(withdrawn))


def test_photos_that_are_ready_do_not_wait_for_one_that_hangs(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_hand, "PATIENCE_S", 0.02)
    hanging, box = Hanging(), Box()
    pipeline._readers._reader = hanging.open
    slow = Request(draw(tmp_path / "hangs.png", 1), box)
    pipeline.submit(slow)
    ready = {Request(path, box) for path in drawn(tmp_path, 2)}
    for request in ready:
        pipeline.submit(request)
    assert box.take(2).keys() == ready
    hanging.gate.set()
    assert box.take(1).keys() == {slow}


def _come_and_go(pipeline: Pipeline, seed: int) -> None:
    """Bursts of one to sixty photos, some of them withdrawn, and each burst waited for."""
    drawn = random.Random(seed)
    box = Box(known={f"known {number}" for number in range(10)})
    for _ in range(60):
        open_requests = set()
        for _ in range(drawn.choice((1, 2, 3, 4, 5, 9, 20, 60))):
            kind = drawn.choice(("known", "bad", "broken", "picture", "picture", "picture"))
            request = Request(Path(f"{kind} {drawn.randrange(10 if kind == 'known' else 400)}"), box)
            if pipeline.submit(request, give_up=lambda: drawn.random() < 0.3):
                open_requests.add(request)
            if drawn.random() < 0.03:
                open_requests -= set(pipeline.withdraw(box))
        if drawn.random() < 0.2:
            open_requests -= set(pipeline.withdraw(box))
        answers = box.take(len(open_requests))
        assert answers.keys() == open_requests
        for request in open_requests:
            expected = {"known": Known, "bad": Failed, "broken": Failed, "picture": Looked}
            assert isinstance(answers[request], expected[request.path.name.partition(" ")[0]])
        assert box.told.empty()


class Slow:
    """A disk that serves many reads at once and each one slowly; counts how many it serves."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self.pause_s = 0.1
        self.now = self.most = 0

    def __call__(self, path: Path) -> OpenPhoto:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(self.pause_s)
        with self._lock:
            self.now -= 1
        return self._reader(path)


def test_of_a_slow_disk_more_photos_are_read_at_a_time_until_reading_has_caught_up(
    impatient: Pipeline, tmp_path: Path
) -> None:
    readers = impatient._readers
    slow = readers._reader = Slow(readers._reader)
    box = Box()
    paths = drawn(tmp_path, 200)
    submitted = 0
    while slow.most <= 4:
        impatient.submit(Request(paths[submitted % 200], box))
        submitted += 1
    slow.pause_s = 0.0
    while readers._ahead:
        impatient.submit(Request(paths[submitted % 200], box))
        submitted += 1
    assert all(isinstance(result, Looked) for result in box.take(submitted).values())
    assert len(readers._threads) == 3  # two readers and the watch
