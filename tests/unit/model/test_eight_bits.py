"""Weights in sixteen and in eight bits: near to those in floating point, where they are used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from support.examples import examples
from support.models import (
    ARTIFACT,
    FLOAT32,
    SIZE,
    SmallNetwork,
    shipped_module,
    shipped_size,
    small_module,
    small_selector,
)

from tagger.errors import SettingsInvalid
from tagger.model.artifact import file_digest, read_manifest
from tagger.model.backends import Conversions, Outputs, round_keeping_sums
from tagger.model.backends.openvino import (
    LEVELS,
    OpenVinoBackend,
    convert,
    largest_sums,
    prepare,
    quantise_convolutions,
    with_exact_zero,
)
from tagger.model.backends.selection import (
    IMAGES,
    MAX_EMBEDDING_DIFFERENCE,
    MAX_SCORE_DIFFERENCE,
    BackendSelector,
    Difference,
    generated_images,
)
from tagger.model.backends.torchscript import TorchScriptBackend, round_kernels
from tagger.model.devices import ISA_LIMITS, instruction_sets
from trainer.export.calibration import convolution_ranges


def small_ranges() -> tuple[tuple[float, float], ...]:
    images = torch.from_numpy(generated_images(SIZE, 16)).permute(0, 3, 1, 2)
    return convolution_ranges(SmallNetwork().eval(), [images[:8], images[8:]])


def test_ranges_are_mean_extremes_of_inputs_and_those_of_another_network_are_refused():
    images = torch.from_numpy(generated_images(SIZE, 3)).permute(0, 3, 1, 2)
    ranges = convolution_ranges(SmallNetwork().eval(), [images])
    pixels = (images / 255.0 - 0.5).flatten(start_dim=1)
    assert len(ranges) == 3
    assert ranges[0] == pytest.approx((pixels.amin(dim=1).mean().item(), pixels.amax(dim=1).mean().item()))
    assert ranges[1][0] == 0  # after a ReLU
    convolution = torch.nn.Conv2d(3, 3, 1)
    assert convolution_ranges(torch.nn.Sequential(convolution, convolution), [torch.rand(2, 3, 4, 4)]) == ()
    selector = small_selector(ranges=small_ranges()[:2])
    with pytest.raises(SettingsInvalid, match="openvino-int8 cannot run this model"):
        selector.load("openvino-int8")
    with pytest.raises(SettingsInvalid, match="no ranges for openvino-int8; set openvino"):
        small_selector().load("openvino-int8")
    chosen, _ = small_selector(ranges=small_ranges()).choose("openvino-int8")
    assert chosen.name == "openvino-int8"


def test_outputs_are_near_to_floating_point_and_inputs_rounded_for_all_users():
    images = generated_images(SIZE, 16)
    expected = TorchScriptBackend(small_module(), FLOAT32, at_once=1).forward(images)
    model = prepare(convert(small_module(), SIZE), FLOAT32, small_ranges())
    backend = OpenVinoBackend(model, "openvino-int8", FLOAT32, 1)
    actual = backend.forward(images)
    assert backend.name == "openvino-int8"
    difference = Difference.between(expected, actual)
    assert difference.is_small
    assert difference.embeddings > 0
    model = convert(small_module(Residual()), SIZE)
    quantise_convolutions(model, [(0.0, 1.0)])
    (padding,) = (node for node in model.get_ordered_ops() if node.get_type_name() == "Pad")
    rounded = padding.input_value(0)
    assert rounded.get_node().get_type_name() == "FakeQuantize"
    assert len(rounded.get_node().input_value(0).get_target_inputs()) == 1, (
        "nothing uses the unrounded values"
    )


class Residual(torch.nn.Module):
    """A convolution of a padded input that is added to its output as well."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = images / 255.0
        return values + self.convolution(torch.nn.functional.pad(values, (0, 1, 0, 1)))


@pytest.mark.parametrize(
    ("sets", "candidates"), [({"avx2"}, ["openvino-int8", "openvino"]), (set(), ["openvino"])]
)
def test_it_is_a_candidate_only_on_processors_on_which_it_was_measured(monkeypatch, sets, candidates):
    monkeypatch.setattr("tagger.model.backends.selection.instruction_sets", lambda: sets)
    assert shipped_selector()._alternatives() == candidates


def shipped_selector() -> BackendSelector:
    manifest = read_manifest(ARTIFACT)
    conversions = Conversions(ARTIFACT, file_digest(ARTIFACT), None)
    return BackendSelector(shipped_module, FLOAT32, manifest.input.size, 1, manifest.ranges, conversions)


PROGRAM = """
import json
from tagger.model.backends import openvino
from tagger.model.backends.selection import IMAGES, Difference, generated_images
from unit.model.test_eight_bits import shipped_selector, shipped_size

selector, images = shipped_selector(), generated_images(shipped_size(), IMAGES)
expected = selector.load("openvino").forward(images)
selected = Difference.between(expected, selector.choose(None)[0].forward(images))
openvino.cpu_has_vnni = lambda: True
overflowing = Difference.between(expected, selector.load("openvino-int8").forward(images))
print(json.dumps([selected, overflowing]))
"""
ROOM = 1.45  # Limits are as far from what is selected as from what is refused


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["avx2", "AVX512_CORE_VNNI"])
def test_eight_bits_are_selected_on_processors_with_avx2(isa):
    if not ISA_LIMITS[isa.upper()] <= instruction_sets():
        pytest.skip(f"this processor lacks instructions of {isa}")
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": isa, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    selected, overflowing = (Difference(*values) for values in json.loads(printed))
    assert 0.005 < selected.embeddings < MAX_EMBEDDING_DIFFERENCE / ROOM
    assert selected.scores < MAX_SCORE_DIFFERENCE / ROOM
    if "VNNI" not in isa:
        assert overflowing.embeddings > MAX_EMBEDDING_DIFFERENCE * ROOM


def test_wrong_outputs_of_the_shipped_model_are_refused():
    images = generated_images(shipped_size(), IMAGES)
    backend = shipped_selector().load("openvino")
    scores, embeddings, _ = expected = backend.forward(images)
    for wrong in (images[:, :, ::-1], images[..., ::-1], images[:, ::-1]):
        difference = Difference.between(expected, backend.forward(np.ascontiguousarray(wrong)))
        assert difference.embeddings > MAX_EMBEDDING_DIFFERENCE * ROOM
    for wrong_scores in (scores / 3, scores[:, ::-1]):
        difference = Difference.between(expected, Outputs(wrong_scores, embeddings))
        assert difference.scores > MAX_SCORE_DIFFERENCE * ROOM


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_zero_is_a_level_of_every_range(one, other):
    low, high = with_exact_zero(min(one, other), max(one, other))
    step = (high - low) / (LEVELS - 1)
    assert low <= 0 <= high
    assert -low / step == pytest.approx(round(-low / step), abs=1e-6)
    assert low <= min(one, 0) + step
    assert high >= max(other, one, 0) - step


@given(st.integers(1, 9), st.sampled_from([1, 3]), st.integers(0, 1000))
def test_two_neighbouring_products_fit_into_16_bits(channels, side, seed):
    normal = np.random.default_rng(seed).normal(size=(4, channels, side, side))
    weights = (normal**3).astype(np.float32)  # few are large, as in a network
    limits = largest_sums(weights, 1)
    rounded = np.round(weights / limits * 127)
    assert abs(rounded).max(axis=(1, 2, 3)).min() >= 63, "weights lose more than a half of their range"
    for first in range(0, channels, 2):
        pair = rounded[:, first : first + 2]
        for part in (pair.clip(min=0), pair.clip(max=0)):
            assert abs(255 * part.sum(axis=1)).max() <= 32767


STEP = 0x10000  # The distance between neighbouring bfloat16 values, in the bits of a float32
LARGEST = float(torch.finfo(torch.bfloat16).max)
SUMS_WITHIN = 2.0**-21  # The number of weights in a row; sums are computed in float32

ordinary = st.floats(-4, 4, width=32)
exact = st.integers(-256, 256).map(lambda number: number / 64)
any_size = st.floats(-LARGEST, LARGEST, width=32)
rows = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=ordinary | exact
)
odd_rows = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=any_size | exact
)


def neighbours(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bfloat16 values on both sides of each weight, or the weight twice if it is one."""
    bits = weights.view(np.uint32)
    inner = bits & np.uint32(0xFFFF0000)
    outer = np.where(bits == inner, inner, inner + np.uint32(STEP)).astype(np.uint32)
    return inner.view(np.float32), outer.view(np.float32)


def nearest(weights: np.ndarray) -> np.ndarray:
    return torch.from_numpy(weights).bfloat16().float().numpy()


def sum_errors(weights: np.ndarray, result: np.ndarray) -> np.ndarray:
    off: np.ndarray = np.abs((result.astype(np.float64) - weights.astype(np.float64)).sum(axis=1))
    return off


@given(rows | odd_rows)
@examples(25)
def test_values_are_bfloat16_neighbours_of_weights_whose_sums_are_no_further_off_than_rounded_ones(weights):
    inner, outer = neighbours(weights)
    result = round_keeping_sums(weights)
    assert ((result == inner) | (result == outer)).all()
    np.testing.assert_array_equal(nearest(result), result)
    blur = SUMS_WITHIN * np.abs(weights.astype(np.float64)).sum(axis=1)
    assert (sum_errors(weights, result) <= sum_errors(weights, nearest(weights)) + blur).all()


def test_weights_that_all_err_to_one_side_keep_their_sum():
    weights = np.full((1, 9), 0.998, dtype=np.float32)
    half_a_step = 2.0**-8 / 2
    assert sum_errors(weights, nearest(weights)) > 4 * half_a_step
    assert sum_errors(weights, round_keeping_sums(weights)) <= half_a_step


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_only_depthwise_kernels_are_touched(dtype):
    module = small_module().to(dtype)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    round_kernels(module)
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"depthwise.weight"}
    kernels = module.state_dict()["depthwise.weight"].float()
    assert torch.equal(kernels, kernels.bfloat16().float())
    assert kernels.shape == SmallNetwork().depthwise.weight.shape
