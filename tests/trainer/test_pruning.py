"""Pruning: which channels stay, and that what is left is as good as before."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.small_world import draw_small_world, train, transfer_options

from tagger.model.devices import Device
from trainer.backbones.backbone import Backbone, expansions, multiply_adds
from trainer.backbones.loading import build_network
from trainer.data.folders import LabelledPhoto
from trainer.data.pixels import CachedPhotos
from trainer.errors import BackboneUnusable
from trainer.export.artifact import export_run, read_program
from trainer.learning.batches import Augmentation, TrainingSet
from trainer.learning.classifier import Encoder
from trainer.learning.pruning import best_subset, lost_variance, prune

CPU = Device("cpu", "float32", 4)
EDGETPU = "timm/mobilenet_edgetpu_100"
SIZE = 64


def test_channels_that_others_imply_are_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(500, 3, generator=generator)
    implied = own @ torch.randn(3, 3, generator=generator) + 2
    unused = torch.randn(500, 2, generator=generator)
    inputs = torch.cat([unused, own, implied], dim=1)
    outputs = own @ torch.randn(3, 4, generator=generator) - 1

    kept, weight, bias = best_subset(inputs, outputs, 3)

    assert set(kept.tolist()) <= set(range(2, 8))
    torch.testing.assert_close(inputs[:, kept] @ weight.T + bias, outputs, rtol=1e-3, atol=1e-2)


def test_a_map_that_is_the_mean_everywhere_loses_all_its_variance() -> None:
    whole = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1.0, 3, 0.3]
    ).view(3, 1, 1)

    assert lost_variance(whole, whole) == 0
    assert lost_variance(whole.mean(dim=(0, 2, 3), keepdim=True).expand_as(whole), whole) == pytest.approx(
        1, abs=0.01
    )


@pytest.fixture
def views(tmp_path: Path) -> TrainingSet:
    """Training photos of random colours and stripes."""
    generator = np.random.default_rng(0)
    for number in range(16):
        stripes = (
            generator.integers(0, 256, (8, 1, 3), np.uint8).repeat(SIZE // 8, axis=0).repeat(SIZE, axis=1)
        )
        (tmp_path / str(number)).write_bytes(stripes.tobytes())
    photos = tuple(LabelledPhoto(path=tmp_path / str(number), label="stripes") for number in range(16))
    cached = CachedPhotos(photos, tuple(str(number) for number in range(16)), tmp_path, SIZE)
    rows = np.arange(16)
    return TrainingSet(cached, rows, rows * 0, np.ones(16), Augmentation(), 8, 0)


def folded_network() -> tuple[Backbone, Encoder]:
    backbone = Backbone(EDGETPU, "tensorflow", "random", folded=True)
    torch.manual_seed(0)
    return backbone, Encoder(backbone, build_network(backbone))


def test_a_pruned_network_has_fewer_multiply_adds_and_nearly_the_same_features(views: TrainingSet) -> None:
    backbone, encoder = folded_network()
    before = copy.deepcopy(encoder)

    pruned_backbone, pruned = prune(backbone, encoder, 50, views, (SIZE, SIZE), SIZE, CPU)

    assert multiply_adds(before.network, SIZE) > 80e6
    assert multiply_adds(pruned.network, SIZE) <= 50e6
    images = next(views.cached.batches(range(8), SIZE, 8))
    with torch.no_grad():
        expected, actual = before(images), pruned(images)
    assert torch.nn.functional.cosine_similarity(expected, actual).min() > 0.9
    assert all(
        torch.equal(*pair)
        for pair in zip(before.state_dict().values(), encoder.state_dict().values(), strict=True)
    )

    rebuilt = build_network(pruned_backbone)
    rebuilt.load_state_dict(pruned.network.state_dict())
    assert [first.out_channels for first, _ in expansions(rebuilt)] == list(pruned_backbone.expansions)
    with torch.no_grad():
        assert torch.equal(Encoder(pruned_backbone, rebuilt)(images), actual)


@pytest.mark.parametrize(
    ("name", "folded", "millions", "reason"),
    [
        (EDGETPU, True, 20, "leaves 36 million"),
        (EDGETPU, False, 50, "no fused blocks"),
        ("mobilenet_v2", True, 10, "no fused blocks"),
    ],
)
def test_what_cannot_be_pruned_says_so(
    views: TrainingSet, name: str, folded: bool, millions: int, reason: str
) -> None:
    backbone = Backbone(name, "tensorflow", "random", folded=folded)
    encoder = Encoder(backbone, build_network(backbone))

    with pytest.raises(BackboneUnusable, match=reason):
        prune(backbone, encoder, millions, views, (SIZE,), SIZE, CPU)


def test_training_goes_on_from_a_pruned_model(tmp_path: Path) -> None:
    world = draw_small_world(tmp_path)
    torch.manual_seed(0)
    folded = build_network(Backbone(EDGETPU, "tensorflow", "random"))
    save_file(folded.state_dict(), tmp_path / "edgetpu.safetensors")
    options = {"backbone": EDGETPU, "epochs": 0}
    train(
        transfer_options(
            world, world / "pruned", weights=tmp_path / "edgetpu.safetensors", multiply_adds=12, **options
        )
    )
    export_run(world / "pruned", tmp_path / "pruned.pt", name=None)

    run = train(transfer_options(world, world / "frozen", weights=tmp_path / "pruned.pt", **options))

    export_run(world / "frozen", tmp_path / "frozen.pt", name=None)
    pruned, frozen = (read_program(tmp_path / f"{name}.pt").state_dict() for name in ("pruned", "frozen"))
    encoders = [name for name in pruned if name.startswith("encoder.")]
    assert encoders
    assert all(torch.equal(pruned[name], frozen[name]) for name in encoders)
    assert run.record.backbone.expansions == (48, 48, 48, 48, 112, 80, 80, 80)
