"""The TorchScript and the OpenVINO backend: what the module computes. OpenVINO: no telemetry, optional installation."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.shipped import ARTIFACT, decoded_photos, shipped_module, shipped_size
from support.small_network import DIMENSION, LABELS, SIZE, ScoresOnly, small_module
from support.threads import in_threads

from tagger.errors import SettingsInvalid
from tagger.model.backends.conversion import convert, store_conversion
from tagger.model.backends.openvino import CONVERSION, OpenVinoBackend
from tagger.model.backends.protocol import Backend, Conversions, Images, Outputs
from tagger.model.backends.selection import MAX_DISTANCE, BackendSelector, generated_images
from tagger.model.backends.torchscript import TorchScriptBackend
from tagger.model.devices import Device

FLOAT32 = Device("cpu", "float32", 8)
SAME = 1e-4


def openvino_backend(
    module: torch.jit.ScriptModule, device: Device, size: int, at_once: int
) -> OpenVinoBackend:
    return OpenVinoBackend(convert(module, size), device, size, at_once)


Kind = Callable[[torch.jit.ScriptModule, Device, int, int], Backend]
KINDS: tuple[Kind, ...] = (TorchScriptBackend, openvino_backend)


@pytest.fixture(scope="module", params=KINDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    made: Backend = request.param(small_module(), FLOAT32, SIZE, 3)
    return made


def outputs_of_module(images: Images) -> Outputs:
    with torch.inference_mode():
        scores, embeddings = small_module()(torch.from_numpy(images).permute(0, 3, 1, 2))
    return Outputs(scores.numpy(), embeddings.numpy())


def test_generated_images_get_the_outputs_of_the_module(backend: Backend) -> None:
    images = generated_images(SIZE, 64)
    scores, embeddings = backend.forward(images)
    assert (scores.dtype, scores.shape) == (np.float32, (64, LABELS))
    assert embeddings is not None
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (64, DIMENSION))
    expected = outputs_of_module(images)
    np.testing.assert_allclose(embeddings, expected.embeddings, rtol=0, atol=SAME)
    assert len(set(scores.argmax(axis=1))) > 1  # otherwise the comparison would prove nothing
    np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=SAME)


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_format_1_have_no_embeddings(kind: Kind) -> None:
    module = small_module(ScoresOnly())
    scores, embeddings = kind(module, FLOAT32, SIZE, 1).forward(generated_images(SIZE, 3))
    assert (scores.shape, embeddings) == ((3, LABELS), None)


@pytest.mark.slow
def test_real_photos_get_the_scores_of_torchscript(test_data: Path) -> None:
    photos = decoded_photos(test_data, 24)
    size = shipped_size()
    expected = TorchScriptBackend(shipped_module(), FLOAT32, size, at_once=1).forward(photos).scores
    scores = openvino_backend(shipped_module(), FLOAT32, size, 1).forward(photos).scores
    np.testing.assert_allclose(scores, expected, rtol=0, atol=SAME)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_within_the_distance_of_the_selection(kind: Kind) -> None:
    images = generated_images(SIZE, 8)
    scores = kind(small_module(), Device("cpu", "bfloat16", 8), SIZE, 1).forward(images).scores
    distances = np.abs(scores - outputs_of_module(images).scores).sum(axis=1)
    assert scores.dtype == np.float32
    assert distances.mean() / 2 <= MAX_DISTANCE


def test_batches_may_have_any_size_in_any_order(backend: Backend) -> None:
    images = generated_images(SIZE, 9)
    expected = outputs_of_module(images).scores
    counts = [*range(1, 10)] * 3
    random.Random(5).shuffle(counts)
    for count in counts:
        np.testing.assert_allclose(
            backend.forward(images[-count:]).scores, expected[-count:], rtol=0, atol=SAME
        )


def test_scores_are_not_overwritten_by_the_next_batch(backend: Backend) -> None:
    first = backend.forward(generated_images(SIZE, 4)).scores
    copy = first.copy()
    backend.forward(255 - generated_images(SIZE, 4))
    np.testing.assert_array_equal(first, copy)


def test_a_batch_filled_in_place_is_classified(backend: Backend) -> None:
    images = generated_images(SIZE, 3)
    batch = backend.empty(3)
    assert (batch.shape, batch.dtype) == ((3, SIZE, SIZE, 3), np.uint8)
    np.copyto(batch, images)
    first = backend.forward(batch).scores
    np.testing.assert_array_equal(first, backend.forward(images).scores)
    np.copyto(batch, 255 - images)  # the engine uses this memory only during the pass
    np.testing.assert_array_equal(first, backend.forward(images).scores)


def test_concurrent_threads_get_their_own_scores(backend: Backend) -> None:
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


def test_scores_stay_the_same_after_memory_was_released_from_several_threads(backend: Backend) -> None:
    images = generated_images(SIZE, 2)
    in_threads([backend.free_memory] * 4 + [partial(backend.forward, images)] * 4)
    np.testing.assert_allclose(
        backend.forward(images).scores, outputs_of_module(images).scores, rtol=0, atol=SAME
    )


def test_the_engine_works_after_a_failed_pass() -> None:
    backend, images = openvino_backend(small_module(), FLOAT32, SIZE, 3), generated_images(SIZE, 2)
    for _ in range(4):  # more often than there are concurrent passes
        with pytest.raises(RuntimeError):
            backend.forward(np.zeros((1, SIZE + 1, SIZE, 3), dtype=np.uint8))
    np.testing.assert_allclose(
        backend.forward(images).scores, outputs_of_module(images).scores, rtol=0, atol=SAME
    )


WATCHED = """
import json, os, resource, sys
from pathlib import Path

told = []
WATCHED = ("os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "subprocess.Popen", "socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, args: told.append(event) if event in WATCHED else None)

import torch
from tagger.model.artifact import file_digest, load_module
from tagger.model.devices import Device
from tagger.model.backends.selection import generated_images
from tagger.model.backends.conversion import convert
from tagger.model.backends.openvino import OpenVinoBackend

path = Path(sys.argv[1])
size = int(sys.argv[2])
device = Device("cpu", "float32", 8)
model = convert(load_module(path, file_digest(path)), size)
scores = OpenVinoBackend(model, device, size, 2).forward(generated_images(size, 2)).scores
print(json.dumps({
    "scores": scores.shape[0],
    "told": told,
    "children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    "telemetry": [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module],
}))
"""


def test_openvino_is_imported_without_its_telemetry() -> None:
    """Also where the conversion is imported first."""
    program = "import sys, tagger.model.backends.conversion; print(sys.modules['openvino_telemetry'])"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


@pytest.mark.slow
def test_openvino_sends_no_telemetry_and_leaves_no_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    without = {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "PYTHONPATH"}
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            WATCHED,
            str(ARTIFACT),
            str(shipped_size()),
        ],
        cwd=tmp_path,
        env=inherited | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert seen == {"scores": 2, "told": [], "children": 0, "telemetry": []}
    assert [*home.rglob("*")] == []


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_a_damaged_conversion_is_made_anew_and_those_of_other_versions_are_removed(
    tmp_path: Path, suffix: str
) -> None:
    conversions = Conversions.of(tmp_path / "model.pt", "digest", tmp_path)
    assert conversions.folder is not None
    loads: list[None] = []

    def load() -> torch.jit.ScriptModule:
        loads.append(None)
        return small_module()

    (tmp_path / "digest-2024.1").mkdir()
    selector = BackendSelector(load, FLOAT32, SIZE, at_once=1, conversions=conversions)
    expected = selector.load("openvino").forward(generated_images(SIZE, 4)).scores
    selector.load("openvino")
    assert len(loads) == 1
    damaged = (conversions.folder / CONVERSION).with_suffix(suffix)
    damaged.write_bytes(damaged.read_bytes()[:1000])
    scores = selector.load("openvino").forward(generated_images(SIZE, 4)).scores
    np.testing.assert_allclose(scores, expected, atol=1e-3)  # stored weights have half precision
    selector.load("openvino")
    assert len(loads) == 2
    assert [*tmp_path.iterdir()] == [conversions.folder]


def test_a_conversion_that_another_process_is_writing_stays(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as partial:
        store_conversion(convert(small_module(), SIZE), tmp_path / "digest-2026.1")
        assert Path(partial).is_dir()


def test_without_openvino_torchscript_runs_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.model.backends.selection.is_installed", lambda name: name != "openvino")
    selector = BackendSelector(small_module, FLOAT32, SIZE, at_once=1)
    with pytest.raises(SettingsInvalid, match="openvino has no package for this machine; set torchscript"):
        selector.choose("openvino", None)
    assert selector.choose(None, 4).backend.name == "torchscript"
