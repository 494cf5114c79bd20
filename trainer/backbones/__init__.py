"""Pretrained networks without their classifiers: images in, one vector of features per image out.

A backbone is named as torchvision names it (`resnet18`), or `timm/NAME` for one of timm's. Weights come over the network, or
from a file that a person names. Knows nothing of landmarks, of training or of how a network is exported.
"""

from trainer.backbones.described import Backbone, Normalisation
from trainer.backbones.folding import folded
from trainer.backbones.loading import build_network, load_backbone, own_backbone, require_backbone
from trainer.backbones.rounding import STORED_IN_HALF, round_to_half

__all__ = [
    "STORED_IN_HALF",
    "Backbone",
    "Normalisation",
    "build_network",
    "folded",
    "load_backbone",
    "own_backbone",
    "require_backbone",
    "round_to_half",
]
