"""Backend selection, with fake backends that are slow, wrong or broken, and with the real ones."""

import errno
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from support.small_network import SIZE, small_module

from tagger.errors import SettingsInvalid
from tagger.model.backends.openvino import OpenVinoBackend
from tagger.model.backends.protocol import (
    Backend,
    BackendChoice,
    BackendName,
    Embeddings,
    Images,
    Outputs,
    Scores,
)
from tagger.model.backends.selection import CPU_BATCHES, GPU_BATCHES, BackendSelector
from tagger.model.backends.torchscript import TorchScriptBackend
from tagger.model.devices import Device

CPU = Device("cpu", "float32", 8)
GPU = Device("cuda", "float32", 256)
SLOW_MS = 1.0
"""CPU time per photo, long enough that other work of the process does not matter."""


def half_brightness(images: Images) -> Scores:
    """Scores that depend on colours and sides: the brightness of red, green and blue in the upper and lower half."""
    middle = images.shape[1] // 2
    halves = np.concatenate(
        [images[:, :middle].mean(axis=(1, 2)), images[:, middle:].mean(axis=(1, 2))], axis=1
    )
    chances = np.exp(halves / 16)
    scores: Scores = (0.9 * chances / chances.sum(axis=1, keepdims=True)).astype(np.float32)
    return scores


@dataclass
class FakeBackend:
    """A backend that takes `ms` of CPU time, returns the scores of `classify`, and has memory for `max_batch` images."""

    name: BackendName
    classify: Callable[[Images], Scores] = half_brightness
    embed: Callable[[Images], Embeddings | None] = lambda _images: None
    ms: Callable[[int], float] = lambda _count: SLOW_MS
    max_batch: int = 10_000
    error: Callable[[], Exception] = MemoryError
    at_once: int = 1
    batches: list[int] = field(default_factory=list)
    freed: int = 0

    def empty(self, count: int) -> Images:
        return np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)

    def forward(self, images: Images) -> Outputs:
        until = time.thread_time() + self.ms(len(images)) * len(images) / 1000
        if len(images) not in self.batches:
            self.batches.append(len(images))
        if len(images) > self.max_batch:
            raise self.error()
        while time.thread_time() < until:
            pass
        return Outputs(self.classify(images), self.embed(images))

    def free_memory(self) -> None:
        self.freed += 1


class FakeSelector(BackendSelector):
    """Selects among fake backends."""

    def __init__(self, *backends: FakeBackend, device: Device = CPU) -> None:
        super().__init__(small_module, device, SIZE, at_once=1)
        self._backends: Mapping[BackendName, Backend] = {backend.name: backend for backend in backends}

    def load(self, name: BackendName) -> Backend:
        return self._backends[name]

    def _alternatives(self) -> list[BackendName]:
        return [name for name in self._backends if name != "torchscript"]


def choose_backend(other: FakeBackend) -> BackendChoice:
    """The choice between TorchScript and another backend."""
    return _choice(FakeSelector(FakeBackend("torchscript"), other))


def _choice(selector: BackendSelector) -> BackendChoice:
    trial = selector.choose(None, 4)
    return BackendChoice(trial.backend.name, trial.batch_size)


def fast(classify: Callable[[Images], Scores] = half_brightness) -> FakeBackend:
    return FakeBackend("openvino", classify, ms=lambda _count: SLOW_MS / 5)


@pytest.mark.parametrize("share", [1 / 5, 1 / 1.25])
def test_a_faster_backend_that_agrees_is_chosen(share: float) -> None:
    other = FakeBackend("openvino", ms=lambda _count: SLOW_MS * share)
    assert choose_backend(other) == BackendChoice("openvino", 4)


@pytest.mark.parametrize("share", [1 / 1.04, 1.0, 3.0])
def test_a_backend_that_is_not_clearly_faster_is_not_chosen(share: float) -> None:
    assert choose_backend(FakeBackend("openvino", ms=lambda _count: SLOW_MS * share)) == BackendChoice(
        "torchscript", 4
    )


def fails(_images: Images) -> Scores:
    raise RuntimeError("an operation it does not know")


def mean_colours(images: Images) -> Embeddings:
    return images.mean(axis=(1, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("embed", "chosen"),
    [
        pytest.param(lambda images: 1.001 * mean_colours(images) + 0.1, "openvino", id="much the same"),
        pytest.param(lambda _images: None, "torchscript", id="none"),
        pytest.param(lambda images: mean_colours(images)[:, :2], "torchscript", id="fewer dimensions"),
        pytest.param(lambda images: mean_colours(255 - images) ** 2, "torchscript", id="other directions"),
        pytest.param(lambda images: mean_colours(images) * np.nan, "torchscript", id="not numbers"),
    ],
)
def test_a_backend_is_chosen_only_if_its_embeddings_agree(
    embed: Callable[[Images], Embeddings | None], chosen: BackendName
) -> None:
    other = FakeBackend("openvino", embed=embed, ms=lambda _count: SLOW_MS / 5)
    selector = FakeSelector(FakeBackend("torchscript", embed=mean_colours), other)
    assert _choice(selector).backend == chosen


@pytest.mark.parametrize(
    "classify",
    [
        pytest.param(lambda images: half_brightness(images[..., ::-1]), id="red for blue"),
        pytest.param(lambda images: half_brightness(images[:, ::-1]), id="upside down"),
        pytest.param(lambda images: half_brightness(images)[::-1], id="photos in another order"),
        pytest.param(lambda images: half_brightness(images)[:, ::-1], id="labels in another order"),
        pytest.param(lambda images: np.full_like(half_brightness(images), np.nan), id="no numbers"),
        pytest.param(lambda images: half_brightness(images) / 10, id="scaled: all photos would be unknown"),
        pytest.param(lambda images: np.full_like(half_brightness(images), 0.1), id="the same for all"),
        pytest.param(lambda images: half_brightness(images)[:, :-1], id="a label too few"),
        pytest.param(lambda images: half_brightness(images)[:1], id="scores of one photo only"),
        pytest.param(fails, id="it fails"),
    ],
)
def test_a_wrong_backend_is_not_chosen_however_fast(classify: Callable[[Images], Scores]) -> None:
    assert choose_backend(fast(classify)) == BackendChoice("torchscript", 4)


def test_small_differences_of_a_lower_precision_are_accepted() -> None:
    noise = np.random.default_rng(3).normal(1, 0.01, (8, 6)).astype(np.float32)
    assert choose_backend(
        fast(lambda images: half_brightness(images) * noise[: len(images)])
    ) == BackendChoice("openvino", 4)


@pytest.mark.parametrize(
    ("name", "embed", "chosen"),
    [
        ("openvino", mean_colours, "torchscript"),
        ("openvino-int8", mean_colours, "openvino-int8"),
        ("openvino-int8", lambda images: mean_colours(255 - images) ** 2, "torchscript"),
    ],
)
def test_scores_of_eight_bits_may_differ_more_if_embeddings_agree(
    name: BackendName, embed: Callable[[Images], Embeddings], chosen: BackendName
) -> None:
    def classify(images: Images) -> Scores:
        return 0.85 * half_brightness(images) + np.float32(0.15 * 0.9 / 6)

    other = FakeBackend(name, classify, embed, ms=lambda _count: SLOW_MS / 5)
    assert _choice(FakeSelector(FakeBackend("torchscript", embed=mean_colours), other)).backend == chosen


@pytest.mark.parametrize("name", ["openvino", "openvino-int8"])
def test_labels_in_another_order_are_found_in_every_precision(name: BackendName) -> None:
    other = FakeBackend(name, lambda images: half_brightness(images)[:, ::-1], ms=lambda _count: SLOW_MS / 5)
    assert choose_backend(other).backend == "torchscript"


def test_the_fastest_batch_size_is_chosen_unless_one_is_set() -> None:
    def best_with_8(count: int) -> float:
        return SLOW_MS if count == 8 else 2 * SLOW_MS

    backend = FakeBackend("torchscript", ms=best_with_8)
    assert FakeSelector(backend).choose(None, None).batch_size == 8
    assert backend.batches == [*CPU_BATCHES]
    fixed = FakeBackend("torchscript", ms=best_with_8)
    assert FakeSelector(fixed).choose(None, 5).batch_size == 5
    assert fixed.batches == [5]


@pytest.mark.parametrize(
    "error",
    [MemoryError, lambda: RuntimeError("The following operation failed\nCUDA out of memory. Tried")],
)
def test_out_of_memory_ends_the_search_for_a_batch_size(error: Callable[[], Exception]) -> None:
    backend = FakeBackend("torchscript", ms=lambda _count: 0.01, max_batch=100, error=error)
    tested = FakeSelector(backend, device=GPU).choose(None, None)
    assert tested.batch_size in GPU_BATCHES[:2]
    assert backend.batches == [*GPU_BATCHES[:3]]
    assert backend.freed == 1


@pytest.mark.parametrize("name", [None, "torchscript"])
def test_a_model_too_large_for_the_selection_gets_the_default_batch_size(
    name: BackendName | None,
) -> None:
    backend = FakeBackend("torchscript", max_batch=2)
    tested = FakeSelector(backend).choose(name, None)
    assert (tested.backend, tested.batch_size) == (backend, CPU.batch_size)


def test_a_model_that_fails_in_the_selection_is_still_used(caplog: pytest.LogCaptureFixture) -> None:
    tested = FakeSelector(FakeBackend("torchscript", fails), fast()).choose(None, 16)
    assert (tested.backend.name, tested.batch_size) == ("torchscript", 16)
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
def test_a_selection_is_final_unless_what_failed_can_pass(
    error: Exception, is_final: bool, caplog: pytest.LogCaptureFixture
) -> None:
    broken = FakeBackend("openvino", max_batch=0, error=lambda: error)
    slow = FakeBackend("openvino-int8", ms=lambda _count: 3 * SLOW_MS)
    trial = FakeSelector(FakeBackend("torchscript"), broken, slow).choose(None, 4)
    assert (trial.backend.name, trial.is_final) == ("torchscript", is_final)
    assert ("is tried again at the next start" in caplog.text) is not is_final


def test_a_configured_backend_is_used_without_comparison() -> None:
    slow = FakeBackend("openvino", ms=lambda _count: 2 * SLOW_MS)
    tested = FakeSelector(FakeBackend("torchscript"), slow).choose("openvino", 4)
    assert tested.backend is slow
    torchscript = FakeBackend("torchscript")
    assert FakeSelector(torchscript, fast()).choose("torchscript", 4).backend is torchscript


def test_backends_are_loaded_by_name() -> None:
    selector = BackendSelector(small_module, CPU, SIZE, at_once=2)
    for name, kind in (("torchscript", TorchScriptBackend), ("openvino", OpenVinoBackend)):
        backend = selector.load(name)  # type: ignore[arg-type]
        assert isinstance(backend, kind)
        assert (backend.name, backend.at_once) == (name, 2)
    assert BackendSelector(small_module, CPU, SIZE, at_once=1)._alternatives() == ["openvino"]
    assert BackendSelector(small_module, GPU, SIZE, at_once=1)._alternatives() == []


def test_openvino_is_refused_on_unsupported_devices() -> None:
    with pytest.raises(SettingsInvalid, match="TAGGER_DEVICE=cpu"):
        BackendSelector(small_module, GPU, SIZE, at_once=1).load("openvino")


class Odd(torch.nn.Module):
    """A network with an operation that OpenVINO does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = images.float().mean(dim=(2, 3)) / 255
        turned = torch.linalg.eigvalsh(means.unsqueeze(2) * means.unsqueeze(1))
        return (turned.to(self.weight.dtype) @ self.weight).float().softmax(1)


def test_torchscript_runs_models_that_openvino_cannot_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    selector = BackendSelector(lambda: torch.jit.script(Odd().eval()), CPU, SIZE, at_once=1)
    assert _choice(selector) == BackendChoice("torchscript", 4)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == "openvino cannot run this model; torchscript runs it"
    with pytest.raises(SettingsInvalid, match="openvino cannot run this model; leave it at auto"):
        selector.choose("openvino", 4)
