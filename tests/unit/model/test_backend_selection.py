"""Backend selection, with fake backends that are wrong or broken, and with the real ones."""

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.models import ARTIFACT, SIZE, small_module, small_selector

from tagger.errors import SettingsInvalid
from tagger.model.backends import (
    Backend,
    BackendName,
    Conversions,
    Embeddings,
    Images,
    Outputs,
    Scores,
    is_out_of_memory,
)
from tagger.model.backends.openvino import OpenVinoBackend
from tagger.model.backends.selection import IMAGES, BackendSelector, generated_images
from tagger.model.backends.torchscript import TorchScriptBackend
from tagger.model.devices import Device
from tagger.model.model import Model, OutOfDeviceMemory

CPU = Device("cpu", "float32", 8)
GPU = Device("cuda", "float32", 256)


def half_brightness(images: Images) -> Scores:
    """Scores by the brightness of red, green and blue in the upper and lower half."""
    middle = images.shape[1] // 2
    halves = np.concatenate(
        [images[:, :middle].mean(axis=(1, 2)), images[:, middle:].mean(axis=(1, 2))], axis=1
    )
    chances = np.exp(halves / 16)
    scores: Scores = (0.9 * chances / chances.sum(axis=1, keepdims=True)).astype(np.float32)
    return scores


def mean_colours(images: Images) -> Embeddings:
    return images.mean(axis=(1, 2)).astype(np.float32)


@dataclass
class FakeBackend:
    """A backend that returns the outputs of `classify` and `embed`, and has memory for `max_batch` images."""

    name: BackendName
    classify: Callable[[Images], Scores] = half_brightness
    embed: Callable[[Images], Embeddings | None] = mean_colours
    max_batch: int = 10_000
    error: Callable[[], Exception] = MemoryError
    at_once: int = 1
    sizes: list[int] = field(default_factory=list)

    def forward(self, images: Images) -> Outputs:
        self.sizes.append(len(images))
        if len(images) > self.max_batch:
            raise self.error()
        return Outputs(self.classify(images), self.embed(images))

    def free_memory(self) -> None:
        pass


class FakeSelector(BackendSelector):
    """Selects among fake backends: the reference, and others in the order in which they are preferred."""

    def __init__(self, *backends: FakeBackend, device: Device = CPU) -> None:
        super().__init__(small_module, device, SIZE, 1, (), Conversions(ARTIFACT, "", None))
        self._backends: Mapping[BackendName, Backend] = {backend.name: backend for backend in backends}

    def load(self, name: BackendName) -> Backend:
        return self._backends[name]

    def _alternatives(self) -> list[BackendName]:
        return [name for name in self._backends if name != "torchscript"]


def chosen(*others: FakeBackend) -> BackendName:
    """The backend that is chosen of TorchScript and others."""
    return FakeSelector(FakeBackend("torchscript"), *others).choose(None)[0].name


def fails(_images: Images) -> Scores:
    raise RuntimeError("an operation it does not know")


@pytest.mark.parametrize(
    ("classify", "embed"),
    [
        pytest.param(half_brightness, lambda _images: None, id="no embeddings"),
        pytest.param(half_brightness, lambda images: mean_colours(images)[:, :2], id="fewer dimensions"),
        pytest.param(half_brightness, lambda images: mean_colours(255 - images) ** 4, id="other directions"),
        pytest.param(half_brightness, lambda images: mean_colours(images) * np.nan, id="not numbers"),
        pytest.param(lambda images: half_brightness(images[..., ::-1]), mean_colours, id="red for blue"),
        pytest.param(lambda images: half_brightness(images)[:, ::-1], mean_colours, id="another order"),
        pytest.param(lambda images: half_brightness(images) * np.nan, mean_colours, id="no scores"),
        pytest.param(lambda images: half_brightness(images) / 10, mean_colours, id="all would be unknown"),
        pytest.param(lambda images: half_brightness(images)[:, :-1], mean_colours, id="a label too few"),
        pytest.param(fails, mean_colours, id="it fails"),
    ],
)
def test_a_backend_with_other_scores_or_embeddings_is_not_chosen(classify, embed):
    assert chosen(FakeBackend("openvino", classify, embed)) == "torchscript"


def test_the_first_backend_that_agrees_is_chosen_and_small_gpus_get_small_passes():
    noise = np.random.default_rng(3).normal(1, 0.1, (IMAGES, 6)).astype(np.float32)
    similar = FakeBackend(
        "openvino",
        lambda images: half_brightness(images) * noise,
        lambda images: 1.001 * mean_colours(images) + 0.1,
    )
    assert chosen(FakeBackend("openvino-int8", fails), similar) == "openvino"
    assert chosen(FakeBackend("openvino-int8"), similar) == "openvino-int8"
    backend = FakeBackend("torchscript", max_batch=3)
    model, images = model_on("cuda", backend), generated_images(SIZE, 3)
    np.testing.assert_array_equal(model.outputs(images).scores, half_brightness(images))
    assert (model.batch_size, backend.sizes) == (2, [8, 4, 2, 2])
    backend.max_batch = 0
    with pytest.raises(OutOfDeviceMemory):
        model.outputs(images[:1])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("The following operation failed\nCUDA out of memory. Tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
)
def test_a_lack_of_memory_is_known_by_its_text(error):
    assert is_out_of_memory(error)


def model_on(kind: str, backend: FakeBackend, second_look: tuple[float, float] | None = None) -> Model:
    manifest = SimpleNamespace(input=SimpleNamespace(size=SIZE), second_look=second_look)
    return Model(backend, manifest, Device(kind, "float32", 8))


@pytest.mark.parametrize(("kind", "sizes"), [("cpu", [8, 3]), ("cuda", [8, 8])])
def test_all_passes_of_a_gpu_have_one_size(kind, sizes):
    backend, images = FakeBackend("torchscript"), generated_images(SIZE, 11)
    outputs = model_on(kind, backend).outputs(images)
    assert backend.sizes == sizes
    np.testing.assert_array_equal(outputs.scores, half_brightness(images))
    np.testing.assert_array_equal(outputs.embeddings, mean_colours(images))


def test_images_with_scores_in_a_range_are_looked_at_again_mirrored():
    images = generated_images(SIZE, 11)
    top = np.sort(half_brightness(images).max(axis=1))
    backend = FakeBackend("torchscript", sideways)
    outputs = model_on("cpu", backend, (float(top[3]), float(top[7]))).outputs(images)
    first, mirrored = sideways(np.stack(images)), sideways(np.stack(images)[:, :, ::-1])
    is_near = (first.max(axis=1) >= top[3]) & (first.max(axis=1) < top[7])
    assert 0 < is_near.sum() < len(images)
    expected = np.where(is_near[:, None], (first + mirrored) / 2, first)
    np.testing.assert_allclose(outputs.scores, expected, rtol=1e-6)
    np.testing.assert_array_equal(outputs.embeddings, mean_colours(images))
    assert backend.sizes == [8, 3, is_near.sum()]
    assert model_on("cpu", FakeBackend("torchscript"), (2.0, 3.0)).outputs(images).scores.shape == first.shape


def sideways(images: Images) -> Scores:
    left = np.asarray(images)[:, :, : SIZE // 4]
    return np.asarray((half_brightness(images) + half_brightness(left)) / 2)


def test_a_model_that_fails_in_the_selection_is_still_used(caplog):
    tested, _ = FakeSelector(FakeBackend("torchscript", fails), FakeBackend("openvino")).choose(None)
    assert tested.name == "torchscript"
    assert "the model fails on the generated images: an operation it does not know" in caplog.text


def wrapped(cause: Exception) -> Exception:
    error = SettingsInvalid(reason="backend: openvino cannot run this model")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (wrapped(PermissionError("conversions")), False),
        (wrapped(ImportError("libtbb.so.12: cannot open shared object file")), False),
        (wrapped(RuntimeError("std::bad_alloc")), False),
        (MemoryError(), False),
        (RuntimeError("an operation it does not know"), True),
        (wrapped(ValueError("the model has 3 convolutions, and ranges for 4")), True),
    ],
    ids=str,
)
def test_a_selection_is_final_unless_what_failed_can_pass(error, is_final, caplog):
    broken = FakeBackend("openvino", max_batch=0, error=lambda: error)
    other = FakeBackend("another")
    selection = FakeSelector(FakeBackend("torchscript"), broken, other).choose(None)
    assert selection == (other, is_final)
    assert ("is tried again at the next start" in caplog.text) is not is_final


@pytest.mark.parametrize("name", ["openvino", "torchscript"])
def test_a_configured_backend_is_used_without_comparison(name):
    selector = FakeSelector(FakeBackend("torchscript"), FakeBackend("openvino", fails))
    assert selector.choose(name)[0].name == name


def test_backends_are_loaded_by_name_and_openvino_on_processors_alone():
    selector = small_selector(at_once=2)
    for name, kind in (("torchscript", TorchScriptBackend), ("openvino", OpenVinoBackend)):
        backend = selector.load(name)
        assert isinstance(backend, kind)
        assert (backend.name, backend.at_once) == (name, 2)
    assert small_selector()._alternatives() == ["openvino"]
    on_gpu = small_selector(GPU)
    assert on_gpu._alternatives() == []
    with pytest.raises(SettingsInvalid, match="TAGGER_DEVICE=cpu"):
        on_gpu.load("openvino")


class Odd(torch.nn.Module):
    """A network with an operation that OpenVINO does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = images.float().mean(dim=(2, 3)) / 255
        turned = torch.linalg.eigvalsh(means.unsqueeze(2) * means.unsqueeze(1))
        return (turned.to(self.weight.dtype) @ self.weight).float().softmax(1)


def test_torchscript_runs_models_that_openvino_cannot_run(caplog):
    selector = small_selector(load=lambda: torch.jit.script(Odd().eval()))
    assert selector.choose(None)[0].name == "torchscript"
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == "openvino cannot run this model; a slower backend runs it"
    with pytest.raises(SettingsInvalid, match="openvino cannot run this model; leave it at auto"):
        selector.choose("openvino")
