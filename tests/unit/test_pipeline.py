"""The pipeline with real files and fake models: bounds, batches, failures, closing."""

import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from support.decoding import local_reader, read_with
from support.threads import in_threads, wait_until

from tagger.errors import FailureKind, PhotoFailed, ReadsTimedOut
from tagger.model.artifact import Embedding
from tagger.model.backends import Outputs
from tagger.model.model import Model
from tagger.photos import CameraFacts
from tagger.photos.decoding import DecodedImage, Resize
from tagger.photos.files import PhotoBytes, PhotoVersion
from tagger.photos.source import FolderSource, PhotoSource
from tagger.pipeline import (
    AlreadyClassified,
    Classified,
    Failed,
    Limits,
    OpenPhoto,
    Request,
    RequestResult,
    ResultSink,
    Unchanged,
    pipeline as pipeline_module,
    reader_pool,
)
from tagger.pipeline.pipeline import Pipeline
from tagger.pipeline.reader_pool import MOST_HUNG

LIMITS = Limits(readers=2, max_bytes=10**7, max_pixels=10**7)
WAIT_S = 20.0  # Longer than any test waits unless something hangs


class BrightModel:
    """Scores are the image's mean red and the remainder to 1. A test can block it with `gate`.

    `inside` counts concurrent passes.
    """

    batch_size = 4

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self.lock = threading.Lock()
        self.inside = self.most_inside = 0
        self.gate = threading.Event()
        self.gate.set()
        self.memory_freed = threading.Event()
        self.was_called = threading.Event()
        self.batches: list[int] = []
        self.manifest = _Manifest()

    predict_all = Model.predict_all
    things: "BrightModel | None" = None
    beside: "BrightModel | None" = None

    def free_memory(self) -> None:
        self.memory_freed.set()

    def outputs(self, images: Sequence[np.ndarray]) -> Outputs:
        self.was_called.set()
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        assert self.gate.wait(WAIT_S)
        with self.lock:
            self.inside -= 1
        self.batches.append(len(images))
        red = [float(image[..., 0].mean()) / 255 for image in images]
        return Outputs(np.array([[value, 1 - value] for value in red], dtype=np.float32), None)


class _Input:
    resize = Resize(size=32, short_side=32)


class _Manifest:
    labels = ("red", "not red")
    input = _Input()
    embedding: Embedding | None = None


@dataclass(eq=False)
class CollectingSink:
    classified: set[str] = field(default_factory=set)
    top_k: int = 2
    thresholds: Mapping[int, float] = field(default_factory=lambda: {1: 0.5})
    received: "queue.SimpleQueue[Sequence[RequestResult] | Exception]" = field(
        default_factory=queue.SimpleQueue
    )

    def lacking_models(self, digest: str) -> Sequence[int]:
        return [] if digest in self.classified else list(self.thresholds)

    def deliver(self, results: Sequence[RequestResult]) -> None:
        self.received.put(results)

    def fail(self, error: Exception) -> None:
        self.received.put(error)

    def take(self, count: int) -> dict[Request, object]:
        results: dict[Request, object] = {}
        while len(results) < count:
            delivery = self.received.get(timeout=WAIT_S)
            assert not isinstance(delivery, Exception), delivery
            results.update(delivery)
        assert len(results) == count
        return results


@pytest.fixture
def model() -> BrightModel:
    return BrightModel()


@pytest.fixture
def pipeline(model) -> Iterator[Pipeline]:
    pipeline = Pipeline({1: model}, LIMITS)
    yield pipeline
    model.gate.set()
    pipeline.close()


def file_request(path: Path, sink: ResultSink, classified: PhotoVersion | None = None) -> Request:
    return Request(FolderSource(path.parent), path.name, sink, classified)


def file_of(request: Request) -> Path:
    return Path(request.source.location) / request.path


def draw(path: Path, red: int, width: int = 40) -> Path:
    Image.new("RGB", (width, 40), (red, 0, 0)).save(path)
    return path


def draw_photos(folder: Path, count: int) -> list[Path]:
    return [draw(folder / f"{number:03}.png", number % 256, 40 + number // 256) for number in range(count)]


def submit(pipeline: Pipeline, sink: ResultSink, *paths: Path) -> None:
    for path in paths:
        pipeline.submit(file_request(path, sink))


def classified(pipeline: Pipeline, sink: CollectingSink, path: Path) -> Classified:
    submit(pipeline, sink, path)
    (result,) = sink.take(1).values()
    assert isinstance(result, Classified)
    return result


def act_before_decoding(pipeline: Pipeline, act: Callable[[Resize], object]) -> None:
    def open_photo(source: PhotoSource, path: str) -> OpenPhoto:
        photo = local_reader(LIMITS)(source, path)

        def decode(resize: Resize) -> DecodedImage:
            act(resize)
            return photo.decode(resize)

        return replace(photo, decode=decode)

    read_with(pipeline, open_photo)


def test_every_stage_is_bounded(pipeline, model, tmp_path):
    paths = draw_photos(tmp_path, 120)
    sink, submitted = CollectingSink(), []
    model.gate.clear()

    def submit_all() -> None:
        for path in paths:
            pipeline.submit(file_request(path, sink))
            submitted.append(path)

    feeder = threading.Thread(target=submit_all)
    feeder.start()
    wait_until(lambda: len(pipeline._buffers.images) >= 2 * model.batch_size and not pipeline._buffers.reads)
    wait_until(lambda: len(pipeline._buffers.requests) == 2 * model.batch_size)
    buffers = len(submitted)
    # A busy machine reads slowly, which starts extra readers.
    readers = 2 + FolderSource(tmp_path).extra_reads
    # Waiting requests, ready photos, the batch in the model, and one photo per reader but the one of it.
    assert buffers <= 2 * model.batch_size + (2 * model.batch_size + readers) + model.batch_size + readers - 1
    assert len(pipeline._buffers.images) <= 2 * model.batch_size + readers
    model.gate.set()
    feeder.join(WAIT_S)
    sink.take(120)
    assert max(model.batches) == model.batch_size


def test_chunks_share_batches(pipeline, model, tmp_path):
    sinks = [
        CollectingSink(top_k=1),
        CollectingSink(top_k=2),
        CollectingSink(thresholds={1: 0.01}),
        CollectingSink(),
    ]
    model.gate.clear()
    paths = draw_photos(tmp_path, 9)
    submit(pipeline, sinks[0], paths[8])
    assert model.was_called.wait(WAIT_S)
    for path, sink in zip(paths[:8], sinks * 2, strict=True):
        submit(pipeline, sink, path)
    wait_until(lambda: len(pipeline._buffers.images) == 8)
    model.gate.set()
    for sink, count in zip(sinks, (3, 2, 2, 2), strict=True):
        for result in sink.take(count).values():
            assert isinstance(result, Classified)
            assert len(result.results[1].predictions) == sink.top_k
    assert len(model.batches) <= 4


def test_a_photo_is_decoded_once_for_each_size_of_the_models_that_lack_it(model, tmp_path):
    same, large, other = BrightModel(), BrightModel(), BrightModel()
    large.manifest = SimpleNamespace(
        labels=_Manifest.labels,
        embedding=None,
        input=SimpleNamespace(resize=Resize(size=48, short_side=48)),
    )
    sizes: list[int] = []
    models = {1: model, 2: same, 3: large, 4: other}
    pipeline = Pipeline(models, LIMITS)
    act_before_decoding(pipeline, lambda resize: sizes.append(resize.size))
    sink = CollectingSink(thresholds={1: 0.5, 2: 0.5, 3: 0.5})
    (path,) = draw_photos(tmp_path, 1)
    assert set(classified(pipeline, sink, path).results) == {1, 2, 3}
    pipeline.close()
    assert sizes == [32, 48]
    assert (model.batches, same.batches, large.batches, other.batches) == ([1], [1], [1], [])


def test_two_models_of_one_pass_get_its_results_and_images_that_lack_one_get_no_more(
    model, tmp_path, monkeypatch
):
    outputs = model.outputs
    monkeypatch.setattr(model, "outputs", lambda images: outputs(images)._replace(things=np.ones((1, 2))))
    model.things = BrightModel()
    pipeline = Pipeline({1: model, 2: model.things}, LIMITS)
    lacking = [(1, 2), (1,), (2,)]
    for ids, path in zip(lacking, draw_photos(tmp_path, 3), strict=True):
        sink = CollectingSink(thresholds=dict.fromkeys(ids, 0.5))
        assert tuple(classified(pipeline, sink, path).results) == ids
    pipeline.close()
    assert (model.batches, model.things.batches) == ([1, 1], [1])


def test_a_photo_has_the_colours_of_its_parts(pipeline, tmp_path):
    image = Image.new("RGB", (96, 96), (250, 0, 0))
    image.paste((0, 0, 120), (0, 57, 96, 96))
    image.save(tmp_path / "a.png")
    result = classified(pipeline, CollectingSink(), tmp_path / "a.png")
    assert result.colours is not None
    assert [*result.colours] == pytest.approx([250, 0, 0] * 6 + [0, 0, 120] * 3, abs=25)


def test_a_photo_that_fails_fails_alone(pipeline, tmp_path):
    readable = draw_photos(tmp_path, 6)
    (tmp_path / "bad.png").write_bytes(readable[0].read_bytes()[:60])
    (tmp_path / "empty.png").touch()
    failing = {
        tmp_path / "bad.png": FailureKind.TRUNCATED,
        tmp_path / "empty.png": FailureKind.EMPTY,
        tmp_path / "gone.png": FailureKind.GONE,
        tmp_path: FailureKind.UNREADABLE,
    }
    sink = CollectingSink()
    submit(pipeline, sink, *failing, *readable)
    kinds = {file_of(request): result for request, result in sink.take(10).items()}
    assert all(isinstance(kinds[path], Classified) for path in readable)
    for path, kind in failing.items():
        result = kinds[path]
        assert isinstance(result, Failed)
        assert result.failure.kind in {kind, FailureKind.CORRUPT, FailureKind.NOT_AN_IMAGE}
        assert (result.digest is not None) == (path.name == "bad.png")


def test_an_error_in_this_program_fails_the_photo_and_not_its_reader(pipeline, tmp_path):
    class FailingSink(CollectingSink):
        def lacking_models(self, digest: str) -> Sequence[int]:
            raise ZeroDivisionError("a mistake")

    sink, failing_sink = CollectingSink(), FailingSink()
    for path in draw_photos(tmp_path, 4):
        submit(pipeline, failing_sink, path)
        submit(pipeline, sink, path)
    results = failing_sink.take(4).values()
    assert {result.failure.kind for result in results if isinstance(result, Failed)} == {FailureKind.INTERNAL}
    sink.take(4)


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), MemoryError()])
def test_an_error_in_a_sink_fails_that_sink_alone(pipeline, tmp_path, error):
    class FailingSink(CollectingSink):
        def deliver(self, results: Sequence[RequestResult]) -> None:
            raise error

    class BrokenSink(FailingSink):
        def fail(self, error: Exception) -> None:
            super().fail(error)
            raise error

    for failing_sink in (FailingSink(), BrokenSink()):
        sink, path = CollectingSink(), draw(tmp_path / "a.png", 200)
        submit(pipeline, failing_sink, path)
        assert failing_sink.received.get(timeout=WAIT_S) is error
        classified(pipeline, sink, path)


@pytest.mark.parametrize("function", ["_colours", "best_predictions"])
def test_an_error_in_a_result_fails_that_photo_alone(pipeline, tmp_path, monkeypatch, function):
    original, calls = getattr(pipeline_module, function), []

    def fails_first(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise ZeroDivisionError("a mistake")
        return original(*arguments, **options)

    monkeypatch.setattr(pipeline_module, function, fails_first)
    sink = CollectingSink()
    submit(pipeline, sink, *draw_photos(tmp_path, 4))
    failed = [result for result in sink.take(4).values() if isinstance(result, Failed)]
    assert [result.failure.kind for result in failed] == [FailureKind.INTERNAL]


def test_an_error_outside_photos_fails_the_sinks_and_not_the_thread(pipeline, tmp_path, monkeypatch):
    path = draw(tmp_path / "a.png", 200)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline_module.BATCH_FILL, "observe", lambda _share: 1 / 0)
        sink = CollectingSink()
        submit(pipeline, sink, path)
        assert isinstance(sink.received.get(timeout=WAIT_S), ZeroDivisionError)
    classified(pipeline, sink, path)


def test_copies_are_decoded_once_and_fail_together(pipeline, model, tmp_path):
    model.gate.clear()
    path = draw(tmp_path / "a.png", 200)
    copies = [tmp_path / f"copy-{number}.png" for number in range(5)]
    for copy in copies:
        copy.write_bytes(path.read_bytes())
    first, second = CollectingSink(), CollectingSink()
    submit(pipeline, first, *copies[::2])
    submit(pipeline, second, *copies[1::2])
    wait_until(lambda: sum(len(waiters) for waiters in pipeline._buffers.waiters.values()) == 5)
    model.gate.set()
    results = [*first.take(3).values(), *second.take(2).values()]
    assert len({result.digest for result in results if isinstance(result, Classified)}) == 1
    assert model.batches == [1]
    assert pipeline._buffers.waiters == {}


def test_classified_and_unchanged_photos_skip_the_model(pipeline, model, tmp_path):
    path = draw(tmp_path / "a.png", 200)
    sink = CollectingSink()
    result = classified(pipeline, sink, path)
    sink.classified.add(result.digest)
    submit(pipeline, sink, path)
    pipeline.submit(file_request(path, sink, result.version))
    pipeline.submit(file_request(path, sink, PhotoVersion(result.version.size_bytes, 1)))
    kinds = sorted(type(result).__name__ for result in sink.take(3).values())
    assert kinds == [AlreadyClassified.__name__, AlreadyClassified.__name__, Unchanged.__name__]
    assert model.batches == [1]


@pytest.mark.parametrize("scores", [None, np.zeros((0, 2)), np.zeros(2)], ids=["an error", "none", "a row"])
def test_a_pass_that_fails_fails_the_sinks_of_its_batch_only(pipeline, model, tmp_path, monkeypatch, scores):
    def fails(_images: object) -> Outputs:
        if scores is None:
            raise ValueError("no memory")
        return Outputs(scores.astype(np.float32), None)

    sink, path = CollectingSink(), draw(tmp_path / "a.png", 1)
    with monkeypatch.context() as patch:
        patch.setattr(model, "outputs", fails)
        submit(pipeline, sink, path)
        assert isinstance(sink.received.get(timeout=WAIT_S), ValueError)
    classified(pipeline, sink, path)
    assert pipeline._buffers.waiters == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_photo_without_finite_scores_or_that_the_model_fails_on_fails_alone(
    pipeline, model, tmp_path, monkeypatch, value
):
    original = model.outputs

    def fail_on_red(images: Sequence[np.ndarray]) -> Outputs:
        outputs = original(images)
        is_red = outputs.scores[:, 0] > 0.7
        if value is None and is_red.any():
            raise RuntimeError("stack\nit cannot stand red")
        outputs.scores[is_red] = value
        return outputs

    monkeypatch.setattr(model, "outputs", fail_on_red)
    sink = CollectingSink()
    requests = {red: file_request(draw(tmp_path / f"{red}.png", red), sink) for red in (10, 250, 100, 50)}
    for request in requests.values():
        pipeline.submit(request)
    results = sink.take(4)
    failed = results.pop(requests[250])
    assert isinstance(failed, Failed)
    assert failed.failure.kind is FailureKind.INTERNAL
    if value is None:
        assert failed.failure.text == "the model fails on this photo: it cannot stand red"
    assert all(isinstance(result, Classified) for result in results.values())


class HangingReader:
    """A reader that blocks on photos named `hangs…` until the test sets `gate`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.finished = 0

    def open(self, source: PhotoSource, path: str) -> OpenPhoto:
        if path.startswith("hangs"):
            assert self.gate.wait(WAIT_S)
            self.finished += 1
        return local_reader(LIMITS)(source, path)


@pytest.fixture
def pipeline_with_timeout(model) -> Iterator[Pipeline]:
    pipeline = Pipeline({1: model}, replace(LIMITS, timeout_s=0.3))
    yield pipeline
    pipeline.close()


def test_hanging_reads_are_abandoned_and_others_continue(pipeline_with_timeout, tmp_path):
    reader, sink = HangingReader(), CollectingSink()
    read_with(pipeline_with_timeout, reader.open)
    stuck = [file_request(draw(tmp_path / f"hangs{n}.png", n), sink) for n in range(4)]
    fine = [file_request(path, sink) for path in draw_photos(tmp_path, 20)]
    for request in [*stuck, *fine]:
        pipeline_with_timeout.submit(request)
    results = sink.take(24)
    for request in stuck:
        failed = results[request]
        assert isinstance(failed, Failed)
        assert failed.failure.kind is FailureKind.TIMED_OUT
        assert "0.3 s" in failed.failure.text
        assert "tagger job retry --kind timed-out" in failed.failure.text
    assert all(isinstance(results[request], Classified) for request in fine)
    reader.gate.set()
    wait_until(lambda: reader.finished == 4 and pipeline_with_timeout._readers._hung == 0)
    late = file_request(draw(tmp_path / "late.png", 77), sink)
    pipeline_with_timeout.submit(late)
    assert set(sink.take(1)) == {late}  # no second result for the abandoned reads
    readers = pipeline_with_timeout._readers
    # A busy machine reads slowly, which starts extra readers for a while.
    wait_until(lambda: len(readers._threads) - readers._extra_readers == 2 + 1)


def test_copies_that_wait_for_a_hanging_decode_fail_with_it(pipeline_with_timeout, tmp_path):
    gate, sink = threading.Event(), CollectingSink()
    path = draw(tmp_path / "a.png", 7)
    act_before_decoding(pipeline_with_timeout, lambda _resize: gate.wait(WAIT_S))
    submit(pipeline_with_timeout, sink, path, path, path)
    results = sink.take(3)
    assert [type(result) for result in results.values()] == [Failed] * 3
    gate.set()
    classified(pipeline_with_timeout, sink, path)


def test_too_many_hanging_reads_fail_all_sinks(pipeline_with_timeout, tmp_path):
    reader, sink = HangingReader(), CollectingSink()
    read_with(pipeline_with_timeout, reader.open)

    def submit_hanging(count: int) -> None:
        for number in range(count):
            submit(pipeline_with_timeout, sink, draw(tmp_path / f"hangs{number}.png", number))

    try:
        with pytest.raises(ReadsTimedOut, match="Check the disk, the share"):
            submit_hanging(MOST_HUNG + 20)
        deliveries = [sink.received.get(timeout=WAIT_S) for _ in range(MOST_HUNG + 2)]
        assert isinstance(deliveries[-1], ReadsTimedOut)
    finally:
        reader.gate.set()


@pytest.mark.parametrize("fails", [False, True])
def test_an_idle_model_releases_memory_and_classifies_later_photos(model, tmp_path, monkeypatch, fails):
    def free_memory() -> None:
        model.memory_freed.set()
        if fails:
            raise RuntimeError("the device is gone")

    monkeypatch.setattr("tagger.pipeline.pipeline.IDLE_S", 0.05)
    monkeypatch.setattr(model, "free_memory", free_memory)
    sink = CollectingSink()
    pipeline = Pipeline({1: model}, LIMITS)
    for path in draw_photos(tmp_path, 2):
        assert model.memory_freed.wait(WAIT_S)
        model.memory_freed.clear()
        classified(pipeline, sink, path)
    pipeline.close()


# ── several passes at a time ──


AT_ONCE = 3


@pytest.fixture
def parallel_model() -> BrightModel:
    return BrightModel(AT_ONCE)


@pytest.fixture
def parallel_pipeline(parallel_model) -> Iterator[Pipeline]:
    """A pipeline with three model threads and eight readers."""
    pipeline = Pipeline({1: parallel_model}, replace(LIMITS, readers=8))
    yield pipeline
    parallel_model.gate.set()
    pipeline.close()


def test_concurrent_passes_are_limited_and_each_photo_gets_one_result(
    parallel_pipeline, parallel_model, tmp_path
):
    parallel_model.gate.clear()
    sink = CollectingSink()
    requests = [file_request(path, sink) for path in draw_photos(tmp_path, 60)]
    feeder = threading.Thread(target=lambda: [parallel_pipeline.submit(request) for request in requests])
    feeder.start()
    wait_until(lambda: parallel_model.inside == AT_ONCE)
    parallel_model.gate.set()
    results = sink.take(60)
    feeder.join(WAIT_S)
    assert parallel_model.most_inside == AT_ONCE
    assert sum(parallel_model.batches) == 60
    assert max(parallel_model.batches) <= parallel_model.batch_size
    for number, request in enumerate(requests):
        result = results[request]
        assert isinstance(result, Classified)
        red = next(p for p in result.results[1].predictions if p.position == 0)
        assert red.score == pytest.approx(number / 255, abs=0.01)
        status = file_of(request).stat()
        assert (result.width, result.height) == (40, 40)
        assert result.version == PhotoVersion(status.st_size, status.st_mtime_ns)
    assert sink.received.empty()
    assert parallel_pipeline._buffers.waiters == {}


def test_closing_waits_for_passes_in_progress(parallel_model, tmp_path):
    before = threading.active_count()
    pipeline = Pipeline({1: parallel_model}, replace(LIMITS, readers=8))
    parallel_model.gate.clear()
    inside, waiting = CollectingSink(), CollectingSink()
    paths = draw_photos(tmp_path, 30)
    submit(pipeline, inside, *paths[:12])
    wait_until(lambda: parallel_model.inside == AT_ONCE and not pipeline._buffers.reads)
    wait_until(lambda: not pipeline._buffers.requests)
    submit(pipeline, waiting, *paths[12:])
    closer = threading.Thread(target=pipeline.close)
    closer.start()
    wait_until(lambda: pipeline._buffers.closed)
    parallel_model.gate.set()
    closer.join(WAIT_S)
    assert not closer.is_alive()
    assert threading.active_count() == before
    assert any(isinstance(each, RuntimeError) for each in deliveries(waiting))
    with pytest.raises(RuntimeError, match="closed"):
        submit(pipeline, waiting, paths[0])
    delivered = [each for each in deliveries(inside) if not isinstance(each, Exception)]
    assert sum(len(results) for results in delivered) == sum(parallel_model.batches)


def deliveries(sink: CollectingSink) -> list[Sequence[RequestResult] | Exception]:
    return [sink.received.get() for _ in range(sink.received.qsize())]


class FakeReader:
    """A reader without files: a photo's name decides its result. Some reads take longer."""

    pixels = np.zeros((32, 32, 3), dtype=np.uint8)

    def __init__(self) -> None:
        self._moments = random.Random(1)

    def open(self, _source: PhotoSource, path: str) -> OpenPhoto:
        time.sleep(self._moments.choice((0, 0, 0.0003, 0.001)))
        if path.startswith("bad"):
            raise PhotoFailed(FailureKind.CORRUPT, "it is bad")
        return OpenPhoto(path, PhotoVersion(1, 1), CameraFacts(), lambda _resize: self._decoded(path))

    def _decoded(self, path: str) -> DecodedImage:
        if path.startswith("broken"):
            raise PhotoFailed(FailureKind.TRUNCATED, "it is broken")
        return DecodedImage(self.pixels, 32, 32)


@pytest.fixture
def no_timeouts(monkeypatch) -> Iterator[None]:
    """Without timeouts, a thread that is not notified sleeps forever."""
    monkeypatch.setattr(reader_pool, "READ_WAIT_S", 600.0)
    monkeypatch.setattr(reader_pool, "IDLE_S", 600.0)
    monkeypatch.setattr(reader_pool, "GIVE_UP_CHECK_S", 600.0)
    monkeypatch.setattr(reader_pool, "LINGER_S", 0.0005)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads are interrupted anywhere
    yield
    sys.setswitchinterval(interval_s)


@pytest.mark.usefixtures("no_timeouts")
def test_no_thread_waits_forever_whatever_is_submitted_and_withdrawn(parallel_pipeline):
    read_with(parallel_pipeline, FakeReader().open)
    in_threads([partial(_submit_and_withdraw, parallel_pipeline, seed) for seed in range(7)])
    assert parallel_pipeline._buffers.waiters == {}
    assert not parallel_pipeline._buffers.requests
    assert not parallel_pipeline._buffers.reads
    for seed in range(100, 103):  # without photos of others, which wake sleeping threads
        _submit_and_withdraw(parallel_pipeline, seed)


@pytest.mark.usefixtures("no_timeouts")
def test_withdrawing_unblocks_a_waiting_submit(pipeline, model, tmp_path):
    model.gate.clear()
    withdrawn_sink, other = CollectingSink(), CollectingSink()
    first, *paths = draw_photos(tmp_path, 21)
    buffered = pipeline._buffers
    submit(pipeline, other, first)
    wait_until(
        lambda: not (buffered.requests or buffered.reads or buffered.images)
    )  # the model has its first batch, of one
    submit(pipeline, other, *paths[:10])
    wait_until(lambda: not buffered.reads and not buffered.has_room())
    submit(pipeline, other, *paths[10:18])
    assert len(buffered.requests) == 2 * model.batch_size
    waiting = threading.Thread(target=submit, args=(pipeline, withdrawn_sink, *paths[18:]))
    waiting.start()
    wait_until(lambda: buffered._submittable._waiters)
    removed = pipeline.withdraw(other)
    waiting.join(WAIT_S)
    assert not waiting.is_alive()
    model.gate.set()
    withdrawn_sink.take(2)
    other.take(19 - len(removed))


def test_ready_photos_do_not_wait_for_a_hanging_read(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(reader_pool, "READ_WAIT_S", 0.02)
    reader, sink = HangingReader(), CollectingSink()
    read_with(pipeline, reader.open)
    slow = file_request(draw(tmp_path / "hangs.png", 1), sink)
    pipeline.submit(slow)
    ready = {file_request(path, sink) for path in draw_photos(tmp_path, 2)}
    for request in ready:
        pipeline.submit(request)
    assert sink.take(2).keys() == ready
    reader.gate.set()
    assert sink.take(1).keys() == {slow}


def _submit_and_withdraw(pipeline: Pipeline, seed: int) -> None:
    """Submit bursts of one to sixty photos, withdraw some, and wait for each burst."""
    rng = random.Random(seed)
    sink = CollectingSink(classified={f"classified {number}" for number in range(10)})
    for _ in range(60):
        open_requests = set()
        for _ in range(rng.choice((1, 2, 3, 4, 5, 9, 20, 60))):
            kind = rng.choice(("classified", "bad", "broken", "picture", "picture", "picture"))
            request = file_request(Path(f"{kind} {rng.randrange(10 if kind == 'classified' else 400)}"), sink)
            if pipeline.submit(request, give_up=lambda: rng.random() < 0.3):
                open_requests.add(request)
            if rng.random() < 0.03:
                open_requests -= set(pipeline.withdraw(sink))
        if rng.random() < 0.2:
            open_requests -= set(pipeline.withdraw(sink))
        results = sink.take(len(open_requests))
        assert results.keys() == open_requests
        for request in open_requests:
            expected = {
                "classified": AlreadyClassified,
                "bad": Failed,
                "broken": Failed,
                "picture": Classified,
            }
            assert isinstance(results[request], expected[file_of(request).name.partition(" ")[0]])
        assert sink.received.empty()


@dataclass
class SlowReads:
    """What a slow folder does to each read, and how many are in flight."""

    pause_s: float = 0.1
    in_flight: list[str] = field(default_factory=list)
    most_in_flight: int = 0


@dataclass(frozen=True, eq=False)
class SlowFolder(FolderSource):
    reads: SlowReads = field(default_factory=SlowReads)

    def read(self, path: str, *, max_bytes: int, settle_s: float = 0.0) -> PhotoBytes:
        reads = self.reads
        reads.in_flight.append(path)
        reads.most_in_flight = max(reads.most_in_flight, len(reads.in_flight))
        time.sleep(reads.pause_s)
        reads.in_flight.remove(path)
        return super().read(path, max_bytes=max_bytes, settle_s=settle_s)


def test_extra_readers_run_only_while_the_disk_is_slow(pipeline_with_timeout, tmp_path):
    readers = pipeline_with_timeout._readers
    folder, sink = SlowFolder(tmp_path), CollectingSink()
    paths = draw_photos(tmp_path, 200)
    submitted = 0
    while folder.reads.most_in_flight <= 4:
        pipeline_with_timeout.submit(Request(folder, paths[submitted % 200].name, sink))
        submitted += 1
    folder.reads.pause_s = 0.0
    while readers._extra_readers:
        pipeline_with_timeout.submit(Request(folder, paths[submitted % 200].name, sink))
        submitted += 1
    assert all(isinstance(result, Classified) for result in sink.take(submitted).values())
    wait_until(lambda: len(readers._threads) == 3)  # two readers and the watch thread


@dataclass(frozen=True, eq=False)
class RemoteStore(SlowFolder):
    extra_reads: ClassVar[int] = 40


def classify_all(pipeline: Pipeline, store: RemoteStore, count: int, size_bytes: int = 0) -> None:
    sink = CollectingSink()
    for path in draw_photos(store.folder, count):
        pipeline.submit(Request(store, path.name, sink, size_bytes=size_bytes))
    sink.take(count)


@pytest.fixture
def wide_pipeline(model) -> Iterator[Pipeline]:
    """A pipeline whose model takes more photos at once than readers read."""
    model.batch_size = 64
    pipeline = Pipeline({1: model}, LIMITS)
    yield pipeline
    pipeline.close()


def test_a_remote_store_is_read_by_as_many_readers_as_the_model_needs(wide_pipeline, tmp_path):
    store = RemoteStore(tmp_path, SlowReads(0.05))
    classify_all(wide_pipeline, store, 300)
    assert 12 < store.reads.most_in_flight <= 2 + 40


def test_large_photos_that_are_read_ahead_are_bounded_by_their_bytes(wide_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(reader_pool, "READ_BYTES", 100)
    store = RemoteStore(tmp_path, SlowReads(0.05))
    classify_all(wide_pipeline, store, 60, size_bytes=20)
    assert store.reads.most_in_flight <= 5
    classify_all(wide_pipeline, store, 10, size_bytes=1000)  # larger than the bound: one for each core
    assert store.reads.most_in_flight <= 5


def test_reads_that_share_a_slow_line_start_no_more_readers(wide_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(reader_pool, "SHARED_READ_S", 0.01)
    store = RemoteStore(tmp_path, SlowReads(0.02))
    classify_all(wide_pipeline, store, 40)
    assert store.reads.most_in_flight == 2
