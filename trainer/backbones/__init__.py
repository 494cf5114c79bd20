"""Pretrained networks without their classifiers: images in, one feature vector per image out.

Names are torchvision's (`resnet18`), or `timm/NAME` for networks of timm. Weights are downloaded or read from a file.
Knows nothing of landmarks, training or export.
"""

from trainer.backbones.backbone import (
    HALF_PRECISION_LAYERS,
    Backbone,
    Normalisation,
    fuse_batch_norms,
    round_to_half,
)
from trainer.backbones.loading import build_network, load_backbone, require_backbone, scratch_backbone

__all__ = [
    "HALF_PRECISION_LAYERS",
    "Backbone",
    "Normalisation",
    "build_network",
    "fuse_batch_norms",
    "load_backbone",
    "require_backbone",
    "round_to_half",
    "scratch_backbone",
]
