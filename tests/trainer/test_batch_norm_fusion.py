"""Batch norms folded into convolutions: the same features, or an unchanged network."""

import pytest
import torch
from torch import Tensor, nn

from trainer.backbones.backbone import Backbone, fuse_batch_norms
from trainer.backbones.loading import build_network

SIZE = 32


def with_random_statistics(network: nn.Module) -> nn.Module:
    """Set random statistics and factors in the batch norms, as after training."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.bias):
                values.data.normal_(0, 0.2, generator=generator)
            for values in (module.running_var, module.weight):
                values.data.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def images(size: int = SIZE) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("name", "convention", "features"),
    [
        ("mobilenet_v2", "tensorflow", 1280),
        ("mobilenet_v2", "torchvision", 1280),
        ("resnet18", "torchvision", 512),
        ("landmark_cnn", "torchvision", 512),
    ],
)
@torch.no_grad()
def test_folded_network_gives_the_same_features_and_is_built_again(
    name: str, convention: str, features: int
) -> None:
    backbone = Backbone(name, convention, "none", features)
    network = with_random_statistics(build_network(backbone))
    before = {key: values.clone() for key, values in network.state_dict().items()}
    folded = fuse_batch_norms(network, SIZE)

    assert folded is not None
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(images(64)), network(images(64)), rtol=1e-3, atol=1e-3)
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())

    rebuilt = build_network(Backbone(name, convention, "none", features, folded=True))
    rebuilt.load_state_dict(folded.state_dict())
    assert torch.equal(rebuilt(images()), folded(images()))


class Reordered(nn.Module):
    """Defines its batch norm after the convolution, but applies it before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, channels, 3)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.convolution(self.norm(images)).mean(dim=(2, 3))
        return features


class ActivationBetween(Reordered):
    """Applies an activation that is no module between convolution and batch norm."""

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.norm(self.convolution(images).relu()).mean(dim=(2, 3))
        return features


@pytest.mark.parametrize(
    "network",
    [
        Reordered(3),
        Reordered(8),
        ActivationBetween(3),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
    ],
    ids=[
        "reordered",
        "reordered, other width",
        "activation between",
        "statistics of the batch",
        "before",
        "after an activation",
    ],
)
@torch.no_grad()
def test_batch_norm_that_does_not_belong_to_a_convolution_is_left_alone(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.fill_(0.7)
            module.running_var.fill_(3.0)
    before = network.eval()(images())

    assert fuse_batch_norms(network, SIZE) is None
    assert torch.equal(network(images()), before)
