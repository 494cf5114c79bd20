"""The training loop on tiny networks: learning rates, sizes, the moving average, failures."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pixel_squares import training_set
from torch import Tensor, nn

from tagger.inference.devices import Device
from trainer.errors import DeviceMemoryExhausted, TrainingDiverged
from trainer.learning.batches import MixOptions
from trainer.learning.loop import (
    Epoch,
    LoopCallbacks,
    TrainingSchedule,
    TrainingState,
    Validation,
    fit,
    growing_sizes,
)
from trainer.learning.training import resume_checkpoint, save_checkpoint

CPU = Device("cpu", torch.float32, 4)
TARGETS = [0, 1, 1, 0, 1, 0, 0, 1]


class Small(nn.Module):
    """Images of 0…255 → logits of two classes; `poisoned` answers with no number from that step on."""

    def __init__(self, poisoned: int | None = None) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, stride=8)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.3)
        self.linear = nn.Linear(4, 2)
        self.poisoned, self.steps = poisoned, 0

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.convolution(images / 255)).mean(dim=(2, 3))
        logits: Tensor = self.linear(self.dropout(features))
        self.steps += self.training
        return logits / 0 if self.poisoned and self.steps >= self.poisoned else logits


class Greedy(Small):
    """Asks for more memory than there is."""

    def forward(self, images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")


def schedule(epochs: int = 2, **others: object) -> TrainingSchedule:
    settings: dict[str, object] = {
        "sizes": (32,) * epochs,
        "batch_size": 4,
        "warm_up": 0.5,
        "average_decay": 0.9,
        "clip": 1.0,
        "mixing": MixOptions(),
        "seed": 0,
    }
    return TrainingSchedule(**(settings | others))


def learner(network: nn.Module | None = None) -> TrainingState[nn.Module]:
    torch.manual_seed(7)
    network = network or Small()
    optimiser = torch.optim.AdamW([{"params": list(network.parameters()), "highest_rate": 0.01}], lr=0.01)
    return TrainingState(network, optimiser)


def train(
    pupil: TrainingState[nn.Module],
    plan: TrainingSchedule,
    *,
    checkpoint: Path | None = None,
    validation: float = 1.0,
) -> list[Epoch]:
    """The epochs that ended; after each a checkpoint is written, if asked for."""
    ended: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        ended.append(epoch)
        if checkpoint:
            save_checkpoint(checkpoint, pupil, {})

    photos = training_set(TARGETS, seed=plan.seed)
    work = LoopCallbacks(
        batches=photos.epoch,
        steps=photos.steps,
        classes=2,
        validate=lambda _network: Validation(validation, 0.5),
        on_step=lambda _images, _loss: None,
        on_epoch=on_epoch,
    )
    fit(pupil, work, plan, CPU)
    return ended


def weights(network: nn.Module) -> Tensor:
    return torch.cat([values.flatten().double() for values in network.state_dict().values()])


def test_rates_rise_along_the_warm_up_and_fall_to_zero_along_a_cosine() -> None:
    plan = schedule(epochs=10, warm_up=2.0)
    rates = [plan.rate(done / 10) for done in range(101)]

    assert 0 < rates[0] < 0.01
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert max(rates) > 0.9
    assert plan.rate(5.0) == pytest.approx(0.5)
    assert plan.rate(10.0) == plan.rate(11.0) == 0.0
    assert schedule(warm_up=0.0).rate(0.0) == 1.0


def test_optimiser_learns_at_the_rates_of_the_schedule() -> None:
    pupil, plan = learner(), schedule(epochs=3)
    rates = [epoch.learning_rate for epoch in train(pupil, plan)]

    assert rates == pytest.approx([0.01 * plan.rate(done) for done in (0.5, 1.5, 2.5)])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    epochs=st.integers(1, 200),
    strides=st.integers(1, 16),
    parts=st.sampled_from([((0.6, 0.6), (0.92, 0.8), (1.0, 1.0)), ((0.75, 0.75), (1.0, 1.0))]),
)
def test_sizes_grow_in_whole_strides_to_the_final_size(
    epochs: int, strides: int, parts: tuple[tuple[float, float], ...]
) -> None:
    sizes = growing_sizes(epochs, 32 * strides, parts)

    assert len(sizes) == epochs
    assert sizes[-1] == 32 * strides
    assert list(sizes) == sorted(sizes)
    assert all(size % 32 == 0 and size >= 32 for size in sizes)


def test_views_have_the_sizes_of_the_schedule() -> None:
    seen: list[int] = []

    class Watching(Small):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.shape[2])
            return super().forward(images)

    train(learner(Watching()), schedule(sizes=(32, 64)))

    assert seen == [32, 32, 64, 64]


def test_average_follows_the_network_slower_and_slower() -> None:
    class Recording(Small):
        """Remembers a layer's weights before each step."""

        def forward(self, images: Tensor) -> Tensor:
            before.append(self.linear.weight.detach().clone())
            return super().forward(images)

    before: list[Tensor] = []
    pupil = learner(Recording())
    train(pupil, schedule(epochs=4))
    after = [*before[1:], pupil.network.get_parameter("linear.weight").detach()]

    expected = before[0]
    for step, now in enumerate(after):
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * now
    average = pupil.average.get_parameter("linear.weight")
    torch.testing.assert_close(average, expected)
    assert not torch.equal(average, after[-1])
    assert not average.requires_grad
    assert pupil.average.get_buffer("norm.num_batches_tracked") == len(after) == 8
    assert bool((pupil.average.get_buffer("norm.running_mean") != 0).all())


def test_same_seed_gives_the_same_weights_and_another_others() -> None:
    def trained(seed: int) -> Tensor:
        pupil = learner()
        train(pupil, schedule(seed=seed))
        return weights(pupil.average)

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_loss_that_is_no_number_ends_training_with_the_last_checkpoint_whole(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    pupil = learner(Small(poisoned=4))
    with pytest.raises(TrainingDiverged, match=r"epoch 2, at step 2\b.*--resume.*--learning-rate"):
        train(pupil, schedule(epochs=3), checkpoint=checkpoint)

    again = learner()
    resume_checkpoint(checkpoint, again, {})
    assert [epoch.number for epoch in again.history] == [1]
    assert weights(again.network).isfinite().all()
    assert [epoch.number for epoch in train(again, schedule(epochs=3))] == [2, 3]
    assert weights(again.average).isfinite().all()


def test_weights_that_are_no_numbers_after_the_last_step_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"epoch 1, at step 2\b"):
        train(learner(), schedule(), checkpoint=tmp_path / "checkpoint", validation=float("nan"))
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(("batch_size", "advised"), [(32, 16), (5, 2), (2, 2)])
def test_out_of_memory_suggests_a_smaller_batch(batch_size: int, advised: int) -> None:
    with pytest.raises(DeviceMemoryExhausted) as caught:
        train(learner(Greedy()), schedule(batch_size=batch_size))
    assert f"(cpu) is too small for batches of {batch_size} photos" in str(caught.value)
    assert f"--batch-size {advised}," in str(caught.value)
