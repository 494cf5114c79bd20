"""The pipeline with a model whose device decodes plain JPEGs: routing, failures, bounds."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from support.decoding import local_reader, read_with
from test_pipeline import WAIT_S, BrightModel, CollectingSink, draw, file_of, file_request, wait_until

from tagger.errors import FailureKind, PhotoFailed
from tagger.images import DecodedImage, Pixels, Resize
from tagger.images.plain_jpeg import PlainJpeg
from tagger.inference.backends.device_jpeg import JpegDecoder
from tagger.photos.source import FolderSource, PhotoSource
from tagger.pipeline import buffers
from tagger.pipeline.pipeline import Pipeline
from tagger.pipeline.requests import Limits, OpenPhoto
from tagger.pipeline.results import Classified, Failed

RESIZE = Resize(size=32, short_side=32)
LIMITS = Limits(readers=2, max_bytes=10**7, max_pixels=10**7)


class CountingDecoder(JpegDecoder):
    """The real decoder; a test can make it fail, or skip photos of one width. Records the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__("cpu", RESIZE)
        self.batch_sizes: list[int] = []
        self.unknown_width = 0
        self.trouble: Exception | None = None

    def decode(self, photos: Sequence[PlainJpeg]) -> list[Pixels | None]:
        self.batch_sizes.append(len(photos))
        if self.trouble:
            raise self.trouble
        images = super().decode(photos)
        pairs = zip(photos, images, strict=True)
        return [None if photo.width == self.unknown_width else image for photo, image in pairs]


@pytest.fixture
def decoder() -> CountingDecoder:
    return CountingDecoder()


@pytest.fixture
def model(decoder: CountingDecoder) -> BrightModel:
    model = BrightModel()
    model.decoder = decoder
    return model


@pytest.fixture
def pipeline(model: BrightModel) -> Iterator[Pipeline]:
    pipeline = Pipeline(model, LIMITS)  # type: ignore[arg-type]
    yield pipeline
    model.gate.set()
    pipeline.close()


def jpeg(path: Path, red: int, size: tuple[int, int] = (100, 80), orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (red, 0, 0)).save(path, quality=95, exif=exif)
    return path


def classify(pipeline: Pipeline, paths: Sequence[Path]) -> list[object]:
    sink = CollectingSink()
    requests = [file_request(path, sink) for path in paths]
    for request in requests:
        pipeline.submit(request)
    results = sink.take(len(requests))
    return [results[request] for request in requests]


def red_of(result: object) -> float:
    assert isinstance(result, Classified), result
    return next(each.score for each in result.predictions if each.position == 0) * 255


def test_plain_jpegs_are_decoded_by_the_device_and_all_others_by_the_readers(
    pipeline: Pipeline, decoder: CountingDecoder, tmp_path: Path
) -> None:
    paths = [
        jpeg(tmp_path / f"{n}.jpg", 10 * n) if n % 2 else draw(tmp_path / f"{n}.png", 10 * n)
        for n in range(20)
    ]
    for number, result in enumerate(classify(pipeline, paths)):
        assert red_of(result) == pytest.approx(10 * number, abs=4)
    assert sum(decoder.batch_sizes) == 10


def test_size_is_that_of_the_upright_photo(pipeline: Pipeline, tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg", 50, (100, 80), orientation=6)
    (result,) = classify(pipeline, [path])
    assert isinstance(result, Classified)
    assert (result.width, result.height) == (80, 100)


def test_jpegs_that_the_device_cannot_decode_are_decoded_on_the_cpu(
    pipeline: Pipeline, decoder: CountingDecoder, tmp_path: Path
) -> None:
    decoder.unknown_width = 120
    paths = [jpeg(tmp_path / f"{n}.jpg", 10 * n, (100 if n % 3 else 120, 80)) for n in range(12)]
    for number, result in enumerate(classify(pipeline, paths)):
        assert red_of(result) == pytest.approx(10 * number, abs=4)


def test_a_failing_device_decoder_fails_no_photo(
    pipeline: Pipeline, decoder: CountingDecoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    decoder.trouble = RuntimeError("the device is gone")
    paths = [jpeg(tmp_path / f"{n}.jpg", 20 * n) for n in range(8)]
    for number, result in enumerate(classify(pipeline, paths)):
        assert red_of(result) == pytest.approx(20 * number, abs=4)
    assert "the device failed to decode" in caplog.text


def test_a_broken_decoder_is_not_used(pipeline: Pipeline, decoder: CountingDecoder, tmp_path: Path) -> None:
    decoder.works = False
    assert red_of(classify(pipeline, [jpeg(tmp_path / "a.jpg", 70)])[0]) == pytest.approx(70, abs=4)
    assert decoder.batch_sizes == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PhotoFailed(FailureKind.CORRUPT, "it is damaged"), FailureKind.CORRUPT),
        (RuntimeError("unexpected"), FailureKind.INTERNAL),
    ],
)
def test_an_undecodable_photo_fails_alone_with_its_copies(
    error: Exception,
    kind: FailureKind,
    pipeline: Pipeline,
    decoder: CountingDecoder,
    model: BrightModel,
    tmp_path: Path,
) -> None:
    decoder.unknown_width = 120

    def open_photo(source: PhotoSource, path: str) -> OpenPhoto:
        photo = local_reader(RESIZE, LIMITS, lambda: True)(source, path)
        return replace(photo, decode=fail) if path.startswith("broken") else photo

    def fail() -> DecodedImage:
        raise error

    read_with(pipeline, open_photo)
    model.gate.clear()
    first = [jpeg(tmp_path / f"held{n}.jpg", n) for n in range(4)]
    broken = [jpeg(tmp_path / f"broken{n}.jpg", 200, (120, 80)) for n in range(3)]
    fine = [jpeg(tmp_path / f"fine{n}.jpg", 100 + n) for n in range(3)]
    sink = CollectingSink()
    requests = [file_request(path, sink) for path in [*first, *broken, *fine]]
    for request in requests:
        pipeline.submit(request)
    model.gate.set()
    results = sink.take(len(requests))
    for request in requests:
        result = results[request]
        if file_of(request) in broken:
            assert isinstance(result, Failed)
            assert result.failure.kind is kind
            assert result.digest
        else:
            assert isinstance(result, Classified)


def test_encoded_bytes_are_bounded_and_a_batch_does_not_wait_for_more(
    pipeline: Pipeline,
    model: BrightModel,
    decoder: CountingDecoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = [jpeg(tmp_path / f"{n:02}.jpg", n, (400, 300)) for n in range(40)]
    for path in paths:  # as motion photos have a video behind the image, which stays in memory too
        path.write_bytes(path.read_bytes() + bytes(50_000))
    largest = max(path.stat().st_size for path in paths)
    monkeypatch.setattr(buffers, "ENCODED_BYTES", 2 * largest)
    monkeypatch.setattr(buffers, "READ_WAIT_S", WAIT_S)  # a batch that waits for another photo would time out
    model.gate.clear()
    sink = CollectingSink()
    requests = [file_request(path, sink) for path in paths]
    feeder = threading.Thread(target=lambda: [pipeline.submit(request) for request in requests])
    feeder.start()
    wait_until(lambda: decoder.batch_sizes and pipeline._buffers._encoded_bytes >= 2 * largest * 0.9)
    assert pipeline._buffers._encoded_bytes <= (2 + LIMITS.readers) * largest
    model.gate.set()
    assert len(sink.take(len(requests))) == 40
    feeder.join()
    assert pipeline._buffers._encoded_bytes == 0


def test_the_photo_the_model_fails_on_is_found_among_those_the_device_decoded(
    pipeline: Pipeline, model: BrightModel, tmp_path: Path
) -> None:
    def outputs(images: Sequence[Pixels]) -> object:
        if any(image[0, 0, 0] > 200 for image in images):
            raise RuntimeError("it cannot stand red")
        return BrightModel.outputs(model, images)

    model.outputs = outputs  # type: ignore[method-assign, assignment]
    results = classify(pipeline, [jpeg(tmp_path / f"{n}.jpg", 255 if n == 5 else n) for n in range(8)])
    assert [isinstance(result, Failed) for result in results] == [n == 5 for n in range(8)]


def test_plain_jpegs_are_detected_only_if_the_device_decodes(tmp_path: Path) -> None:
    jpeg(tmp_path / "a.jpg", 9)
    source = FolderSource(tmp_path)
    assert local_reader(RESIZE, LIMITS)(source, "a.jpg").jpeg is None
    assert local_reader(RESIZE, LIMITS, lambda: True)(source, "a.jpg").jpeg is not None
