"""Backends give the same outputs and embeddings, compile networks once, and run without OpenVINO."""

import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from blake3 import blake3
from support.artifacts import tiny_manifest
from support.disks import file_size_limit
from support.models import (
    ARTIFACT,
    DIMENSION,
    FLOAT32,
    LABELS,
    SIZE,
    ScoresOnly,
    SmallNetwork,
    shipped_module,
    shipped_size,
    small_module,
    small_selector,
)
from support.threads import in_threads

from tagger.errors import InstallationDamaged, ModelRefused, SettingsInvalid
from tagger.model import best_predictions, has_finite_length
from tagger.model.artifact import (
    BackgroundStatistics,
    Embedding,
    InputRule,
    Label,
    Manifest,
    Range,
    file_digest,
    read_background,
    read_manifest,
    save_artifact,
)
from tagger.model.backends import Backend, Conversions, Images, Outputs, Scores
from tagger.model.backends.openvino import SHIPPED, OpenVinoBackend, convert, prepare
from tagger.model.backends.selection import BackendSelector, Difference, generated_images
from tagger.model.backends.torchscript import TorchScriptBackend
from tagger.model.devices import Device
from tagger.model.model import load_model

SAME = 1e-4


def torchscript_backend(
    module: torch.jit.ScriptModule, device: Device, _size: int, at_once: int
) -> TorchScriptBackend:
    return TorchScriptBackend(module, device, at_once)


def openvino_backend(
    module: torch.jit.ScriptModule, device: Device, size: int, at_once: int
) -> OpenVinoBackend:
    return OpenVinoBackend(prepare(convert(module, size), device), "openvino", device, at_once)


Kind = Callable[[torch.jit.ScriptModule, Device, int, int], Backend]

KINDS: tuple[Kind, ...] = (torchscript_backend, openvino_backend)


@pytest.fixture(scope="module", params=KINDS)
def backend(request) -> Backend:
    made: Backend = request.param(small_module(), FLOAT32, SIZE, 3)
    return made


def outputs_of_module(images: Images) -> Outputs:
    with torch.inference_mode():
        scores, embeddings = small_module()(torch.from_numpy(images).permute(0, 3, 1, 2))
    return Outputs(scores.numpy(), embeddings.numpy())


def test_generated_images_get_the_outputs_of_the_module(backend):
    images = generated_images(SIZE, 64)
    scores, embeddings, _ = backend.forward(images)
    assert (scores.dtype, scores.shape) == (np.float32, (64, LABELS))
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (64, DIMENSION))
    expected = outputs_of_module(images)
    np.testing.assert_allclose(embeddings, expected.embeddings, rtol=0, atol=SAME)
    assert len(set(scores.argmax(axis=1))) > 1  # otherwise the comparison would prove nothing
    np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=SAME)


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_format_1_have_no_embeddings(kind):
    module = small_module(ScoresOnly())
    scores, embeddings, _ = kind(module, FLOAT32, SIZE, 1).forward(generated_images(SIZE, 3))
    assert (scores.shape, embeddings) == ((3, LABELS), None)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_selected(kind):
    images = generated_images(SIZE, 8)
    outputs = kind(small_module(), Device("cpu", "bfloat16", 8), SIZE, 1).forward(images)
    assert outputs.scores.dtype == np.float32
    assert Difference.between(outputs_of_module(images), outputs).is_small


def test_scores_stay_the_same_in_later_batches_and_after_memory_was_released(backend):
    first = backend.forward(generated_images(SIZE, 4)).scores
    copy = first.copy()
    backend.forward(255 - generated_images(SIZE, 4))
    np.testing.assert_array_equal(first, copy)
    images = generated_images(SIZE, 2)
    in_threads([backend.free_memory] * 4 + [partial(backend.forward, images)] * 4)
    np.testing.assert_allclose(
        backend.forward(images).scores, outputs_of_module(images).scores, rtol=0, atol=SAME
    )


def test_concurrent_threads_get_their_own_scores(backend):
    images = generated_images(SIZE, 40)
    expected = outputs_of_module(images).scores

    def classify(number: int) -> None:
        rng = random.Random(number)
        for _ in range(40):
            first = rng.randrange(0, 35)
            last = first + rng.randint(1, 5)
            scores = backend.forward(images[first:last]).scores
            np.testing.assert_allclose(scores, expected[first:last], rtol=0, atol=SAME)

    in_threads([partial(classify, number) for number in range(6)])  # more threads than concurrent passes


def test_the_engine_works_after_a_failed_pass():
    backend, images = openvino_backend(small_module(), FLOAT32, SIZE, 3), generated_images(SIZE, 2)
    for _ in range(4):  # more often than there are concurrent passes
        with pytest.raises(RuntimeError):
            backend.forward(np.zeros((1, SIZE + 1, SIZE, 3), dtype=np.uint8))
    np.testing.assert_allclose(
        backend.forward(images).scores, outputs_of_module(images).scores, rtol=0, atol=SAME
    )


def test_openvino_is_imported_without_its_telemetry():
    program = "import sys, tagger.model.backends.openvino; print(sys.modules['openvino_telemetry'])"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


@pytest.mark.slow
def test_openvino_is_imported_without_its_converter_until_that_is_called():
    program = """
import sys
from support.models import SIZE, small_module, small_selector
small_selector().load("openvino")
import openvino
assert "openvino.tools.ovc" not in sys.modules
assert openvino.convert_model(small_module(), input=[1, 3, SIZE, SIZE]).outputs
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    subprocess.run(command, env=environment, check=True)


@pytest.fixture(params=[0o000, 0o077], ids=oct)
def umask(request) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


class Start:
    """Starts of the OpenVINO backend that share a folder. `conversions` counts those that converted."""

    def __init__(self, folder: Path) -> None:
        self.conversions = 0
        self._conversions = Conversions(folder / "model.pt", "digest", folder)
        self.kept = self.file("openvino")

    def file(self, name: str) -> Path:
        file = self._conversions.compiled(name, FLOAT32)
        assert file is not None
        return file

    def __call__(self, name: str = "openvino", ranges: Sequence[Range] = ()) -> Scores:
        selector = BackendSelector(self._load, FLOAT32, SIZE, 1, ranges, self._conversions)
        backend = selector.load(name)
        selector.keep(backend)
        return backend.forward(generated_images(SIZE, 4)).scores

    def _load(self) -> torch.jit.ScriptModule:
        self.conversions += 1
        return small_module()


def flip_a_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": flip_a_bit,
    "nothing": lambda _data: b"",
    "not from OpenVINO": lambda _data: blake3(b"?").digest() + b"?",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_network_is_never_run_and_is_compiled_anew(tmp_path, damage, caplog):
    start = Start(tmp_path)
    expected = start()
    np.testing.assert_array_equal(start(), expected)
    assert start.conversions == 1
    start.kept.write_bytes(DAMAGES[damage](start.kept.read_bytes()))
    np.testing.assert_array_equal(start(), expected)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"the compiled model in {start.kept} is made anew: ")
    assert "\n" not in warning
    np.testing.assert_array_equal(start(), expected)
    assert start.conversions == 2


@pytest.mark.usefixtures("umask")
def test_networks_are_for_their_owner_whatever_the_umask(tmp_path):
    tmp_path.chmod(0o700)
    start = Start(tmp_path / "conversions")
    start()
    modes = [oct(path.stat().st_mode & 0o7777) for path in (start.kept.parent, start.kept)]
    assert modes == ["0o700", "0o600"]


def test_backends_and_precisions_have_networks_of_their_own(tmp_path):
    start = Start(tmp_path)
    start("openvino-int8", [(-1.0, 1.0)] * 3)
    start()
    assert start.conversions == 2
    assert {*tmp_path.iterdir()} == {start.kept, start.file("openvino-int8")}


def test_networks_of_other_versions_are_removed_and_one_that_others_can_change_is_not_used(tmp_path):
    (tmp_path / "digest-2025.1").touch()
    start = Start(tmp_path)
    start()
    assert {*tmp_path.iterdir()} == {start.kept}
    start.kept.chmod(0o666)
    start()
    assert start.conversions == 2


def test_a_full_disk_is_named_and_the_model_runs(tmp_path, caplog):
    start = Start(tmp_path)
    with file_size_limit(12_000):
        scores = start("openvino-int8", [(-1.0, 1.0)] * 3)
    assert scores.shape == (4, LABELS)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == "the compiled model is not kept, so each start takes longer: [Errno 27] File too large"
    assert not [*tmp_path.iterdir()]  # nothing takes the space that the database needs
    start()
    start()
    assert start.conversions == 2


@pytest.mark.parametrize("place", [40, 20_000])
def test_a_damaged_graph_of_the_shipped_model_is_named(tmp_path, monkeypatch, place):
    damaged = tmp_path / "landmarks.openvino.zip"
    data = bytearray((SHIPPED / damaged.name).read_bytes())
    data[place] ^= 4
    damaged.write_bytes(data)
    monkeypatch.setattr("tagger.model.backends.openvino.SHIPPED", tmp_path)
    conversions = Conversions(ARTIFACT, file_digest(ARTIFACT), None)
    selector = BackendSelector(shipped_module, FLOAT32, shipped_size(), 1, (), conversions)
    with pytest.raises(InstallationDamaged, match=f"{damaged}.*Install tagger again"):
        selector.load("openvino")
    backend, is_final = selector.choose(None)
    assert (backend.name, is_final) == ("torchscript", False)


def test_without_openvino_torchscript_runs_models(monkeypatch):
    monkeypatch.setattr("tagger.model.backends.selection.is_installed", lambda name: name != "openvino")
    selector = small_selector()
    with pytest.raises(SettingsInvalid, match="openvino has no package for this machine; set torchscript"):
        selector.choose("openvino")
    assert selector.choose(None)[0].name == "torchscript"


CPU = Device("cpu", "float32", 4)

EMBEDDING = Embedding(dimension=DIMENSION, layer="pooled features, square-rooted", background_photos=200)


@pytest.fixture(scope="module")
def background() -> BackgroundStatistics:
    return BackgroundStatistics.measured(
        np.random.default_rng(1).normal(1, 2, (200, DIMENSION)).astype(np.float32)
    )


@pytest.fixture
def artifact(tmp_path, background) -> Path:
    return written(tmp_path / "model.pt", background)


def manifest(embedding: Embedding | None = EMBEDDING, format_: int = 2) -> Manifest:
    names = [f"landmark-{number}" for number in range(LABELS)]
    labels = [Label(label=name, slug=name, name=name) for name in names]
    rule = InputRule(size=SIZE, short_side=SIZE)
    return tiny_manifest(labels, format=format_, name="small", input=rule, embedding=embedding)


def written(
    path: Path,
    background: BackgroundStatistics | None,
    embedding: Embedding = EMBEDDING,
    network: torch.nn.Module | None = None,
) -> Path:
    module = torch.jit.script((network or SmallNetwork()).eval())
    save_artifact(module, manifest(embedding), path, background=background)
    return path


def test_each_image_gets_its_scores_and_its_embedding_whatever_the_batch(artifact):
    images = list(generated_images(SIZE, 6))
    model = load_model(artifact, file_digest(artifact), read_manifest(artifact), CPU)
    outputs = model.predict(images)  # more than one batch
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        scores, embeddings = SmallNetwork().eval()(batch)
    np.testing.assert_allclose(outputs.scores, scores, atol=1e-5)
    np.testing.assert_allclose(outputs.embeddings, embeddings, atol=1e-5)


@pytest.mark.parametrize(
    ("embedding", "network", "reason"),
    [
        (EMBEDDING, ScoresOnly(), r"embeddings of shape None instead of \(2, 16\)"),
        (EMBEDDING.model_copy(update={"dimension": 8}), SmallNetwork(), r"\(2, 16\) instead of \(2, 8\)"),
    ],
    ids=["none", "another dimension"],
)
def test_a_model_must_return_the_embedding_that_its_manifest_promises(
    tmp_path, background, embedding, network, reason
):
    path = written(tmp_path / "model.pt", background, embedding, network)
    model = load_model(path, file_digest(path), read_manifest(path), CPU)
    with pytest.raises(ValueError, match=reason):
        model.predict(list(generated_images(SIZE, 2)))


@pytest.mark.parametrize(("format_", "embedding"), [(2, None), (1, EMBEDDING), (3, EMBEDDING)])
def test_a_manifest_has_the_fields_of_its_format(format_, embedding):
    with pytest.raises(ValueError, match="format"):
        manifest(embedding, format_)


def test_statistics_are_read_as_they_were_measured(artifact, background):
    read = read_background(artifact, file_digest(artifact), EMBEDDING)
    assert read.photos == 200
    np.testing.assert_array_equal(read.mean, background.mean)
    np.testing.assert_array_equal(read.covariance, background.covariance)
    np.testing.assert_array_equal(read.covariance, read.covariance.T)
    assert np.linalg.eigvalsh(read.covariance).min() > 0


def with_background(source: Path, data: bytes | None) -> Path:
    """A copy of the model file with other statistics, or without."""
    path = source.with_name("changed.pt")
    with zipfile.ZipFile(source) as original, zipfile.ZipFile(path, "w") as changed:
        for entry in original.infolist():
            is_statistics = entry.filename.endswith("background.f32")
            if not is_statistics or data is not None:
                changed.writestr(entry, data if is_statistics and data else original.read(entry))
    return path


def test_damaged_statistics_and_those_of_another_file_are_refused(artifact, background):
    digest, data = file_digest(artifact), background.to_bytes()
    not_numbers = np.full(len(data) // 4, np.nan, dtype="<f4").tobytes()
    for damaged in (None, data[:-4], data + bytes(4), not_numbers):
        path = with_background(artifact, damaged)
        with pytest.raises(ModelRefused, match="background statistics"):
            read_background(path, file_digest(path), EMBEDDING)
    artifact.write_bytes(artifact.read_bytes() + b" ")
    with pytest.raises(ModelRefused, match="digest differs"):
        read_background(artifact, digest, EMBEDDING)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, -1e20])
def test_an_embedding_without_a_finite_length_is_found(value):
    assert has_finite_length(np.array([0.5], np.float32))
    assert not has_finite_length(np.array([0, value], np.float32))


@pytest.mark.parametrize("count", [1, 5, 8, 20])
def test_the_best_of_any_number_of_labels_are_those_of_a_full_sort(count):
    scores = (np.random.default_rng(count).integers(0, 5, 3000) / 5).astype(
        np.float32
    )  # with many equal ones
    for each in (scores, scores[:8], np.append(scores, np.float32("nan"))):
        found = best_predictions(each, count, 0.5, is_damaged=False)
        assert [one.position for one in found] == (-each).argsort(kind="stable")[:count].tolist()
        assert [one.rank for one in found] == list(range(1, len(found) + 1))
