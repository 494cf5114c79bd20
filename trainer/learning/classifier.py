"""The classifier: pixels → features → calibrated scores, with rejection of other photos, and embeddings.

Modules have plain attributes and buffers only, for TorchScript, and compute in their parameters' precision.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.backbones.backbone import Backbone
from trainer.evaluation.metrics import top_k_accuracy
from trainer.learning.scoring import Scoring
from trainer.learning.state import Validation

# Levels by which the pixels of a picture with something in it differ from its mean colour, on
# average.
#
# Of 7,640 photos, four are all black; all others have at least 9.8.
LEAST_CONTRAST = 5.0
# The contrast of every fourth pixel of every fourth row is that of the picture.
CONTRAST_STRIDE = 4
EMBEDDING_LAYER = "the network's pooled features, square-rooted"


class Encoder(nn.Module):
    """A backbone with its normalisation: uint8 images → features."""

    mean: Tensor  # (1, 3, 1, 1)
    deviation: Tensor  # (1, 3, 1, 1)

    def __init__(self, backbone: Backbone, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        normalisation = backbone.normalisation
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(normalisation.deviation).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → features (B, F)."""
        features: Tensor = self.network(self.normalised(images))
        return features

    def normalised(self, images: Tensor) -> Tensor:
        """The images as the backbone takes them, in the precision of its parameters."""
        return (images.to(self.mean.dtype) - self.mean) / self.deviation


class TrainingNetwork(nn.Module):
    """The network during training: images → logits."""

    def __init__(self, encoder: Encoder, head: nn.Linear, *, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """uint8 or float (B, 3, H, W) of 0…255 → logits (B, C)."""
        logits: Tensor = self.head(self.dropout(self.encoder(images)))
        return logits


class PhotoClassifier(nn.Module):
    """Encoder, linear head, and a rule that makes scores of features: `scores_of`."""

    least_contrast: Final[float]

    def __init__(self, encoder: Encoder, head: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.least_contrast = LEAST_CONTRAST

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → scores (B, L), whose rows sum to at most 1, and embeddings (B, F), float32.

        A picture with nothing in it gets scores of 0.
        """
        features = self.encoder(images)
        shows_something = contrast_of(images) >= self.least_contrast
        return self.scores_of(features) * shows_something[:, None], embedding_of(features)

    def scores_of(self, features: Tensor) -> Tensor:
        """Features (B, F) of the encoder → scores, float32 (B, L)."""
        raise NotImplementedError


class LandmarkClassifier(PhotoClassifier):
    """Scores as in `ScoreRule`. Outputs of the head after the labels are background classes."""

    def __init__(self, encoder: Encoder, head: nn.Linear, scoring: Scoring) -> None:
        super().__init__(encoder, head)
        self.scoring = scoring

    def scores_of(self, features: Tensor) -> Tensor:
        scores: Tensor = self.scoring(self.head(features), embedding_of(features))
        return scores


def contrast_of(images: Tensor, stride: int = CONTRAST_STRIDE) -> Tensor:
    """uint8 (B, 3, H, W) → float32 (B,): the mean difference from the mean colour, in levels."""
    pixels = images[:, :, ::stride, ::stride].float()
    differences = (pixels - pixels.mean(dim=[2, 3], keepdim=True)).abs()
    return differences.mean(dim=[2, 3]).amax(dim=1)


def embedding_of(features: Tensor) -> Tensor:
    """Features (B, F) → embeddings, float32 (B, F).

    Square roots, with the sign, keep a few strong features from deciding alone (Perronnin et al., 2010).
    """
    features = features.float()
    return features.sign() * features.abs().sqrt()


def validation_loss(logits: Tensor, targets: Tensor, labels: int) -> Tensor:
    """The mean negative log probability of the right label, or of all background classes together.

    Args:
        logits: float (N, C), C ≥ L
        targets: int64 (N,); L: none of them
        labels: L
    """
    outcomes = logits
    if logits.shape[1] > labels:
        background = logits[:, labels:].logsumexp(dim=1, keepdim=True)
        outcomes = torch.cat([logits[:, :labels], background], dim=1)
    has_outcome = targets < outcomes.shape[1]
    return functional.cross_entropy(outcomes[has_outcome], targets[has_outcome])


def measure_logits(logits: Tensor, targets: Tensor, labels: int) -> Validation:
    """The loss and top-1 of validation photos; see `validation_loss`."""
    landmarks = targets < labels
    top1 = top_k_accuracy(logits[landmarks, :labels], targets[landmarks], 1)
    return Validation(validation_loss(logits, targets, labels).item(), top1)
