"""Pretrained networks without their classifiers: images in, one feature vector per image out.

Names are torchvision's (`resnet18`), or `timm/NAME` for networks of timm. Weights are downloaded or read from
a file. Knows nothing of landmarks, training or export.
"""
