"""The eight-bit backend: near to the model in floating point, and refused without the ranges of its convolutions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.shipped import ARTIFACT, decoded_photos, shipped_module
from support.small_network import SIZE, SmallNetwork, small_module

from tagger.errors import SettingsInvalid
from tagger.model.artifact import read_manifest
from tagger.model.backends.conversion import convert
from tagger.model.backends.openvino import LEVELS, OpenVinoBackend, quantise_convolutions, with_exact_zero
from tagger.model.backends.protocol import Outputs
from tagger.model.backends.selection import (
    MAX_DISTANCE,
    BackendSelector,
    backend_distance,
    generated_images,
)
from tagger.model.backends.torchscript import TorchScriptBackend
from tagger.model.devices import Device
from trainer.export.ranges import convolution_ranges

FLOAT32 = Device("cpu", "float32", 8)


def small_ranges() -> tuple[tuple[float, float], ...]:
    images = torch.from_numpy(generated_images(SIZE, 16)).permute(0, 3, 1, 2)
    return convolution_ranges(SmallNetwork().eval(), [images[:8], images[8:]])


def test_ranges_are_the_mean_extremes_of_the_inputs_in_order() -> None:
    images = torch.from_numpy(generated_images(SIZE, 3)).permute(0, 3, 1, 2)
    ranges = convolution_ranges(SmallNetwork().eval(), [images])
    pixels = (images / 255.0 - 0.5).flatten(start_dim=1)
    assert len(ranges) == 3
    assert ranges[0] == pytest.approx((pixels.amin(dim=1).mean().item(), pixels.amax(dim=1).mean().item()))
    assert ranges[1][0] == 0  # after a ReLU


def test_a_network_that_runs_a_convolution_twice_has_no_ranges() -> None:
    convolution = torch.nn.Conv2d(3, 3, 1)
    assert convolution_ranges(torch.nn.Sequential(convolution, convolution), [torch.rand(2, 3, 4, 4)]) == ()


def test_the_outputs_are_near_to_those_in_floating_point() -> None:
    images = generated_images(SIZE, 16)
    expected = TorchScriptBackend(small_module(), FLOAT32, SIZE, at_once=1).forward(images)
    backend = OpenVinoBackend(convert(small_module(), SIZE), FLOAT32, SIZE, 1, small_ranges())
    actual = backend.forward(images)
    assert backend.name == "openvino-int8"
    assert 0 < np.abs(actual.scores - expected.scores).sum(axis=1).mean() / 2 <= MAX_DISTANCE
    assert cosines(expected, actual).mean() >= 0.995


class Residual(torch.nn.Module):
    """A convolution of a padded input that is added to its output as well."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = images / 255.0
        return values + self.convolution(torch.nn.functional.pad(values, (0, 1, 0, 1)))


def test_an_input_is_rounded_for_all_its_users_and_before_it_is_padded() -> None:
    model = convert(small_module(Residual()), SIZE)
    quantise_convolutions(model, [(0.0, 1.0)])
    (padding,) = (node for node in model.get_ordered_ops() if node.get_type_name() == "Pad")
    rounded = padding.input_value(0)
    assert rounded.get_node().get_type_name() == "FakeQuantize"
    assert len(rounded.get_node().input_value(0).get_target_inputs()) == 1, (
        "nothing uses the unrounded values"
    )


def test_it_is_a_candidate_only_of_models_with_ranges() -> None:
    with pytest.raises(SettingsInvalid, match="no ranges for openvino-int8; set openvino"):
        BackendSelector(small_module, FLOAT32, SIZE, 1).load("openvino-int8")
    chosen = BackendSelector(small_module, FLOAT32, SIZE, 1, small_ranges()).choose("openvino-int8", 4)
    assert chosen.backend.name == "openvino-int8"


def test_ranges_of_another_network_are_refused() -> None:
    selector = BackendSelector(small_module, FLOAT32, SIZE, 1, small_ranges()[:2])
    with pytest.raises(SettingsInvalid, match="openvino-int8 cannot run this model"):
        selector.load("openvino-int8")


def test_the_shipped_model_agrees_with_itself_in_eight_bits() -> None:
    manifest = read_manifest(ARTIFACT)
    size = manifest.input.size
    selector = BackendSelector(shipped_module, FLOAT32, size, 1, manifest.ranges)
    reference, eight_bits = selector.load("openvino"), selector.load("openvino-int8")
    assert 0 < backend_distance(reference, eight_bits, size) <= MAX_DISTANCE


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_zero_is_a_level_of_every_range(one: float, other: float) -> None:
    low, high = with_exact_zero(min(one, other), max(one, other))
    step = (high - low) / (LEVELS - 1)
    assert low <= 0 <= high
    assert -low / step == pytest.approx(round(-low / step), abs=1e-6)
    assert low <= min(one, 0) + step
    assert high >= max(other, one, 0) - step


@pytest.mark.slow
def test_real_photos_get_the_same_landmarks(test_data: Path) -> None:
    manifest = read_manifest(ARTIFACT)
    photos = decoded_photos(test_data, 200)
    size = manifest.input.size
    expected = OpenVinoBackend(convert(shipped_module(), size), FLOAT32, size, 1).forward(photos)
    actual = OpenVinoBackend(convert(shipped_module(), size), FLOAT32, size, 1, manifest.ranges).forward(
        photos
    )
    assert (actual.scores.argmax(axis=1) == expected.scores.argmax(axis=1)).mean() >= 0.98
    assert cosines(expected, actual).mean() >= 0.99


def cosines(expected: Outputs, actual: Outputs) -> np.ndarray:
    assert expected.embeddings is not None
    assert actual.embeddings is not None
    norms = np.linalg.norm(expected.embeddings, axis=1) * np.linalg.norm(actual.embeddings, axis=1)
    cosine: np.ndarray = (expected.embeddings * actual.embeddings).sum(axis=1) / norms
    return cosine
