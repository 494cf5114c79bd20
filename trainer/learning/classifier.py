"""The classifier: pixels → features → calibrated scores, and its states in training.

Modules have plain attributes and buffers only, for TorchScript, and compute in their parameters' precision.
"""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from tagger.model.artifact import Range
from tagger.photos.files import new_file
from trainer import TrainingFailed, writing_to
from trainer.evaluation import top_k_accuracy
from trainer.networks import Backbone

DIMENSIONS = 96
# Times the mean variance within labels, added to every variance: few photos do not determine them.
SHRINKAGE = 1.0
NEIGHBOURS = 3
# Photos of landmarks, and as many others, that the model file keeps: 192 bytes each.
MOST_POINTS = 20_000
# The width of the kernel as a share of the typical distance: hardly more than the nearest photo
# counts.
WIDTH = 1 / 40
KERNEL_WEIGHT = 0.25
NEARNESS_WEIGHT = 7.0
# The highest magnitude of the logarithm of the linear layer's odds: far from all photos, it says
# nothing.
MOST_ODDS = 10.0
EXTENT = 3.0
# Without other photos, scores are halved at three times the typical distance; at twice they keep 98
# %.
SLOPE = 9.6 / NEARNESS_WEIGHT
# Other photos in validation from which slope and midpoint can be fitted.
LEAST_OTHERS = 20
LEAST_SLOPE = 0.1
# The share of other photos that scores are calibrated for. With few, all photos of landmarks have
# scores near 1, and differ more by which landmark they may show than by whether they show one.
OTHERS_SHARE = 0.5
# The candidates. The loss has a single minimum, and steps of 1/90 are finer than photos can
# resolve.
TEMPERATURES = torch.logspace(-1.3, 1, 461, dtype=torch.float64)
# Photos whose highest score is in this range are looked at again, mirrored: 3 % of a family's. With
# the mean of both scores, two in a hundred more landmark photos get their tag at the same
# precision.
SECOND_LOOK: Range = (0.4, 0.97)
# Scores are scaled by this factor, so that rounding never takes their sum above 1.
SUM_LIMIT = 1 - 1e-6
# Smaller variances within labels, relative to the overall variance, are rounding errors.
LEAST_VARIANCE_SHARE = 1e-6
LEAST_DISTANCE = 1e-3
LEAST_KERNEL = 1e-30


@dataclass(frozen=True)
class ScoreRule:
    """score of label l = softmax(v / temperature)[l] · sigmoid(slope · (evidence - midpoint)).

    v[l] = logit[l] + `KERNEL_WEIGHT` · log(sum of exp(-distance / width) over the photos of l).

    evidence = log odds of the labels against the background classes + `NEARNESS_WEIGHT` · log(o / d), with
    the mean distances d from the nearest photos of landmarks and o from the nearest other photos, at most
    `reach`, which rejects what is far from everything, and stands in for other photos where there are none.
    """

    temperature: float
    width: float
    reach: float
    slope: float
    midpoint: float


class Neighbours(nn.Module):
    """The distances of embeddings from the photos of training, in the directions in which labels differ.

    Embeddings of one label have variance 1 in each direction. The nearest photos reject well even in networks
    that were not trained for it (Sun et al., 2022, arXiv:2204.06507). They are stored in half precision.
    """

    offset: Tensor  # (F,), subtracted from embeddings first
    directions: Tensor  # (F, D)
    landmarks: Tensor  # (N, D), photos of landmarks
    labels: Tensor  # int64 (N,), theirs
    others: Tensor  # (M, D), all other photos

    def __init__(
        self,
        offset: Tensor,
        directions: Tensor,
        landmarks: Tensor,
        labels: Tensor,
        others: Tensor,
    ) -> None:
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("directions", directions.half())
        self.register_buffer("landmarks", landmarks.half())
        self.register_buffer("labels", labels)
        self.register_buffer("others", others.half())

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F) → float32 (B, N), distances from the photos of landmarks, and (B, M), from the others."""
        points = (
            embeddings.float() - self.offset.float()
        ) @ self.directions.float()  # (B, D)
        return distances_of(points, self.landmarks.float()), distances_of(
            points, self.others.float()
        )


class Scoring(nn.Module):
    """The score rule: logits and embeddings → scores."""

    count: Final[int]
    temperature: Final[float]
    width: Final[float]
    reach: Final[float]
    slope: Final[float]
    midpoint: Final[float]
    limit: Final[float]

    def __init__(self, neighbours: Neighbours, labels: int, rule: ScoreRule) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.count = labels
        self.temperature = rule.temperature
        self.width = rule.width
        self.reach = rule.reach
        self.slope = rule.slope
        self.midpoint = rule.midpoint
        self.limit = SUM_LIMIT

    def forward(self, logits: Tensor, embeddings: Tensor) -> Tensor:
        """Logits of labels and background (B, C) and embeddings (B, F) → scores, float32 (B, L)."""
        logits = logits.float()
        from_landmarks, from_others = self.neighbours(embeddings)
        own = logits[:, : self.count] + kernel_logits(
            from_landmarks, self.neighbours.labels, self.count, self.width
        )
        evidence = evidence_of(
            logits,
            self.count,
            from_landmarks,
            from_others,
            self.reach,
        )
        is_landmark = torch.sigmoid(self.slope * (evidence - self.midpoint))
        return (
            torch.softmax(own / self.temperature, dim=1)
            * is_landmark[:, None]
            * self.limit
        )


def distances_of(
    points: Tensor, photos: Tensor, least: float = LEAST_DISTANCE
) -> Tensor:
    """The distances of points (B, D) from photos (N, D): float32 (B, N)."""
    lengths = (
        points.square().sum(dim=1, keepdim=True) + photos.square().sum(dim=1)[None]
    )
    return (lengths - 2.0 * points @ photos.t()).clamp(min=least * least).sqrt()


def kernel_logits(
    distances: Tensor,
    labels: Tensor,
    count: int,
    width: float,
    weight: float = KERNEL_WEIGHT,
    least: float = LEAST_KERNEL,
) -> Tensor:
    """The weighted logarithm of each label's kernel, but for a term that all labels share: float (B, L).

    Args:
        distances: float (B, N), from photos of landmarks
        labels: int64 (N,), theirs
        count: L
        width: see `ScoreRule`
        weight: the factor of the result
        least: the lowest value of a kernel, relative to that of the nearest photo
    """
    kernels = torch.exp(
        (distances.amin(dim=1, keepdim=True) - distances) / width
    )  # (B, N)
    membership = (
        labels[:, None] == torch.arange(count, device=labels.device)[None]
    ).to(distances.dtype)
    return weight * (kernels @ membership).clamp(min=least).log()


def evidence_of(
    logits: Tensor,
    count: int,
    from_landmarks: Tensor,
    from_others: Tensor,
    reach: float,
    nearest: int = NEIGHBOURS,
    weight: float = NEARNESS_WEIGHT,
    most: float = MOST_ODDS,
) -> Tensor:
    """The evidence that photos show a landmark, as defined by `ScoreRule`: float (B,).

    Args:
        logits: float (B, C), C ≥ L
        count: L
        from_landmarks: float (B, N), distances
        from_others: float (B, M), distances
        reach: see `ScoreRule`
        nearest: how many photos count
        weight: the factor of the logarithm of the ratio of distances
        most: the highest magnitude of the logarithm of the odds
    """
    near = mean_of_least(from_landmarks, nearest)
    far = torch.full_like(near, reach)
    if from_others.shape[1] > 0:
        far = mean_of_least(from_others, nearest).clamp(max=reach)
    evidence = weight * torch.log(far / near)
    if logits.shape[1] > count:
        odds = logits[:, :count].logsumexp(dim=1) - logits[:, count:].logsumexp(dim=1)
        evidence = evidence + odds.clamp(min=-most, max=most)
    return evidence


def mean_of_least(distances: Tensor, count: int) -> Tensor:
    """The mean of the lowest `count` of each row (B, N): float (B,)."""
    return torch.topk(distances, min(count, distances.shape[1]), dim=1, largest=False)[
        0
    ].mean(dim=1)


def fit_neighbours(embeddings: Tensor, targets: Tensor, labels: int) -> Neighbours:
    """Find the directions by linear discriminant analysis with a shrunken covariance.

    Args:
        embeddings: float32 (N, F), of the training photos
        targets: int64 (N,); L or more means "none of the labels"
        labels: L
    """
    is_landmark = targets < labels
    photos, photo_labels = embeddings[is_landmark].double(), targets[is_landmark]
    centres = torch.stack(
        [photos[photo_labels == label].mean(dim=0) for label in range(labels)]
    )  # (L, F)
    deviations = photos - centres[photo_labels]
    offset = photos.mean(dim=0)
    covariance = deviations.T @ deviations / len(photos)  # (F, F)
    within, overall = (
        covariance.diagonal().mean().item(),
        (photos - offset).square().mean().item(),
    )
    # If no label has two different photos, the overall variance has to do.
    variance = within if within > LEAST_VARIANCE_SHARE * overall else overall or 1.0
    covariance += SHRINKAGE * variance * torch.eye(len(covariance))
    variances, axes = torch.linalg.eigh(covariance)
    whitening = (
        axes / variances.sqrt()
    )  # (F, F): embeddings of one label vary by 1 in each direction
    _, _, principal = torch.linalg.svd(
        (photos - offset) @ whitening, full_matrices=False
    )
    directions = whitening @ principal[:DIMENSIONS].T  # (F, D)
    points = (embeddings.double() - offset) @ directions  # (N, D)
    # The photos of labels with fewer than `NEIGHBOURS` are repeated, or others would be among the nearest.
    rows = [(targets == label).nonzero()[:, 0] for label in range(labels)]
    kept = _thin(
        torch.cat(
            [row.repeat(max(1, math.ceil(NEIGHBOURS / len(row)))) for row in rows]
        )
    )
    return Neighbours(
        offset.float(),
        directions.float(),
        landmarks=points[kept].float(),
        labels=targets[kept],
        others=points[_thin((~is_landmark).nonzero()[:, 0])].float(),
    )


def _thin(positions: Tensor) -> Tensor:
    # At most `MOST_POINTS` of the positions (N,), evenly spread.
    if len(positions) <= MOST_POINTS:
        return positions
    return positions[torch.arange(MOST_POINTS) * len(positions) // MOST_POINTS]


@dataclass(frozen=True)
class UnlearntPhotos:
    """Validation photos, as a linear layer and photos of training see them that have not learnt them.

    V: the photo, and its mirror image.
    """

    logits: Tensor  # float (N, V, C), C ≥ L
    embeddings: Tensor  # float (N, V, F)
    targets: Tensor  # int64 (N,); L: none of the labels
    neighbours: Neighbours

    def scores(self, labels: int, rule: ScoreRule) -> Tensor:
        """Their scores after the second look, float32 (N, L)."""
        scoring = Scoring(self.neighbours, labels, rule)
        scores, mirrored = (
            scoring(self.logits[:, view], self.embeddings[:, view]) for view in (0, 1)
        )
        highest = scores.amax(dim=1, keepdim=True)
        least, limit = SECOND_LOOK
        is_near = (highest >= least) & (highest < limit)
        return torch.where(is_near, (scores + mirrored) / 2, scores)


def fit_score_rule(parts: Sequence[UnlearntPhotos], labels: int) -> ScoreRule:
    """Fit the score rule on validation photos: the temperature on landmarks, the rest by Platt scaling.

    With few other photos, slope and midpoint follow from the typical distance, as width and reach do.
    """
    distances = [
        tuple(
            neighbour.double() for neighbour in part.neighbours(part.embeddings[:, 0])
        )
        for part in parts
    ]
    targets = torch.cat([part.targets for part in parts])
    is_landmark = targets < labels
    nearest = torch.cat([mean_of_least(near, NEIGHBOURS) for near, _ in distances])
    typical = nearest[is_landmark].median().item()
    width, reach = WIDTH * typical, EXTENT * typical
    own = torch.cat(
        [
            part.logits[:, 0, :labels].double()
            + kernel_logits(near, part.neighbours.labels, labels, width)
            for part, (near, _) in zip(parts, distances, strict=True)
        ]
    )
    losses = [
        functional.cross_entropy(own[is_landmark] / temperature, targets[is_landmark])
        for temperature in TEMPERATURES
    ]
    temperature = float(TEMPERATURES[int(torch.stack(losses).argmin())])
    slope, midpoint = SLOPE, 0.0
    if (~is_landmark).sum() >= LEAST_OTHERS:
        evidence = [
            evidence_of(part.logits[:, 0].double(), labels, near, far, reach)
            for part, (near, far) in zip(parts, distances, strict=True)
        ]
        slope, midpoint = fit_logistic(torch.cat(evidence), is_landmark, OTHERS_SHARE)
    return ScoreRule(temperature, width, reach, slope, midpoint)


@torch.enable_grad()
def fit_logistic(
    values: Tensor,
    outcomes: Tensor,
    share: float,
) -> tuple[float, float]:
    """Slope and midpoint of the logistic curve of the outcomes, by maximum likelihood with Platt's targets.

    These targets are not quite 0 and 1, so that the slope stays finite (Platt, 1999).

    Args:
        values: float64 (N,)
        outcomes: bool (N,)
        share: the share of negative outcomes, 0…1, that the curve is for; they are weighted so
    """
    positives, negatives = int(outcomes.sum()), int((~outcomes).sum())
    targets = torch.where(
        outcomes,
        (positives + 1) / (positives + 2),
        1 / (negatives + 2),
    ).double()
    sample_weights = torch.where(
        outcomes,
        (1 - share) / max(positives, 1),
        share / max(negatives, 1),
    ).double()
    centre, scale = values.mean(), values.std() + LEAST_DISTANCE
    weights = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights], max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = weights[0] * (values - centre) / scale + weights[1]
        value = functional.binary_cross_entropy_with_logits(
            logits, targets, weight=sample_weights, reduction="sum"
        )
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    slope = max((weights[0] / scale).item(), LEAST_SLOPE)
    return slope, centre.item() - weights[1].item() / slope


# The state of a training after an epoch, and its checkpoint, a safetensors file.
#
# A checkpoint has everything the next epoch depends on. Nothing is unpickled.

CHECKPOINT = Path("checkpoint", "training.safetensors")
# Prefixes of tensor names in a checkpoint.
NETWORK, AVERAGE, OPTIMISER = "network.", "average.", "optimiser."


@dataclass(frozen=True)
class Validation:
    loss: float
    top1: float


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch. `learning_rate` is the highest of all groups at its end."""

    number: int
    loss: float
    validation: Validation
    learning_rate: float = 0.0
    seconds: float = 0.0
    images_per_second: float = 0.0


Network = TypeVar("Network", bound=nn.Module)


@dataclass
class TrainingState(Generic[Network]):
    """Everything that changes in training. `average`, the averaged network, is the result.

    The optimiser's groups have their highest learning rate under "highest_rate".
    """

    network: Network
    optimiser: torch.optim.Optimizer
    average: Network = field(init=False)
    history: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.average = (
            copy.deepcopy(self.network).requires_grad_(requires_grad=False).eval()
        )


def save_checkpoint(
    path: Path,
    state: TrainingState[Network],
    settings: dict[str, object],
) -> None:
    """Write the training state atomically.

    Args:
        path: the checkpoint file
        state: the state after an epoch
        settings: settings that must stay the same to resume
    """
    tensors = {
        NETWORK + name: values for name, values in state.network.state_dict().items()
    }
    tensors |= {
        AVERAGE + name: values for name, values in state.average.state_dict().items()
    }
    for number, entries in state.optimiser.state_dict()["state"].items():
        tensors |= {
            f"{OPTIMISER}{number}.{name}": values for name, values in entries.items()
        }
    metadata = {
        "settings": json.dumps(settings, sort_keys=True),
        "history": json.dumps([asdict(epoch) for epoch in state.history]),
    }
    with writing_to(path), new_file(path) as partial:
        save_file(
            {
                name: values.detach().cpu().contiguous()
                for name, values in tensors.items()
            },
            partial,
            metadata,
        )


def resume_checkpoint(
    path: Path,
    state: TrainingState[Network],
    settings: dict[str, object],
) -> None:
    """Restore the training state of a checkpoint into `state`.

    Raises:
        TrainingFailed: it is damaged, or its settings differ.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            stored, current = (
                json.loads(metadata["settings"]),
                json.loads(json.dumps(settings)),
            )
            # Report what the user chose before the plan that follows from it.
            names = stored.keys() | current.keys()
            for name in sorted(
                names,
                key=lambda name: (isinstance(current.get(name), dict), name),
            ):
                if stored.get(name) != current.get(name):
                    reason = f"it has another {name} ({stored.get(name)}, now {current.get(name)})"
                    raise _not_resumed(path, reason)
            history = TypeAdapter(list[Epoch]).validate_json(metadata["history"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        state.network.load_state_dict(_with_prefix(tensors, NETWORK))
        state.average.load_state_dict(_with_prefix(tensors, AVERAGE))
        entries: dict[int, dict[str, Tensor]] = {}
        for name, values in _with_prefix(tensors, OPTIMISER).items():
            number, _, entry = name.partition(".")
            entries.setdefault(int(number), {})[entry] = values
        groups = state.optimiser.state_dict()["param_groups"]
        state.optimiser.load_state_dict({"state": entries, "param_groups": groups})
    except (
        OSError,
        SafetensorError,
        KeyError,
        ValueError,
        ValidationError,
        RuntimeError,
    ) as error:
        raise _not_resumed(
            path,
            f"it is damaged ({str(error).splitlines()[0]})",
        ) from error
    state.history[:] = history


def _not_resumed(checkpoint: Path, reason: str) -> TrainingFailed:
    remedy = "Train without --resume to start over"
    return TrainingFailed(
        reason=f"the checkpoint {checkpoint} cannot be resumed: {reason}", remedy=remedy
    )


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): values
        for name, values in tensors.items()
        if name.startswith(prefix)
    }


# The classifier: pixels → features → calibrated scores, with rejection of other photos, and
# embeddings.
#
# Modules have plain attributes and buffers only, for TorchScript, and compute in their parameters'
# precision.

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
        self.register_buffer(
            "mean",
            torch.tensor(normalisation.mean).view(1, 3, 1, 1),
        )
        self.register_buffer(
            "deviation",
            torch.tensor(normalisation.deviation).view(1, 3, 1, 1),
        )

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


class ExportedClassifier(nn.Module):
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
        return self.scores_of(features) * shows_something[:, None], embedding_of(
            features
        )

    def scores_of(self, features: Tensor) -> Tensor:
        """Features (B, F) of the encoder → scores, float32 (B, L)."""
        raise NotImplementedError


class LandmarkClassifier(ExportedClassifier):
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
