"""The classifier: pixels → features → calibrated scores, with rejection of photos that show none of the landmarks, and an embedding.

The head's probabilities and the distance of a photo's features from those of the training photos detect different kinds of
unknown photos, so scores are the product of both. Modules have plain attributes and buffers only, so that TorchScript can compile
them. They compute in the precision of their parameters.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.backbones import Backbone

DIMENSIONS = 64
SHRINKAGE = 0.3
"""The share of the mean variance that is added to every variance. A few photos do not determine 1280 dimensions."""
STEEPNESS, EXTENT = 4.0, 3.0
"""At three times the typical distance from the nearest landmark, scores are halved; at twice the distance they keep 98 %.

Chosen on 635 photos of 12 landmarks that were left out of training. At 87 % of landmark photos tagged rightly, this removes a quarter
of the false tags.
"""
TEMPERATURES = torch.logspace(-1.3, 1, 461, dtype=torch.float64)
"""The candidates. The loss has a single minimum, and steps of 1/90 are finer than photos can resolve."""
LEAST_CONTRAST = 5.0
"""Levels by which the pixels of a picture with something in it differ from its mean colour, on average.

Of 7,640 photos, four are all black; all others have at least 9.8.
"""
CONTRAST_STRIDE = 4
"""The contrast of every fourth pixel of every fourth row is that of the picture."""
SUM_LIMIT = 1 - 1e-6
"""Scores are scaled by this factor, so that rounding never takes their sum above 1."""
LEAST_PROBABILITY = 1e-9
LEAST_VARIANCE_SHARE = 1e-6
"""Smaller variances within labels, relative to the overall variance, are rounding errors."""
LEAST_DISTANCE = 1e-3
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
        pixels = (images.to(self.mean.dtype) - self.mean) / self.deviation
        features: Tensor = self.network(pixels)
        return features


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


@dataclass(frozen=True)
class FeatureSpace:
    """The directions in which features of different labels differ most, and the centre of each label.

    Features of one label have variance 1 in each direction. `offset` is subtracted from features first: float32 (F,).
    `directions`: float32 (F, D). `centres`: float32 (L, D).
    """

    offset: Tensor
    directions: Tensor
    centres: Tensor


@dataclass(frozen=True)
class ScoreRule:
    """score of label l = softmax(logits / temperature)[l] · sigmoid(slope · (reach - distance)).

    `distance` is the distance of the photo's features from the nearest label's centre in the feature space.
    """

    temperature: float
    slope: float
    reach: float


class Distance(nn.Module):
    """The distance of features from the nearest label's centre in a feature space."""

    offset: Tensor  # (F,)
    directions: Tensor  # (F, D)
    centres: Tensor  # (L, D)

    def __init__(self, space: FeatureSpace) -> None:
        super().__init__()
        self.register_buffer("offset", space.offset)
        self.register_buffer("directions", space.directions)
        self.register_buffer("centres", space.centres)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) → float32 (B,)."""
        projected = (features.float() - self.offset.float()) @ self.directions.float()  # (B, D)
        differences = projected[:, None] - self.centres.float()[None]  # (B, L, D)
        return differences.square().sum(dim=2).amin(dim=1).sqrt()


class Contrast(nn.Module):
    """The mean difference of an image's pixels from its mean colour, in levels, in the channel where it is largest."""

    stride: Final[int]

    def __init__(self) -> None:
        super().__init__()
        self.stride = CONTRAST_STRIDE

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → float32 (B,)."""
        pixels = images[:, :, :: self.stride, :: self.stride].float()
        differences = (pixels - pixels.mean(dim=[2, 3], keepdim=True)).abs()
        return differences.mean(dim=[2, 3]).amax(dim=1)


class Classifier(nn.Module):
    """Encoder, linear head and score rule. Head outputs after `labels` are background classes and are not returned."""

    labels: Final[int]
    temperature: Final[float]
    slope: Final[float]
    reach: Final[float]
    sum_limit: Final[float]
    least_contrast: Final[float]

    def __init__(
        self, encoder: Encoder, head: nn.Linear, distance: Distance, *, labels: int, rule: ScoreRule
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.distance = distance
        self.labels = labels
        self.temperature = rule.temperature
        self.slope = rule.slope
        self.reach = rule.reach
        self.sum_limit = SUM_LIMIT
        self.contrast = Contrast()
        self.least_contrast = LEAST_CONTRAST

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → calibrated scores, float32 (B, L), each row's sum at most 1, and embeddings, float32 (B, F).

        A picture with nothing in it gets scores of 0.
        """
        features = self.encoder(images)
        shows_something = self.contrast(images) >= self.least_contrast
        return self.scores_of(features) * shows_something[:, None], embedding_of(features)

    def scores_of(self, features: Tensor) -> Tensor:
        """Features (B, F) of the encoder → scores, as defined by `ScoreRule`."""
        logits = self.head(features).float()  # (B, C)
        near = torch.sigmoid(self.slope * (self.reach - self.distance(features)))  # (B,)
        scores = torch.softmax(logits / self.temperature, dim=1)
        return scores[:, : self.labels] * near[:, None] * self.sum_limit


def embedding_of(features: Tensor) -> Tensor:
    """Features (B, F) → embeddings, float32 (B, F).

    Square roots, with the sign, keep a few strong features from deciding alone (Perronnin et al., 2010).
    """
    features = features.float()
    return features.sign() * features.abs().sqrt()


def feature_space(features: Tensor, targets: Tensor, labels: int) -> FeatureSpace:
    """Compute the feature space by linear discriminant analysis with a shrunken covariance.

    Distances in it are Mahalanobis distances (Lee et al., 2018, arXiv:1807.03888) without the least informative directions.

    Args:
        features: float32 (N, F), of the training photos
        targets: int64 (N,); L or more means "none of the labels"
        labels: L
    """
    landmarks = targets < labels
    features, targets = features[landmarks].double(), targets[landmarks]
    centres = torch.stack([features[targets == label].mean(dim=0) for label in range(labels)])  # (L, F)
    deviations = features - centres[targets]
    offset = features.mean(dim=0)
    covariance = deviations.T @ deviations / len(features)  # (F, F)
    variance = _mean_variance(covariance.diagonal().mean().item(), (features - offset).square().mean().item())
    covariance += SHRINKAGE * variance * torch.eye(len(covariance))
    variances, axes = torch.linalg.eigh(covariance)
    whitening = axes / variances.sqrt()  # (F, F): features of one label vary by 1 in each direction
    _, _, principal = torch.linalg.svd((features - offset) @ whitening, full_matrices=False)
    directions = whitening @ principal[:DIMENSIONS].T  # (F, D)
    return FeatureSpace(offset.float(), directions.float(), ((centres - offset) @ directions).float())


def _mean_variance(within: float, overall: float) -> float:
    """The mean variance within labels, or the overall one if no label has two different photos."""
    if within > LEAST_VARIANCE_SHARE * overall:
        return within
    return overall or 1.0


def fit_score_rule(logits: Tensor, distances: Tensor, targets: Tensor, labels: int) -> ScoreRule:
    """Fit the score rule on validation photos; the temperature maximises the likelihood of the right answers.

    Slope and reach follow from the typical distance of landmark photos. They are not fitted, because the only
    other photos are ordinary ones like those in training, which the head already recognises; the distance is for all others.

    Args:
        logits: float (N, C), C ≥ L
        distances: float (N,)
        targets: int64 (N,); L: none of them
        labels: L
    """
    logits, distances = logits.double(), distances.double()
    typical = max(distances[targets < labels].median().item(), LEAST_DISTANCE)
    slope, reach = STEEPNESS / typical, EXTENT * typical
    losses = [
        _log_loss(scores_of(logits, distances, labels, temperature, slope, reach), targets, labels)
        for temperature in TEMPERATURES
    ]
    return ScoreRule(float(TEMPERATURES[int(torch.stack(losses).argmin())]), slope, reach)


def scores_of(
    logits: Tensor, distances: Tensor, labels: int, temperature: Tensor, slope: float, reach: float
) -> Tensor:
    """Scores as defined by `ScoreRule`, float (N, L), scaled by `SUM_LIMIT`."""
    near = torch.sigmoid(slope * (reach - distances))
    return torch.softmax(logits / temperature, dim=1)[:, :labels] * near[:, None] * SUM_LIMIT


def validation_loss(logits: Tensor, targets: Tensor, labels: int) -> Tensor:
    """The mean negative log probability of the right label, or of all background classes together.

    Args:
        logits: float (N, C), C ≥ L
        targets: int64 (N,); L: none of them
        labels: L
    """
    background = logits[:, labels:].logsumexp(dim=1, keepdim=True)
    outcomes = torch.cat([logits[:, :labels], background], dim=1) if logits.shape[1] > labels else logits
    has_outcome = targets < outcomes.shape[1]
    return functional.cross_entropy(outcomes[has_outcome], targets[has_outcome])


def _log_loss(scores: Tensor, targets: Tensor, labels: int) -> Tensor:
    """The mean negative log probability of the right answers."""
    none_of_them = 1 - scores.sum(dim=1, keepdim=True)
    probabilities = torch.cat([scores, none_of_them], dim=1).clamp(min=LEAST_PROBABILITY)
    return functional.nll_loss(probabilities.log(), targets.clamp(max=labels))
