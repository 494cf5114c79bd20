"""The training loop on tiny networks: learning rates, sizes, the moving average, failures."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from support.examples import examples
from support.training_photos import noise_squares
from torch import Tensor, nn

from tagger.model.artifact import Label
from tagger.model.devices import Device
from trainer import TrainingFailed
from trainer.data.preparation import TrainingData
from trainer.export.artifact import create_run_folder
from trainer.learning import loop
from trainer.learning.classifier import CHECKPOINT, TrainingState, Validation
from trainer.learning.loop import Augmentation, MixOptions, TrainingPlan, growing_sizes, train_network
from trainer.options import RecipeOptions

CPU = Device("cpu", "float32", 4)
TARGETS = [0, 1, 1, 0, 1, 0, 0, 1]


class SmallNetwork(nn.Module):
    """Images of 0…255 → logits of two classes; NaN from step `nan_from_step` on."""

    def __init__(self, nan_from_step: int | None = None) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, stride=8)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.3)
        self.linear = nn.Linear(4, 2)
        self.nan_from_step, self.steps = nan_from_step, 0

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.convolution(images / 255)).mean(dim=(2, 3))
        logits: Tensor = self.linear(self.dropout(features))
        self.steps += self.training
        return logits / 0 if self.nan_from_step and self.steps >= self.nan_from_step else logits


class OutOfMemoryNetwork(SmallNetwork):
    def forward(self, images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")


def schedule(epochs: int = 2, **others: object) -> TrainingPlan:
    settings: dict[str, object] = {
        "augmentation": Augmentation(),
        "sizes": (32,) * epochs,
        "batch_size": 4,
        "warm_up": 0.5,
        "average_decay": 0.9,
        "clip": 1.0,
        "mixing": MixOptions(),
        "seed": 0,
    }
    return TrainingPlan(**(settings | others))


def learner(network: nn.Module | None = None) -> TrainingState[nn.Module]:
    torch.manual_seed(7)
    network = network or SmallNetwork()
    optimiser = torch.optim.AdamW([{"params": list(network.parameters()), "highest_rate": 0.01}], lr=0.01)
    return TrainingState(network, optimiser)


def small_data() -> TrainingData:
    """Eight photos for training and two for validation, of two labels."""
    labels = tuple(Label(label=name, slug=name, name=name) for name in ("a", "b"))
    is_validation = np.array([False] * len(TARGETS) + [True] * 2)
    targets = np.array([*TARGETS, 0, 1])
    squares, sources = noise_squares(len(targets)), np.full(len(targets), "")
    is_of_val, together = np.zeros(len(targets), dtype=bool), np.arange(len(targets))
    return TrainingData(labels, squares, sources, targets, is_validation, is_of_val, together)


def train(
    state: TrainingState[nn.Module], plan: TrainingPlan, *, out: Path | None = None, resume: bool = False
) -> list[int]:
    """Train and return the numbers of the epochs; with `out`, keep the checkpoint there."""
    before = 0 if resume else len(state.history)
    with TemporaryDirectory() as folder:
        options = RecipeOptions(data=Path(), out=out or Path(folder), resume=resume)
        create_run_folder(options.out)
        train_network(small_data(), state, plan, CPU, options=options, settings={})
    return [epoch.number for epoch in state.history[before:]]


def weights(network: nn.Module) -> Tensor:
    return torch.cat([values.flatten().double() for values in network.state_dict().values()])


def test_rates_follow_a_cosine_and_averages_the_network():
    plan = schedule(epochs=10, warm_up=2.0)
    rates = [plan.rate(done / 10) for done in range(101)]

    assert 0 < rates[0] < 0.01
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert max(rates) > 0.9
    assert plan.rate(5.0) == pytest.approx(0.5)
    assert plan.rate(10.0) == plan.rate(11.0) == 0.0
    assert schedule(warm_up=0.0).rate(0.0) == 1.0

    class WeightRecorder(SmallNetwork):
        def forward(self, images: Tensor) -> Tensor:
            if self.training:
                before.append(self.linear.weight.detach().clone())
            return super().forward(images)

    before: list[Tensor] = []
    state = learner(WeightRecorder())
    train(state, schedule(epochs=4))
    after = [*before[1:], state.network.get_parameter("linear.weight").detach()]

    expected = before[0]
    for step, now in enumerate(after):
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * now
    average = state.average.get_parameter("linear.weight")
    torch.testing.assert_close(average, expected)
    assert not torch.equal(average, after[-1])
    assert not average.requires_grad
    assert state.average.get_buffer("norm.num_batches_tracked") == len(after) == 8
    assert bool((state.average.get_buffer("norm.running_mean") != 0).all())


@examples(8)
@given(
    epochs=st.integers(1, 200),
    strides=st.integers(1, 16),
    parts=st.sampled_from([((0.6, 0.6), (0.92, 0.8), (1.0, 1.0)), ((0.75, 0.75), (1.0, 1.0))]),
)
def test_sizes_grow_in_whole_strides_to_the_final_size(epochs, strides, parts):
    sizes = growing_sizes(epochs, 32 * strides, parts)

    assert len(sizes) == epochs
    assert sizes[-1] == 32 * strides
    assert list(sizes) == sorted(sizes)
    assert all(size % 32 == 0 and size >= 32 for size in sizes)


def test_loss_that_is_no_number_ends_training_with_the_last_checkpoint_whole(tmp_path):
    state = learner(SmallNetwork(nan_from_step=4))
    with pytest.raises(TrainingFailed, match=r"epoch 2, at step 2\b.*--resume.*--learning-rate"):
        train(state, schedule(epochs=3), out=tmp_path)

    resumed = learner()
    assert train(resumed, schedule(epochs=3), out=tmp_path, resume=True) == [1, 2, 3]
    assert weights(resumed.network).isfinite().all()
    assert weights(resumed.average).isfinite().all()


def test_weights_that_are_no_numbers_after_the_last_step_are_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_validate", lambda *_: Validation(float("nan"), 0.5))
    with pytest.raises(TrainingFailed, match=r"epoch 1, at step 2\b"):
        train(learner(), schedule(), out=tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize(("batch_size", "suggested"), [(32, 16), (5, 2), (2, 2)])
def test_out_of_memory_suggests_a_smaller_batch(batch_size, suggested):
    with pytest.raises(TrainingFailed) as excinfo:
        train(learner(OutOfMemoryNetwork()), schedule(batch_size=batch_size))
    assert f"(cpu) is too small for batches of {batch_size} photos" in str(excinfo.value)
    assert f"--batch-size {suggested}," in str(excinfo.value)
