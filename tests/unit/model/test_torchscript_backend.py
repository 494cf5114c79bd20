"""The TorchScript backend, the reference of all others."""

from functools import partial

import numpy as np
import pytest
import torch
from support.small_network import LABELS, SIZE, ScoresOnly, small_module
from support.threads import in_threads

from tagger.model.backends import Backend
from tagger.model.backends.selection import generated_images
from tagger.model.backends.torchscript import TorchScriptBackend
from tagger.model.devices import Device

PRECISIONS = (torch.float32, torch.bfloat16)


def backend_of(dtype: torch.dtype, at_once: int = 1) -> TorchScriptBackend:
    return TorchScriptBackend(small_module(), Device("cpu", dtype, 8), SIZE, at_once)


def test_it_computes_what_the_module_does() -> None:
    images = generated_images(SIZE, 5)
    with torch.inference_mode():
        expected = small_module()(torch.from_numpy(images).permute(0, 3, 1, 2))
    for output, values in zip(backend_of(torch.float32).forward(images), expected, strict=True):
        np.testing.assert_allclose(output, values.numpy(), atol=1e-5)


def test_models_of_format_1_have_no_embeddings() -> None:
    backend = TorchScriptBackend(small_module(ScoresOnly()), Device("cpu", torch.float32, 8), SIZE, 1)
    scores, embeddings = backend.forward(generated_images(SIZE, 3))
    assert (scores.shape, embeddings) == ((3, LABELS), None)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_scores_are_float32_and_the_same_in_a_batch_of_any_size(dtype: torch.dtype) -> None:
    backend: Backend = backend_of(dtype)
    images = generated_images(SIZE, 9)
    alone = np.concatenate([backend.forward(image[None]).scores for image in images])
    assert (alone.dtype, alone.shape) == (np.float32, (9, LABELS))
    for count in (9, 2, 7, 1, 8):
        scores = backend.forward(images[:count]).scores
        np.testing.assert_allclose(scores, alone[:count], atol=1e-5 if dtype is torch.float32 else 0.02)


def test_bfloat16_is_near_float32() -> None:
    images = generated_images(SIZE, 8)
    near = backend_of(torch.bfloat16).forward(images).scores
    assert np.abs(near - backend_of(torch.float32).forward(images).scores).max() < 0.1


def test_a_batch_filled_in_place_is_classified() -> None:
    backend = backend_of(torch.float32)
    images = generated_images(SIZE, 4)
    batch = backend.empty(4)
    assert (batch.shape, batch.dtype) == ((4, SIZE, SIZE, 3), np.uint8)
    np.copyto(batch, images)
    np.testing.assert_array_equal(backend.forward(batch).scores, backend.forward(images).scores)


def test_concurrent_threads_get_their_own_scores() -> None:
    backend = backend_of(torch.float32, at_once=3)
    images = generated_images(SIZE, 12)
    expected = backend.forward(images).scores

    def classify(number: int) -> None:
        for _ in range(20):
            np.testing.assert_allclose(
                backend.forward(images[number : number + 3]).scores, expected[number : number + 3], atol=1e-5
            )

    in_threads([partial(classify, number) for number in range(0, 12, 3)])


def test_the_backend_works_after_freeing_memory() -> None:
    backend = backend_of(torch.float32)
    before = backend.forward(generated_images(SIZE, 2)).scores
    backend.free_memory()
    np.testing.assert_array_equal(backend.forward(generated_images(SIZE, 2)).scores, before)
