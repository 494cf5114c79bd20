"""A classifier of ImageNet as a model of things: what else photos show, in words that people say.

The evidence for a thing is the log-odds of its classes among the 1,000 of ImageNet (`things.csv` has
them, its names and its parent), plus a linear layer on the network's embedding that is fitted on labelled
photos. A thing without classes has the layer alone. Photos of sources that a layer has not learnt choose how
much it may say, the threshold of each thing, and whether it is right often enough to be in the model.

The model can begin with the layers of a model of landmarks, its trunk, so that one pass computes them for
both. ImageNet's late layers go on from there, after a linear map of what enters them.
"""

import copy
import csv
import importlib.resources
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.model.artifact import (
    InputRule,
    Label,
    Manifest,
    Range,
    Trunk,
    Values,
    file_digest,
    read_manifest,
    without_deprecations,
)
from tagger.model.backends import Conversions
from tagger.model.backends.selection import BackendSelector
from tagger.model.devices import choose_device
from tagger.photos.files import new_file
from trainer import BackboneUnusable, DataUnusable, photo_progress, writing_to
from trainer.backbones import GOOGLE_IN_FILES, find_source, load_backbone, read_weights
from trainer.data import open_csv
from trainer.data.preparation import decode_batches
from trainer.export.artifact import WrittenModel, program_versions, write_program
from trainer.export.calibration import convolution_ranges
from trainer.learning.classifier import (
    LEAST_CONTRAST,
    Encoder,
    contrast_of,
    embedding_of,
)

# The network that can begin with a trunk, and of whose stages it consists.
BACKBONE = GOOGLE_IN_FILES
TRUNK_STAGES = 4
# The photos that fit the linear map after a trunk, and the ranges for eight bits.
SAMPLE = 512
# Times the variance of what enters the map, added to it: channels are much alike.
SHRINKAGE = 1e-3
SIZE = 224
# As that of the shipped model of landmarks: a photo is decoded once for both.
INPUT = InputRule(size=SIZE, short_side=SIZE, fit="stretch")
CLASSES = 1000
LANGUAGES = ("de", "es", "fr", "pt", "vi", "hi")
BATCH_SIZE = 16
# The layer is fitted in the directions in which embeddings vary most: 87 % of the variance.
DIRECTIONS = 384
# The candidates for the penalty of a thing's weights. The last one leaves the classes alone.
PENALTIES = (200.0, 1200.0, 1e9)
# Steps of each fit. Fewer are a further penalty, which cost nothing in photos of other sources.
STEPS = 25
# A photo that shows a thing weighs at most as much as so many that do not.
MOST_WEIGHT = 6.0
# Each part of the sources is judged by what has learnt the others.
PARTS = 14
# Of the tags of each thing, this share is right on labelled photos whose source its layer has not learnt. The
# next one is tried where fewer are with thresholds that have not learnt the source either.
PRECISIONS = (0.9, 0.91, 0.92, 0.94, 0.96, 0.98)
LEAST_PRECISION = 0.85
# So few wrong tags say nothing.
FEW_WRONG = 3
# Right tags of a thing that are enough to choose its threshold by.
LEAST_RIGHT = 4
# No threshold is lower, in log-odds.
LEAST_EVIDENCE = 0.0
# A threshold that no evidence reaches.
NEVER = float("inf")
# By which a score at a threshold may be lower where the model runs.
ROUNDING = 0.005

log = logging.getLogger("trainer")

Judged = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ThingClasses:
    """A line of the table: the label of a thing, and its classes of ImageNet, if there are any."""

    label: Label
    classes: tuple[int, ...]


@dataclass(frozen=True)
class LabelledThings:
    """What people see on a photo. Of a thing that is in neither set, they said nothing.

    `source`: photos of one look alike, so what has learnt some of them is not judged by the others.
    """

    path: Path
    source: str
    shown: frozenset[str]
    absent: frozenset[str]


@dataclass(frozen=True)
class ThingQuality:
    """A thing on labelled photos, as a layer finds it that has not learnt their source.

    `threshold`: of its evidence, chosen by all photos; None: the thing is left out. `tagged`, `right`,
    `shown`: how many photos get its tag, rightly, and should. `new_tagged`, `new_right`: the first two with
    thresholds that have not learnt the source either.
    """

    thing: str
    threshold: float | None
    tagged: int
    right: int
    shown: int
    new_tagged: int
    new_right: int


@dataclass(frozen=True)
class ThingsImport(WrittenModel):
    """A written model file, and the things of the table, also those that it leaves out.

    `confusions`: the thing of a wrong tag, what the photo shows instead, and the number of such tags.
    """

    qualities: Sequence[ThingQuality]
    confusions: Sequence[tuple[str, str, int]]


def import_things(
    photos: Path,
    labels: Path,
    out: Path,
    *,
    backbone: str,
    weights: Path | None,
    trunk: Path | None = None,
    name: str | None,
) -> ThingsImport:
    """Make a model of things of a classifier of ImageNet, by what labelled photos show, and write it.

    With `trunk`, a model of landmarks, it begins with the layers of that model.

    Raises:
        BackboneUnusable, ExtraMissing, DataUnusable, OutputUnwritable, ExportImpossible: with what to do.
    """
    table, labelled = read_things(), read_labels(photos, labels)
    encoder, head, origin = load_classifier(backbone, weights)
    paths = [photo.path for photo in labelled]
    sample = decode_batches(
        paths[:: len(paths) // SAMPLE + 1], INPUT.resize, BATCH_SIZE
    )
    batches = [batch.images for batch in sample]
    shared = None if trunk is None else begin_with(trunk, encoder, backbone, batches)
    ranges = convolution_ranges(encoder, batches)
    if trunk is not None and shared is not None:
        count = shared.convolutions + 1
        ranges = read_manifest(trunk).ranges[:count] + ranges[count:]
    groups = groups_of(table)
    embeddings, class_odds = look_at(
        ThingFeatures(encoder, head, groups), ranges, paths
    )
    fitted = fit_things(
        embeddings,
        class_odds,
        [thing.label.slug for thing in table],
        labelled,
    )
    qualities, confusions = fitted.judged()
    columns = [
        column
        for column, quality in enumerate(qualities)
        if quality.threshold is not None
    ]
    if not columns:
        reason = "no thing is right often enough on these photos"
        raise DataUnusable(
            path=labels,
            reason=reason,
            remedy="Label more photos, or use another network",
        )
    kept_qualities = [qualities[column] for column in columns]
    thresholds = torch.tensor([quality.threshold for quality in kept_qualities])
    slopes, height = calibrate(
        fitted.evidence[:, columns],
        fitted.labels[:, columns],
        thresholds,
    )
    layer = fitted.layer(embeddings.shape[1], columns)
    with torch.no_grad():
        layer.bias.sub_(thresholds)
    features = ThingFeatures(encoder, head, groups[:, columns])
    classifier = ThingClassifier(features, layer, slopes, height)
    manifest = Manifest(
        kind="things",
        name=name or out.stem,
        created_at=datetime.now(UTC).replace(microsecond=0),
        labels=labels_of([table[column].label for column in columns]),
        input=INPUT,
        ranges=ranges,
        trunk=shared,
        threshold=round(float(torch.tensor(height).sigmoid()) - ROUNDING, 4),
        threshold_reason=f"of each thing, at least {PRECISIONS[0]:.0%} of the tags on labelled photos of "
        "other sources are right",
        calibration={
            "method": "a slope of each thing, fitted on photos of other sources"
        },
        training={
            "backbone": origin,
            "thresholds": {
                quality.thing: quality.threshold for quality in kept_qualities
            },
        },
        metrics=figures_of(kept_qualities, len(labelled)),
        versions=program_versions(),
    )
    with writing_to(out), new_file(out) as partial:
        for parameter in classifier.parameters():
            parameter.data = (
                parameter.data.half()
            )  # they become full numbers where the model runs
        write_program(classifier, manifest, partial, None)
    return ThingsImport(
        out,
        file_digest(out),
        out.stat().st_size,
        manifest,
        qualities,
        confusions,
    )


# The model that is written.


class ThingFeatures(nn.Module):
    """What evidence is made of: the probabilities of the classes of each thing, and the embedding."""

    groups: Tensor  # (C, T): 1 where a class is of a thing

    def __init__(self, encoder: Encoder, head: nn.Linear, groups: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.register_buffer("groups", groups)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → float32 (B, T) and (B, F)."""
        features = self.encoder(images)
        probabilities = torch.softmax(self.head(features).float(), dim=1)
        return torch.matmul(probabilities, self.groups.float()), embedding_of(features)


class ThingClassifier(nn.Module):
    """The evidence of classes, and the layer that adds what photos taught."""

    slopes: Tensor  # (T,)

    def __init__(
        self, features: ThingFeatures, layer: nn.Linear, slopes: Tensor, height: float
    ) -> None:
        super().__init__()
        self.features = features
        self.layer = layer
        self.height = height
        self.least_contrast = LEAST_CONTRAST
        self.register_buffer("slopes", slopes)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → scores, float32 (B, T), each of its own: their sum has no limit."""
        shares, embedding = self.features(images)
        evidence = log_odds_of_classes(shares, self.features.groups)
        taught = self.layer(embedding.to(self.layer.weight.dtype))
        scores = torch.sigmoid(
            (evidence + taught.float()) * self.slopes.float() + self.height
        )
        return scores * (contrast_of(images) >= self.least_contrast)[:, None]


def log_odds_of_classes(shares: Tensor, groups: Tensor, least: float = 1e-6) -> Tensor:
    """The log-odds of probabilities (B, T), float32; 0 of a thing without classes."""
    inside = shares.clamp(least, 1.0 - least)
    return torch.log(inside / (1.0 - inside)) * (groups.float().sum(dim=0) > 0)


# What is read: the table of things, the labels of photos, and the network.


def read_things() -> list[ThingClasses]:
    text = (
        importlib.resources.files("trainer.imports")
        .joinpath("things.csv")
        .read_text("utf-8")
    )
    return [
        ThingClasses(
            Label(
                label=row["slug"],
                slug=row["slug"],
                name=row["name"],
                names={language: row[language] for language in LANGUAGES},
                aliases=tuple(filter(None, row["aliases"].split("|"))),
                parent=row["parent"] or None,
            ),
            tuple(_numbers(row["classes"])),
        )
        for row in csv.DictReader(text.splitlines())
    ]


def _numbers(text: str) -> Iterator[int]:
    # The numbers of a list like `7-24 80`.
    for part in text.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def groups_of(table: Sequence[ThingClasses]) -> Tensor:
    """Float (C, T): 1 where a class is of a thing."""
    groups = torch.zeros(CLASSES, len(table))
    for column, thing in enumerate(table):
        groups[list(thing.classes), column] = 1.0
    return groups


def read_labels(photos: Path, labels: Path) -> list[LabelledThings]:
    """Read the labels of photos: file, the slugs of things that it shows and does not show, and its source.

    A photo of a dog shows an animal, and one without animals no dog. Without a source, it is the folder.

    Raises:
        DataUnusable: the file lacks a column, or names no photo of the folder.
    """
    parents = {thing.label.slug: thing.label.parent for thing in read_things()}
    columns = ("file", "things", "not")
    remedy = f"Write a CSV file with the columns {', '.join(columns)}"
    with open_csv(labels, remedy) as rows:
        if missing := set(columns) - set(rows.fieldnames or ()):
            raise DataUnusable(
                path=labels, reason=f"has no column {min(missing)}", remedy=remedy
            )
        labelled = []
        for row in rows:
            path = photos / row["file"]
            if not path.is_file():
                continue
            named, absent = _slugs(row["things"]), _slugs(row["not"])
            shown = named.union(filter(None, map(parents.get, named)))
            kinds = {slug for slug, parent in parents.items() if parent in absent}
            source = row.get("source") or str(Path(row["file"]).parent)
            labelled.append(
                LabelledThings(path, source, shown, (absent | kinds) - shown)
            )
    if not labelled:
        raise DataUnusable(
            path=labels, reason=f"names no photo in {photos}", remedy=remedy
        )
    return labelled


def _slugs(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(";")))


def load_classifier(
    backbone: str, weights: Path | None
) -> tuple[Encoder, nn.Linear, str]:
    """Load the encoder of a network, the linear layer of its classes, and where its weights come from.

    Raises:
        BackboneUnusable, ExtraMissing: there is no such network, or its weights end with no such layer.
    """
    description, network = load_backbone(backbone, weights, SIZE)
    source, name = find_source(backbone)
    state = (
        source.published_state(name)[1]
        if weights is None
        else read_weights(weights, backbone)[1]
    )
    # TensorFlow's first class is none of ImageNet's.
    sizes = [(count, description.features) for count in (CLASSES, CLASSES + 1)]
    matrix = next(
        (key for key, values in state.items() if tuple(values.shape) in sizes),
        "",
    )
    bias = f"{matrix.removesuffix('weight')}bias"
    if bias not in state:
        reason = f"its weights have no linear layer of {CLASSES} classes"
        remedy = "Use weights with their classifier"
        raise BackboneUnusable(backbone=backbone, reason=reason, remedy=remedy)
    head = nn.Linear(description.features, CLASSES)
    head.load_state_dict(
        {"weight": state[matrix][-CLASSES:], "bias": state[bias][-CLASSES:]}
    )
    return (
        Encoder(description, network).eval(),
        head,
        f"{backbone}, {description.weights}",
    )


@torch.no_grad()
def begin_with(
    trunk: Path, encoder: Encoder, backbone: str, batches: Sequence[Tensor]
) -> Trunk:
    """Replace the first stages of the encoder by those of a model of landmarks, in place.

    That model was trained on from the same weights, and what its stages return is nearly linear in what they
    returned before. The linear map back, fitted on photos, becomes a part of the next convolution.

    Raises:
        BackboneUnusable, ModelRefused: the networks are not of one kind.
    """
    if backbone != BACKBONE:
        reason = "its first layers cannot be those of another model"
        remedy = f"Use {BACKBONE}, or no --trunk"
        raise BackboneUnusable(backbone=backbone, reason=reason, remedy=remedy)
    other = Encoder(*load_backbone(backbone, trunk, SIZE))
    network: Any = encoder.network
    shared, replaced = first_stages(other), first_stages(encoder)
    inputs, targets = (
        # (B, C, H, W) → float64 (B · H · W, C)
        torch.cat(
            [
                stages(encoder.normalised(images))
                .permute(0, 2, 3, 1)
                .flatten(end_dim=2)
                .double()
                for images in batches
            ]
        )
        for stages in (shared, replaced)
    )
    inputs = functional.pad(inputs, (0, 1), value=1.0)  # for the offset
    squares = inputs.T @ inputs
    squares += SHRINKAGE * squares.diagonal().mean() * torch.eye(len(squares))
    linear_map = torch.linalg.solve(squares, inputs.T @ targets)
    next_convolution = network.blocks[TRUNK_STAGES][0].conv_pw
    kernels = next_convolution.weight[:, :, 0, 0].double()
    next_convolution.bias += (kernels @ linear_map[-1]).float()
    next_convolution.weight.copy_((kernels @ linear_map[:-1].T)[:, :, None, None])
    network.conv_stem, network.bn1, *stages = shared
    network.blocks = nn.Sequential(*stages, *network.blocks[TRUNK_STAGES:])
    count = sum(isinstance(module, nn.Conv2d) for module in shared.modules())
    return Trunk(digest=file_digest(trunk), convolutions=count)


def first_stages(encoder: Encoder) -> nn.Sequential:
    network: Any = encoder.network
    return nn.Sequential(network.conv_stem, network.bn1, *network.blocks[:TRUNK_STAGES])


def look_at(
    features: ThingFeatures, ranges: tuple[Range, ...], paths: Sequence[Path]
) -> tuple[Tensor, Tensor]:
    """The embeddings of photos, float32 (N, F), and the log-odds of the classes of things, (N, T).

    They are computed as on this machine the model will be, in eight bits where it has the instructions. A
    photo that cannot be read has zeros.
    """
    embeddings = torch.zeros(len(paths), features.head.in_features)
    class_odds = torch.zeros(len(paths), features.groups.shape[1])

    def program() -> torch.jit.ScriptModule:
        with without_deprecations():
            module: torch.jit.ScriptModule = torch.jit.script(
                copy.deepcopy(features).eval()
            )
        return module

    device = choose_device("cpu", None)
    unconverted = Conversions(Path(), digest="", folder=None)
    selector = BackendSelector(program, device, SIZE, 1, ranges, unconverted)
    backend, _ = selector.choose(None)
    with photo_progress("looking at photos", len(paths)) as advance:
        for batch in decode_batches(paths, INPUT.resize, BATCH_SIZE):
            outputs = backend.forward(batch.images.permute(0, 2, 3, 1).numpy())
            rows = list(batch.positions)
            shares = torch.tensor(outputs.scores)
            embeddings[rows] = torch.tensor(outputs.embeddings)
            class_odds[rows] = log_odds_of_classes(shares, features.groups)
            advance(len(rows))
    return embeddings, class_odds


# The fit, and what photos of sources say that it has not learnt.


@dataclass(frozen=True)
class FittedThings:
    """The layer, and the evidence of photos by layers that have not learnt their source.

    `labels`: 1 where a photo shows a thing, 0 where it does not, -1 where nothing is known.
    """

    slugs: Sequence[str]
    photos: Sequence[LabelledThings]
    parts: npt.NDArray[np.int64]  # (N,)
    labels: Tensor  # int8 (N, T)
    evidence: Tensor  # float32 (N, T)
    weights: Tensor  # float32 (F + 1, T), the bias last

    def layer(self, width: int, columns: Sequence[int]) -> nn.Linear:
        layer = nn.Linear(width, len(columns))
        with torch.no_grad():
            layer.weight.copy_(self.weights[:-1, columns].T)
            layer.bias.copy_(self.weights[-1, columns])
        return layer

    def judged(self) -> tuple[list[ThingQuality], list[tuple[str, str, int]]]:
        """The things with their thresholds, and which are taken for which."""
        evidence, labels = self.evidence.numpy(), self.labels.numpy()
        is_known, is_shown = labels >= 0, labels > 0
        qualities: dict[str, ThingQuality] = {}
        wrong_tags: dict[int, Judged] = {}
        for precision in PRECISIONS:
            limits = choose_thresholds(evidence, labels, precision)
            is_tagged = (evidence >= limits) & is_known
            is_right = is_tagged & is_shown
            is_new_tag = self._new_tags(precision) & is_known
            is_wrong = is_new_tag & ~is_shown
            for column, slug in enumerate(self.slugs):
                if slug in qualities and qualities[slug].threshold is not None:
                    continue
                wrong_tags[column] = is_wrong[:, column]
                new_tagged = int(is_new_tag[:, column].sum())
                wrong = int(is_wrong[:, column].sum())
                is_right_enough = wrong <= max(
                    (1 - LEAST_PRECISION) * new_tagged, FEW_WRONG
                )
                is_usable = limits[column] < NEVER and is_right_enough
                qualities[slug] = ThingQuality(
                    slug,
                    float(limits[column]) if is_usable else None,
                    tagged=int(is_tagged[:, column].sum()),
                    right=int(is_right[:, column].sum()),
                    shown=int(is_shown[:, column].sum()),
                    new_tagged=new_tagged,
                    new_right=new_tagged - wrong,
                )

        # Wrong tags, with what the photos show instead, the most frequent first.
        counts: Counter[tuple[str, str]] = Counter()
        parents = {thing.label.parent for thing in read_things()}
        for column, wrong_rows in wrong_tags.items():
            for row in np.flatnonzero(wrong_rows).tolist():
                shown = sorted(self.photos[row].shown - parents) or ["something else"]
                counts.update((self.slugs[column], instead) for instead in shown)
        confusions = [
            (tag, instead, count) for (tag, instead), count in counts.most_common()
        ]

        return [qualities[slug] for slug in self.slugs], confusions

    def _new_tags(self, precision: float) -> Judged:
        # Which photos get which tags by thresholds that the photos of other parts choose: (N, T).
        evidence, labels = self.evidence.numpy(), self.labels.numpy()
        is_tagged = np.zeros(labels.shape, bool)
        for part in np.unique(self.parts):
            rows = self.parts == part
            limits = choose_thresholds(evidence[~rows], labels[~rows], precision)
            is_tagged[rows] = evidence[rows] >= limits
        return is_tagged


def fit_things(
    embeddings: Tensor,
    class_odds: Tensor,
    slugs: Sequence[str],
    photos: Sequence[LabelledThings],
) -> FittedThings:
    """Fit the layer, with the penalty of each thing that is best on photos of other sources.

    Args:
        embeddings: float32 (N, F)
        class_odds: float32 (N, T)
        slugs: of the things
        photos: (N,)
    """
    labels = label_matrix(slugs, photos)
    mean, deviation = embeddings.mean(dim=0), embeddings.std(dim=0) + 1e-3
    inputs = (embeddings - mean) / deviation
    torch.manual_seed(0)
    count = min(DIRECTIONS, *inputs.shape)
    directions = torch.pca_lowrank(inputs, q=count, center=False)[2]  # (F, D)
    inputs = inputs @ directions
    parts = parts_of([photo.source for photo in photos])
    weights = photo_weights(labels, [photo.source for photo in photos])
    by_penalty = torch.zeros(len(PENALTIES), *labels.shape)
    for part in range(PARTS):
        rows = torch.from_numpy(parts == part)
        if not rows.any() or rows.all():
            continue
        for number, penalty in enumerate(PENALTIES):
            penalties = torch.full((len(slugs),), penalty)
            layer = fit_layer(
                inputs[~rows],
                class_odds[~rows],
                labels[~rows],
                weights[~rows],
                penalties,
            )
            evidence = inputs[rows] @ layer[:-1] + layer[-1] + class_odds[rows]
            by_penalty[number, rows] = evidence
        log.info("fitted without part %d of %d of the sources", part + 1, PARTS)
    best = best_penalties(by_penalty, labels)
    penalties = torch.tensor(PENALTIES)[best]
    layer = fit_layer(inputs, class_odds, labels, weights, penalties)
    matrix = directions @ layer[:-1] / deviation[:, None]
    bias = layer[-1:] - mean[None] @ matrix
    columns = torch.arange(len(slugs))
    evidence = by_penalty[best, :, columns].T.contiguous()
    return FittedThings(
        slugs,
        photos,
        parts,
        labels,
        evidence,
        torch.cat([matrix, bias]),
    )


def label_matrix(slugs: Sequence[str], photos: Sequence[LabelledThings]) -> Tensor:
    """int8 (N, T): 1 where a photo shows a thing, 0 where it does not, -1 where nothing is known."""
    labels = torch.full((len(photos), len(slugs)), -1, dtype=torch.int8)
    for column, slug in enumerate(slugs):
        for row, photo in enumerate(photos):
            if slug in photo.shown:
                labels[row, column] = 1
            elif slug in photo.absent:
                labels[row, column] = 0
    return labels


def parts_of(sources: Sequence[str]) -> npt.NDArray[np.int64]:
    """Divide the photos into parts of about one size, by whole sources: int64 (N,)."""
    sizes = [0] * PARTS
    part_of = {}
    for source, count in Counter(sources).most_common():
        part_of[source] = sizes.index(min(sizes))
        sizes[part_of[source]] += count
    return np.array([part_of[source] for source in sources], np.int64)


def photo_weights(labels: Tensor, sources: Sequence[str]) -> Tensor:
    """The weights of photos for each thing, float32 (N, T), 0 where nothing is known.

    What shows a thing is rarer than what does not, and large sources say less with each further photo.
    """
    numbers = torch.from_numpy(np.unique(sources, return_inverse=True)[1])
    weights = torch.zeros(labels.shape)
    for column in range(labels.shape[1]):
        counts = [int((labels[:, column] == value).sum()) for value in (0, 1)]
        for value in (0, 1):
            rows = labels[:, column] == value
            if not rows.any():
                continue
            own_sources = numbers[rows]
            shares = torch.bincount(own_sources).float()[own_sources] ** -0.25
            weights[rows, column] = shares / shares.mean()
        if min(counts) > 0:
            ratio = (counts[0] / counts[1]) ** 0.5
            weights[labels[:, column] == 1, column] *= min(ratio, MOST_WEIGHT)
    return weights


@torch.enable_grad()
def fit_layer(
    inputs: Tensor,
    class_odds: Tensor,
    labels: Tensor,
    weights: Tensor,
    penalties: Tensor,
) -> Tensor:
    """Fit logistic regressions that add to the log-odds of the classes: float32 (D + 1, T).

    Args:
        inputs: float32 (N, D)
        class_odds: float32 (N, T)
        labels: int8 (N, T)
        weights: float32 (N, T)
        penalties: float32 (T,), of the squares of their weights
    """
    targets = (labels == 1).float()
    layer = torch.zeros(
        inputs.shape[1] + 1,
        labels.shape[1],
        requires_grad=True,
    )
    # In steps of this size the penalty is the same for each thing, so that none slows down the others.
    scales = (PENALTIES[0] / penalties).sqrt()
    optimiser = torch.optim.LBFGS(
        [layer], max_iter=STEPS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        evidence = inputs @ (layer[:-1] * scales) + layer[-1] + class_odds
        losses = functional.binary_cross_entropy_with_logits(
            evidence, targets, reduction="none"
        )
        value = (losses * weights).sum() + PENALTIES[0] / 2 * layer[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    fitted = layer.detach()
    return torch.cat([fitted[:-1] * scales, fitted[-1:]])


def best_penalties(by_penalty: Tensor, labels: Tensor) -> Tensor:
    """For each thing the number of the penalty with which most is found at the first precision: int64 (T,).

    Args:
        by_penalty: float32 (P, N, T), the evidence
        labels: int8 (N, T)
    """
    best = torch.zeros(labels.shape[1], dtype=torch.int64)
    for column in range(labels.shape[1]):
        is_known = labels[:, column] >= 0
        is_shown = labels[is_known, column] > 0
        if is_shown.any():
            of_thing = by_penalty[:, is_known, column]
            best[column] = torch.stack(
                [usefulness(values, is_shown) for values in of_thing]
            ).argmax()
    return best


def usefulness(evidence: Tensor, is_shown: Tensor) -> Tensor:
    """Average precision, which few photos determine better, plus what is found at the first precision."""
    hits = is_shown[evidence.argsort(descending=True, stable=True)].float()
    right = hits.cumsum(0)
    shares = right / torch.arange(1, len(hits) + 1)
    share_found = (right * (shares >= PRECISIONS[0])).amax() / right[-1]
    return (shares * hits).sum() / right[-1] + share_found


def choose_thresholds(
    evidence: Values, labels: npt.NDArray[np.int8], precision: float
) -> Values:
    """The threshold of each thing, (T,), `NEVER` if none is right often enough.

    Args:
        evidence: (N, T)
        labels: (N, T), -1 where nothing is known
        precision: of the tags
    """
    thresholds = np.full(labels.shape[1], NEVER, np.float32)
    for column in range(labels.shape[1]):
        is_known = labels[:, column] >= 0
        shown = labels[is_known, column].astype(np.float32)
        thresholds[column] = lowest_threshold(
            evidence[is_known, column], shown, precision
        )
    return thresholds


def lowest_threshold(evidence: Values, shown: Values, precision: float) -> float:
    """The lowest evidence from which on a share of `precision` of the photos show the thing.

    NEVER: there is none with LEAST_RIGHT photos that show it.
    """
    order = np.argsort(-evidence, kind="stable")
    right = np.cumsum(shown[order])
    share = right / np.arange(1, len(order) + 1)
    is_enough = (
        (share >= precision)
        & (right >= LEAST_RIGHT)
        & (evidence[order] >= LEAST_EVIDENCE)
    )
    candidates = evidence[order][is_enough]
    return float(candidates[-1]) if len(candidates) else NEVER


@torch.enable_grad()
def calibrate(
    evidence: Tensor,
    labels: Tensor,
    thresholds: Tensor,
) -> tuple[Tensor, float]:
    """The slope of each thing, float32 (T,), and the height of the curves that make scores of evidence.

    They are fitted by maximum likelihood ("Probabilistic Outputs for Support Vector Machines", Platt, 1999).
    The height, the logit of the score at a threshold, is one for all things, and slopes differ as far as
    photos say so.
    """
    above = evidence - thresholds
    is_known = labels >= 0
    targets = (labels == 1).float()
    height = torch.zeros(1, requires_grad=True)
    common = torch.zeros(1, requires_grad=True)
    own = torch.zeros(len(thresholds), requires_grad=True)
    optimiser = torch.optim.LBFGS([height, common, own], max_iter=100)

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = above * (common + own).exp() + height
        losses = functional.binary_cross_entropy_with_logits(
            logits, targets, reduction="none"
        )
        value = (losses * is_known).sum() + 10 * own.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return (common + own).exp().detach(), float(height.detach())


def labels_of(labels: Sequence[Label]) -> tuple[Label, ...]:
    """Those whose parent is left out have none."""
    slugs = {label.slug for label in labels}
    return tuple(
        label if label.parent in slugs else label.model_copy(update={"parent": None})
        for label in labels
    )


def figures_of(qualities: Sequence[ThingQuality], photos: int) -> dict[str, float]:
    counts = [
        (quality.tagged, quality.right, quality.new_tagged, quality.new_right)
        for quality in qualities
    ]
    tagged, right, new_tagged, new_right = np.sum(counts, axis=0).tolist()
    figures = {
        "labelled_photos": float(photos),
        "tags_right": right / tagged,
        "held_out_tags": float(new_tagged),
        "held_out_tags_right": new_right / max(new_tagged, 1),
    }
    for quality in qualities:
        figures[f"{quality.thing}_right"] = quality.right / quality.tagged
        figures[f"{quality.thing}_found"] = quality.right / quality.shown
    return figures
