"""The self-test, with runners that are slow, wrong or broken as the test needs, and with the real ones."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from small_network import SIZE, small_module

from tagger.devices import Device
from tagger.errors import SettingsInvalid
from tagger.runners import Images, Scores
from tagger.runners.choosing import CPU_BATCHES, GPU_BATCHES, Choosing, pictures
from tagger.runners.interface import Plan, Runner, RunnerName
from tagger.runners.openvino import OpenVinoRunner
from tagger.runners.torchscript import TorchScriptRunner

CPU = Device("cpu", torch.float32, 8)
GPU = Device("cuda", torch.float32, 256)
SLOW_MS = 1.0
"""Of a photo: so much that what else the process does does not matter beside it."""


def quarters(images: Images) -> Scores:
    """Scores that tell colours and sides apart: what is bright in red, green and blue, above and below."""
    middle = images.shape[1] // 2
    halves = np.concatenate(
        [images[:, :middle].mean(axis=(1, 2)), images[:, middle:].mean(axis=(1, 2))], axis=1
    )
    chances = np.exp(halves / 16)
    scores: Scores = (0.9 * chances / chances.sum(axis=1, keepdims=True)).astype(np.float32)
    return scores


@dataclass
class Made:
    """A runner that takes so much processor time, gives what `look` gives, and has memory for `most` images."""

    name: RunnerName
    look: Callable[[Images], Scores] = quarters
    ms: Callable[[int], float] = lambda _count: SLOW_MS
    most: int = 10_000
    trouble: Callable[[], Exception] = MemoryError
    at_once: int = 1
    batches: list[int] = field(default_factory=list)
    freed: int = 0

    def empty(self, count: int) -> Images:
        return np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)

    def forward(self, images: Images) -> Scores:
        until = time.thread_time() + self.ms(len(images)) * len(images) / 1000
        if len(images) not in self.batches:
            self.batches.append(len(images))
        if len(images) > self.most:
            raise self.trouble()
        while time.thread_time() < until:
            pass
        return self.look(images)

    def free_memory(self) -> None:
        self.freed += 1


class ChoosingAmong(Choosing):
    """Among runners that the test has made."""

    def __init__(self, *runners: Made, device: Device = CPU) -> None:
        super().__init__(small_module, device, SIZE, at_once=1)
        self._made: Mapping[RunnerName, Runner] = {runner.name: runner for runner in runners}

    def make(self, name: RunnerName) -> Runner:
        return self._made[name]

    def _others(self) -> list[RunnerName]:
        return [name for name in self._made if name != "torchscript"]


def chosen(other: Made) -> Plan:
    """What is chosen where this one is there beside TorchScript."""
    return ChoosingAmong(Made("torchscript"), other).choose(None, 4).plan


def fast(look: Callable[[Images], Scores] = quarters) -> Made:
    return Made("openvino", look, lambda _count: SLOW_MS / 5)


def test_another_runner_that_agrees_and_is_clearly_faster_is_taken() -> None:
    assert chosen(fast()) == Plan("openvino", 4)


@pytest.mark.parametrize("share", [1 / 1.15, 1.0, 3.0])
def test_one_that_is_hardly_faster_or_slower_is_not_taken(share: float) -> None:
    assert chosen(Made("openvino", ms=lambda _count: SLOW_MS * share)) == Plan("torchscript", 4)


def fails(_images: Images) -> Scores:
    raise RuntimeError("an operation it does not know")


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda images: quarters(images[..., ::-1]), id="red for blue"),
        pytest.param(lambda images: quarters(images[:, ::-1]), id="upside down"),
        pytest.param(lambda images: quarters(images)[::-1], id="photos in another order"),
        pytest.param(lambda images: quarters(images)[:, ::-1], id="labels in another order"),
        pytest.param(lambda images: np.full_like(quarters(images), np.nan), id="no numbers"),
        pytest.param(lambda images: np.full_like(quarters(images), 0.1), id="the same for all"),
        pytest.param(lambda images: np.zeros_like(quarters(images)), id="nothing"),
        pytest.param(lambda images: quarters(images)[:, :-1], id="a label too few"),
        pytest.param(lambda images: quarters(images)[:1], id="scores of one photo only"),
        pytest.param(lambda images: quarters(images)[0], id="no batch"),
        pytest.param(lambda images: quarters(images)[:, :, None], id="a dimension too many"),
        pytest.param(fails, id="it fails"),
    ],
)
def test_one_that_is_wrong_is_not_taken_however_fast(look: Callable[[Images], Scores]) -> None:
    assert chosen(fast(look)) == Plan("torchscript", 4)


def test_one_that_gives_scores_of_one_photo_only_is_not_taken_though_torchscript_says_the_same_of_all() -> (
    None
):
    def much_the_same(images: Images) -> Scores:
        return np.full((len(images), 6), 0.15, dtype=np.float32)

    truth = Made("torchscript", much_the_same)
    other = fast(lambda images: much_the_same(images)[:1])
    assert ChoosingAmong(truth, other).choose(None, 4).runner.name == "torchscript"


def test_one_that_gives_a_tenth_of_each_score_is_not_taken() -> None:
    """All of its photos would be unknown."""
    assert chosen(fast(lambda images: quarters(images) / 10)) == Plan("torchscript", 4)


def test_small_differences_as_a_lower_precision_has_them_are_no_reason_against_it() -> None:
    noise = np.random.default_rng(3).normal(1, 0.01, (8, 6)).astype(np.float32)
    assert chosen(fast(lambda images: quarters(images) * noise[: len(images)])) == Plan("openvino", 4)


def test_the_least_costly_batch_size_is_chosen_and_one_that_is_given_is_obeyed() -> None:
    def best_with_8(count: int) -> float:
        return SLOW_MS if count == 8 else 2 * SLOW_MS

    runner = Made("torchscript", ms=best_with_8)
    assert ChoosingAmong(runner).choose(None, None).batch_size == 8
    assert runner.batches == [*CPU_BATCHES]
    given = Made("torchscript", ms=best_with_8)
    assert ChoosingAmong(given).choose(None, 5).batch_size == 5
    assert given.batches == [5]


@pytest.mark.parametrize(
    "trouble",
    [MemoryError, lambda: RuntimeError("The following operation failed\nCUDA out of memory. Tried")],
)
def test_no_batch_is_tried_beyond_one_that_there_is_no_memory_for(trouble: Callable[[], Exception]) -> None:
    runner = Made("torchscript", ms=lambda _count: 0.01, most=100, trouble=trouble)
    tested = ChoosingAmong(runner, device=GPU).choose(None, None)
    assert tested.batch_size in GPU_BATCHES[:2]
    assert runner.batches == [*GPU_BATCHES[:3]]
    assert runner.freed == 1


@pytest.mark.parametrize("name", [None, "torchscript"])
def test_a_model_too_large_for_any_batch_of_the_self_test_is_left_to_halve_its_own(
    name: RunnerName | None,
) -> None:
    runner = Made("torchscript", most=2)
    tested = ChoosingAmong(runner).choose(name, None)
    assert (tested.runner, tested.batch_size) == (runner, CPU.batch_size)


def test_a_model_that_fails_on_the_pictures_is_still_run(caplog: pytest.LogCaptureFixture) -> None:
    tested = ChoosingAmong(Made("torchscript", fails), fast()).choose(None, 16)
    assert (tested.runner.name, tested.batch_size) == ("torchscript", 16)
    assert "the model fails on the self-test's pictures: an operation it does not know" in caplog.text


def test_a_runner_that_is_named_is_taken_as_it_is() -> None:
    slow = Made("openvino", ms=lambda _count: 2 * SLOW_MS)
    tested = ChoosingAmong(Made("torchscript"), slow).choose("openvino", 4)
    assert tested.runner is slow
    torchscript = Made("torchscript")
    assert ChoosingAmong(torchscript, fast()).choose("torchscript", 4).runner is torchscript


def test_the_real_ones_are_made_by_name_with_as_many_passes_at_once() -> None:
    choosing = Choosing(small_module, CPU, SIZE, at_once=2)
    for name, kind in (("torchscript", TorchScriptRunner), ("openvino", OpenVinoRunner)):
        runner = choosing.make(name)  # type: ignore[arg-type]
        assert isinstance(runner, kind)
        assert (runner.name, runner.at_once) == (name, 2)
    assert Choosing(small_module, CPU, SIZE, at_once=1)._others() == ["openvino"]
    assert Choosing(small_module, GPU, SIZE, at_once=1)._others() == []


def test_openvino_is_not_made_for_a_device_that_it_does_not_run_on() -> None:
    with pytest.raises(SettingsInvalid, match="TAGGER_DEVICE=cpu"):
        Choosing(small_module, GPU, SIZE, at_once=1).make("openvino")


class Odd(torch.nn.Module):
    """A network with an operation that OpenVINO does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = images.float().mean(dim=(2, 3)) / 255
        turned = torch.linalg.eigvalsh(means.unsqueeze(2) * means.unsqueeze(1))
        return (turned.to(self.weight.dtype) @ self.weight).float().softmax(1)


def test_a_model_that_openvino_cannot_run_is_run_by_torchscript_and_one_line_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    choosing = Choosing(lambda: torch.jit.script(Odd().eval()), CPU, SIZE, at_once=1)
    assert choosing.choose(None, 4).plan == Plan("torchscript", 4)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == "openvino cannot run this model, TorchScript does"
    with pytest.raises(SettingsInvalid, match="openvino cannot run this model; leave it at auto"):
        choosing.choose("openvino", 4)


def test_the_pictures_are_the_same_each_time_and_all_different() -> None:
    images = pictures(SIZE, 8)
    assert (images.shape, images.dtype) == ((8, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(images, pictures(SIZE, 8))
    assert len({image.tobytes() for image in images}) == 8
