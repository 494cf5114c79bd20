"""Networks of each family, their weights, and how they compare."""

import io
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.models import ARTIFACT, shipped_module
from support.trainer_commands import NO_NETWORK, run_trainer
from support.training_photos import draw_world
from torch import Tensor, nn
from torchvision import models

from tagger.model.artifact import checked_archive, file_digest
from trainer import BackboneUnusable
from trainer.backbones import Torchvision, build_network, find_source, load_backbone
from trainer.learning.classifier import (
    Encoder,
    LandmarkClassifier,
    Neighbours,
    ScoreRule,
    Scoring,
    embedding_of,
)
from trainer.networks import Backbone, fuse_batch_norms
from trainer.recipes import Trial, recommend

IMAGENET = (123.675, 116.28, 103.53)

FAMILIES = {
    "convnext_tiny": 768,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "landmark_cnn": 512,
    "mnasnet0_5": 1280,
    "mobilenet_v2": 1280,
    "mobilenet_v3_small": 1024,
    "regnet_y_400mf": 440,
    "resnet18": 512,
    "shufflenet_v2_x0_5": 1024,
    "squeezenet1_1": 512,
    "swin_t": 768,
    "timm/mobilenetv4_conv_small": 1280,
    "timm/vit_tiny_patch16_224": 192,
}

ONE_SIZE = {"timm/vit_tiny_patch16_224": 224}
# A network with inverted residuals, and one of convolutions alone: most others have the same layers.
DAILY = ("mobilenet_v3_small", "squeezenet1_1")

FAMILY = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in DAILY else pytest.mark.slow) for name in FAMILIES]
)

SIZE = 32


@FAMILY
def test_a_network_of_each_family_gives_features_learns_and_can_be_exported(name):
    classifier, size = _classifier(name), ONE_SIZE.get(name, 64)
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)

    scores, embeddings = classifier.train()(images)
    assert (scores.shape, embeddings.shape) == ((2, 3), (2, FAMILIES[name]))
    with torch.inference_mode():
        assert classifier.eval().encoder(images).shape == (2, FAMILIES[name])
    scripted = torch.jit.script(classifier)
    exported = io.BytesIO()
    torch.jit.save(scripted, exported)
    checked_archive(exported.getvalue())

    with torch.inference_mode(), torch.jit.optimized_execution(False):
        torch.testing.assert_close(scripted(images), classifier(images))
    with torch.inference_mode():  # the optimising executor inlines a frozen module
        frozen = torch.jit.freeze(scripted.to(torch.bfloat16))
        assert [output.dtype for output in frozen(images)] == [torch.float32, torch.float32]


def test_a_name_that_does_not_exist_is_answered_with_close_ones():
    with pytest.raises(BackboneUnusable, match=r"similar names are .*resnet18") as raised:
        find_source("resnet-18")
    assert "timm/NAME" in str(raised.value)
    with pytest.raises(BackboneUnusable, match="timm/mobilenetv4_conv_small"):
        find_source("timm/mobilenet_v4_conv_small")
    with pytest.raises(BackboneUnusable):
        find_source("segmentation.fcn_resnet50")


def test_pixels_are_scaled_as_the_weights_want_it_and_other_sizes_are_refused(tmp_path):
    import timm

    assert Torchvision().build("resnet18").normalisation.mean == IMAGENET
    with torch.device("meta"):  # without memory for its many weights
        large = Torchvision().build("efficientnet_v2_l")
    assert large.normalisation.mean == (127.5, 127.5, 127.5)
    name, weights = "vit_tiny_patch16_224", tmp_path / "weights.safetensors"
    save_file(timm.create_model(name, pretrained=False).state_dict(), weights)
    backbone, _ = load_backbone(f"timm/{name}", weights, 224)
    assert backbone.normalisation.mean == (127.5, 127.5, 127.5)
    with pytest.raises(BackboneUnusable, match="images of 224"):
        load_backbone(f"timm/{name}", weights, 192)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
def test_weights_from_a_file_are_those_in_the_network(name, tmp_path):
    whole = models.get_model(name, weights=None)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    backbone, network = load_backbone(name, tmp_path / "w.safetensors", 64)

    assert (backbone.features, backbone.convention) == (FAMILIES[name], "torchvision")
    assert backbone.weights.startswith("blake3:")
    assert not network.training
    same = Torchvision().build(name).network.eval()
    same.load_state_dict(whole.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), same(images), rtol=0.02, atol=0.02)


def test_edgetpu_weights_give_the_features_of_googles_network(tmp_path):
    """timm has "same" padding of its own, which TorchScript cannot compile."""
    import timm

    original = timm.create_model("mobilenet_edgetpu_100", num_classes=0, pad_type="same").eval()
    original.blocks[0][0].bn1.act = nn.Identity()  # Google's network has no ReLU there
    for norm in original.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
    save_file(original.state_dict(), tmp_path / "weights.safetensors")

    backbone, network = load_backbone("timm/mobilenet_edgetpu_100", tmp_path / "weights.safetensors", 96)
    assert (backbone.features, backbone.convention, backbone.folded) == (1280, "tensorflow", True)
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    with torch.inference_mode():
        expected = original((images.float() - 128) / 127)
        difference = torch.jit.script(Encoder(backbone, network).eval())(images) - expected
    assert difference.norm() < 0.01 * expected.norm()  # weights are rounded


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    save_file(models.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")

    for name, reason in {
        "other.safetensors": "missing",
        "text.safetensors": "not a weights file",
        "list.pth": "more than named tensors",
        "gone.safetensors": "No such file",
    }.items():
        with pytest.raises(BackboneUnusable, match=reason):
            load_backbone("resnet18", tmp_path / name, 64)


def test_training_goes_on_from_a_model():
    images = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)

    backbone, network = load_backbone("timm/mobilenet_edgetpu_100", ARTIFACT, 224)

    with torch.inference_mode():
        expected = shipped_module().float().eval()(images)[1]
        assert torch.allclose(embedding_of(Encoder(backbone, network)(images)), expected, atol=1e-4)
    assert backbone.weights == f"blake3:{file_digest(ARTIFACT)}"
    with pytest.raises(BackboneUnusable, match="its backbone is timm/mobilenet_edgetpu_100"):
        load_backbone("resnet18", ARTIFACT, 224)


def test_nothing_in_a_file_of_weights_is_run(tmp_path):
    class Touches:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"fc.weight": Touches()}, tmp_path / "new.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Touches()))
    for name in ("new.pth", "old.pth"):
        with pytest.raises(BackboneUnusable):
            load_backbone("resnet18", tmp_path / name, 64)
    assert not (tmp_path / "touched").exists()


def _classifier(name: str) -> LandmarkClassifier:
    """A classifier of three labels on this network with random weights."""
    features = FAMILIES[name]
    backbone = Backbone(name, "timm" if name.startswith("timm/") else "torchvision", "random", features)
    space = Neighbours(
        offset=torch.zeros(features),
        directions=torch.zeros(features, 2),
        landmarks=torch.zeros(4, 2),
        labels=torch.tensor([0, 1, 2, 2]),
        others=torch.zeros(2, 2),
    )
    rule = ScoreRule(temperature=1.0, width=0.1, reach=5.0, slope=0.5, midpoint=0.0)
    encoder = Encoder(backbone, build_network(backbone))
    return LandmarkClassifier(encoder, nn.Linear(features, 4), Scoring(space, 3, rule))


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


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "landmark_cnn"])
@torch.no_grad()
def test_folded_network_gives_the_same_features_and_is_built_again(name):
    backbone = Backbone(name, "torchvision", "none", FAMILIES[name])
    network = with_random_statistics(build_network(backbone))
    before = {key: values.clone() for key, values in network.state_dict().items()}
    folded = fuse_batch_norms(network, SIZE)

    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(images(64)), network(images(64)), rtol=1e-3, atol=1e-3)
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())

    rebuilt = build_network(replace(backbone, folded=True))
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


@pytest.mark.parametrize(
    "network",
    [
        Reordered(3),
        Reordered(8),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
    ],
    ids=["reordered", "reordered, other width", "statistics of the batch", "after an activation"],
)
@torch.no_grad()
def test_batch_norm_that_does_not_belong_to_a_convolution_is_left_alone(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.fill_(0.7)
            module.running_var.fill_(3.0)
    before = network.eval()(images())

    assert fuse_batch_norms(network, SIZE) is None
    assert torch.equal(network(images()), before)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return draw_world(tmp_path_factory.mktemp("compared"))


def test_impossible_options_are_refused_before_any_work(world, tmp_path):
    arguments = ("compare", "--data", world / "landmarks", "--out", tmp_path / "out", "--backbones")
    unknown = run_trainer(*arguments, "mobilenet_v2,mobilenet_v22")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "The backbone mobilenet_v22 cannot be used: there is none of this name" in unknown.stderr
    assert not (tmp_path / "out").exists()
    assert run_trainer(*arguments, "resnet18", "--weights", "resnet50=x").returncode == 2
    assert run_trainer(*arguments, " , ").returncode == 2


def test_where_not_one_can_be_compared_it_could_not_be_done(world, tmp_path):
    done = run_trainer(
        *("compare", "--data", world / "landmarks", "--out", tmp_path, "--backbones", "resnet18"),
        **NO_NETWORK,
        TORCH_HOME=str(tmp_path),
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: Training failed: none of the backbones could be compared."
    )


def test_of_those_as_good_as_the_best_the_fastest_is_chosen():
    trials = {"large": _trial(0.95), "small": _trial(0.94), "tiny": _trial(0.90)}
    speeds = {"large": 10.0, "small": 50.0, "tiny": 200.0}
    backbone, sentence = recommend(trials, speeds)

    assert backbone == "small"
    assert "the best, large with 95.0%" in sentence
    assert "50 photos/s" in sentence
    assert recommend({"large": trials["large"]}, speeds)[0] == "large"


def _trial(top1: float) -> Trial:
    return Trial(weights="", features=1, parameters=1, size_bytes=1, photos=400, top1=top1, top3=1.0)
