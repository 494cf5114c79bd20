"""A classifier of ImageNet as a model of things: what else photos show, in words that people say.

A thing is several of the 1,000 classes: `things.csv` has the classes of each, its names and its parent. Its
probability is the sum of theirs. Labelled photos choose for each thing the lowest probability from which on
PRECISION of its tags are right; a thing for which there is none is left out. All scores are moved so that one
threshold serves all things.
"""

import csv
import importlib.resources
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.model.artifact import InputRule, Label, Manifest, Values, file_digest
from tagger.photos.files import new_file
from trainer.backbones import find_source, load_backbone, read_weights
from trainer.data.folders import open_csv
from trainer.data.preparation import decode_batches
from trainer.errors import BackboneUnusable, DataUnusable, writing_to
from trainer.export.artifact import program_versions, write_program
from trainer.learning.classifier import LEAST_CONTRAST, Encoder, contrast_of
from trainer.networks import pad_like_tensorflow
from trainer.progress import photo_progress

BACKBONE = "timm/tf_efficientnet_lite0"
# Names of networks begin so whose padding is TensorFlow's.
TENSORFLOW = "timm/tf_"
SIZE = 224
# As that of the shipped model of landmarks: a photo is decoded once for both.
INPUT = InputRule(size=SIZE, short_side=SIZE, fit="stretch")
CLASSES = 1000
# Of the tags of each thing, this share is right on the labelled photos.
PRECISION = 0.92
# Right tags of a thing that are enough to choose its threshold by.
LEAST_RIGHT = 4
# Things that fewer photos show have one threshold together, if none was found for one alone.
RARE = 8
# No threshold is lower.
LEAST_PROBABILITY = 0.3
LANGUAGES = ("de", "es", "fr", "pt", "vi", "hi")
BATCH_SIZE = 16
# A threshold that no probability reaches.
NEVER = 2.0
# By which a score at a threshold may be lower where the model runs.
ROUNDING = 0.005

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class ThingClasses:
    """A line of the table: the label of a thing, and its classes of ImageNet."""

    label: Label
    classes: tuple[int, ...]


@dataclass(frozen=True)
class ThingQuality:
    """A thing on the photos of which people said whether they show it: how many do, and how many get its tag.

    `threshold`: of its probability; None: it is left out. `has_own`: it was chosen by these photos alone.
    """

    thing: str
    threshold: float | None
    has_own: bool
    tagged: int
    right: int
    shown: int


@dataclass(frozen=True)
class ThingsImport:
    """A written model file, and the things of the table, also those that it leaves out."""

    path: Path
    digest: str
    size_bytes: int
    manifest: Manifest
    qualities: Sequence[ThingQuality]


class ThingClassifier(nn.Module):
    """An encoder, the linear layer of its classes, and the rule that makes scores of things."""

    groups: Tensor  # (C, T): 1 where a class is of a thing
    offsets: Tensor  # (T,): the logit of a score at the probability 0.5

    def __init__(
        self, encoder: Encoder, head: nn.Linear, groups: Tensor, offsets: Tensor, slope: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.slope = slope
        self.least_contrast = LEAST_CONTRAST
        self.register_buffer("groups", groups)
        self.register_buffer("offsets", offsets)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → scores, float32 (B, T), each of its own: their sum has no limit."""
        logits = _logit(self.probabilities(images))
        scores = torch.sigmoid(logits * self.slope + self.offsets.float())
        return scores * (contrast_of(images) >= self.least_contrast)[:, None]

    def probabilities(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → probabilities of things, float32 (B, T)."""
        classes = torch.softmax(self.head(self.encoder(images)).float(), dim=1)
        return torch.matmul(classes, self.groups.float())


def _logit(probabilities: Tensor, least: float = 1e-6) -> Tensor:
    inside = probabilities.clamp(least, 1.0 - least)
    return torch.log(inside / (1.0 - inside))


def read_things() -> list[ThingClasses]:
    text = importlib.resources.files("trainer.imports").joinpath("things.csv").read_text("utf-8")
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
    """The numbers of a list like `7-24 80`."""
    for part in text.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


@dataclass(frozen=True)
class LabelledThings:
    """What people see on a photo. Of a thing that is in neither set, they said nothing."""

    path: Path
    shown: frozenset[str]
    absent: frozenset[str]


def read_labels(photos: Path, labels: Path) -> list[LabelledThings]:
    """Read the labels of photos: file, and the slugs of things that it shows, and that it does not show.

    A photo of a dog shows an animal, too.

    Raises:
        DataUnusable: the file lacks a column, or names no photo of the folder.
    """
    parents = {thing.label.slug: thing.label.parent for thing in read_things()}
    columns = ("file", "things", "not")
    remedy = f"Write a CSV file with the columns {', '.join(columns)}"
    with open_csv(labels, remedy) as rows:
        if missing := set(columns) - set(rows.fieldnames or ()):
            raise DataUnusable(path=labels, reason=f"has no column {min(missing)}", remedy=remedy)
        labelled = []
        for row in rows:
            named = _slugs(row["things"])
            shown = named.union(filter(None, map(parents.get, named)))
            photo = LabelledThings(photos / row["file"], shown, _slugs(row["not"]) - shown)
            if photo.path.is_file():
                labelled.append(photo)
    if not labelled:
        raise DataUnusable(path=labels, reason=f"names no photo in {photos}", remedy=remedy)
    return labelled


def _slugs(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(";")))


def import_things(
    photos: Path, labels: Path, out: Path, *, backbone: str, weights: Path | None, name: str | None
) -> ThingsImport:
    """Make a model of things of a classifier of ImageNet, by what labelled photos show, and write it.

    Raises:
        BackboneUnusable, ExtraMissing, DataUnusable, OutputUnwritable, ExportImpossible: with what to do.
    """
    table, labelled = read_things(), read_labels(photos, labels)
    encoder, head, origin = load_classifier(backbone, weights)
    groups = torch.zeros(CLASSES, len(table))
    for column, thing in enumerate(table):
        groups[list(thing.classes), column] = 1.0
    classifier = ThingClassifier(encoder, head, groups, torch.zeros(len(table)), 1.0).eval()
    probabilities = _probabilities(classifier, [each.path for each in labelled])
    slugs = [thing.label.slug for thing in table]
    qualities = choose_thresholds(slugs, probabilities, labelled)
    kept = [column for column, each in enumerate(qualities) if each.threshold is not None]
    if not kept:
        reason = "no thing is right often enough on these photos"
        raise DataUnusable(
            path=labels, reason=reason, remedy="Label more photos, or use another network"
        )
    qualities_kept = [qualities[column] for column in kept]
    limits = np.array([each.threshold for each in qualities_kept], np.float32)
    names = [each.thing for each in qualities_kept]
    slope, height = calibrate(names, probabilities[:, kept], limits, labelled)
    offsets = height - slope * _logit(torch.from_numpy(limits))
    classifier = ThingClassifier(encoder, head, groups[:, kept], offsets, slope)
    things = [table[column].label for column in kept]
    checked = held_out(slugs, probabilities, labelled)
    manifest = _manifest(
        name or out.stem, things, (slope, height), qualities_kept, checked, origin, len(labelled)
    )
    with writing_to(out), new_file(out) as partial:
        for parameter in classifier.parameters():
            parameter.data = parameter.data.half()  # they become full numbers where the model runs
        write_program(classifier, manifest, partial, None)
    return ThingsImport(out, file_digest(out), out.stat().st_size, manifest, qualities)


def load_classifier(backbone: str, weights: Path | None) -> tuple[Encoder, nn.Linear, str]:
    """Load the encoder of a network, the linear layer of its classes, and where its weights come from.

    Raises:
        BackboneUnusable, ExtraMissing: there is no such network, or its weights end with no such layer.
    """
    found, network = load_backbone(backbone, weights, SIZE)
    if backbone.startswith(TENSORFLOW):
        pad_like_tensorflow(
            network
        )  # for the side of INPUT; timm asks for that of each image, in Python
    source, name = find_source(backbone)
    state = (
        source.published_state(name)[1] if weights is None else read_weights(weights, backbone)[1]
    )
    sizes = (CLASSES, found.features)
    matrix = next((key for key, values in state.items() if tuple(values.shape) == sizes), "")
    bias = f"{matrix.removesuffix('weight')}bias"
    if bias not in state:
        reason = f"its weights have no linear layer of {CLASSES} classes"
        raise BackboneUnusable(backbone=backbone, reason=reason, remedy=f"Use {BACKBONE}")
    head = nn.Linear(found.features, CLASSES)
    head.load_state_dict({"weight": state[matrix], "bias": state[bias]})
    return Encoder(found, network), head, f"{backbone}, {found.weights}"


def _probabilities(classifier: ThingClassifier, paths: Sequence[Path]) -> Values:
    """The probabilities of things on photos, (N, T); 0 on one that cannot be read."""
    found = np.zeros((len(paths), classifier.groups.shape[1]), np.float32)
    with photo_progress("looking at photos", len(paths)) as advance, torch.inference_mode():
        for batch in decode_batches(paths, INPUT.resize, BATCH_SIZE):
            found[list(batch.positions)] = classifier.probabilities(batch.images).numpy()
            advance(len(batch.positions))
    return found


def choose_thresholds(
    slugs: Sequence[str], probabilities: Values, labelled: Sequence[LabelledThings]
) -> list[ThingQuality]:
    """The threshold of each thing, and what it gives on the labelled photos.

    Args:
        slugs: of the things
        probabilities: (N, T)
        labelled: (N,)
    """
    judged = [
        _judged(slug, column, labelled) for slug, column in zip(slugs, probabilities.T, strict=True)
    ]
    own = [lowest_threshold(*each) for each in judged]
    is_rare = [
        found is None and each[1].sum() < RARE for found, each in zip(own, judged, strict=True)
    ]
    of_rare = [each for each, rare in zip(judged, is_rare, strict=True) if rare]
    shared = lowest_threshold(*map(np.concatenate, zip(*of_rare, strict=True))) if of_rare else None
    return [
        _quality(slug, each, shared if rare else found, has_own=not rare)
        for slug, each, found, rare in zip(slugs, judged, own, is_rare, strict=True)
    ]


def held_out(
    slugs: Sequence[str], probabilities: Values, labelled: Sequence[LabelledThings]
) -> tuple[int, int]:
    """How many tags photos get, and how many of these are right, with thresholds chosen by other folders.

    Every second folder is in one half, and thresholds of a half are chosen by the other one.
    """
    folders = sorted({each.path.parent for each in labelled})
    halves = np.array([folders.index(each.path.parent) % 2 for each in labelled])
    tagged = right = 0
    for half in (0, 1):
        other = [each for each, of in zip(labelled, halves, strict=True) if of != half]
        own = [each for each, of in zip(labelled, halves, strict=True) if of == half]
        chosen = choose_thresholds(slugs, probabilities[halves != half], other)
        for slug, column, each in zip(slugs, probabilities[halves == half].T, chosen, strict=True):
            found = _quality(slug, _judged(slug, column, own), each.threshold, has_own=each.has_own)
            tagged, right = tagged + found.tagged, right + found.right
    return tagged, right


def _quality(
    slug: str, judged: tuple[Values, Values], threshold: float | None, *, has_own: bool
) -> ThingQuality:
    """What a threshold gives; it is dropped if it was chosen by other things, too, and is not right here."""
    probabilities, shown = judged
    is_tagged = probabilities >= (NEVER if threshold is None else threshold)
    tagged, right = int(is_tagged.sum()), int((is_tagged & (shown > 0)).sum())
    is_right = right > 0 and right >= PRECISION * tagged
    return ThingQuality(
        slug, threshold if is_right else None, has_own, tagged, right, int(shown.sum())
    )


def _judged(
    slug: str, probabilities: Values, labelled: Sequence[LabelledThings]
) -> tuple[Values, Values]:
    """The probabilities of a thing on photos of which people spoke about it, and whether these show it."""
    rows = [index for index, each in enumerate(labelled) if slug in each.shown | each.absent]
    shown = np.array([slug in labelled[index].shown for index in rows], np.float32)
    return probabilities[rows], shown


def lowest_threshold(probabilities: Values, shown: Values) -> float | None:
    """The lowest probability from which on PRECISION of the photos show it.

    None: there is none with LEAST_RIGHT photos that show it.
    """
    order = np.argsort(-probabilities, kind="stable")
    right = np.cumsum(shown[order])
    share = right / np.arange(1, len(order) + 1)
    is_enough = (
        (share >= PRECISION) & (right >= LEAST_RIGHT) & (probabilities[order] >= LEAST_PROBABILITY)
    )
    last = np.flatnonzero(is_enough)
    return float(probabilities[order][last[-1]]) if len(last) else None


def calibrate(
    slugs: Sequence[str], probabilities: Values, limits: Values, labelled: Sequence[LabelledThings]
) -> tuple[float, float]:
    """The slope and height of the curve that makes scores of logits less those of the thresholds.

    It is fitted by maximum likelihood ("Probabilistic Outputs for Support Vector Machines", Platt, 1999) on
    all things together. The height is the logit of the score at a threshold.

    Args:
        slugs: of the things
        probabilities: (N, T)
        limits: (T,), the thresholds
        labelled: (N,)
    """
    given, shown = [], []
    for slug, column, limit in zip(slugs, probabilities.T, limits, strict=True):
        found, is_shown = _judged(slug, column, labelled)
        is_near = found >= LEAST_PROBABILITY / 3
        given.append(_logit(torch.from_numpy(found[is_near])) - _logit(torch.tensor(limit)))
        shown.append(torch.from_numpy(is_shown[is_near]))
    curve = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([curve], max_iter=100)

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = curve[0] * torch.cat(given) + curve[1]
        value = functional.binary_cross_entropy_with_logits(logits, torch.cat(shown))
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    slope, height = curve.tolist()
    return slope, height


def _manifest(
    name: str,
    labels: Sequence[Label],
    curve: tuple[float, float],
    qualities: Sequence[ThingQuality],
    checked: tuple[int, int],
    origin: str,
    photos: int,
) -> Manifest:
    """The description of the model. Labels whose parent is left out have none.

    `curve`: slope and height, see `calibrate`. `checked`: see `held_out`.
    """
    slope, height = curve
    kept = {label.slug for label in labels}
    tagged, right = (
        sum(quality.tagged for quality in qualities),
        sum(quality.right for quality in qualities),
    )
    metrics = {
        "labelled_photos": float(photos),
        "tags_right": right / tagged,
        "held_out_tags": float(checked[0]),
        "held_out_tags_right": checked[1] / max(checked[0], 1),
    }
    for quality in qualities:
        metrics[f"{quality.thing}_right"] = quality.right / max(quality.tagged, 1)
        metrics[f"{quality.thing}_found"] = quality.right / max(quality.shown, 1)
    return Manifest(
        kind="things",
        name=name,
        created_at=datetime.now(UTC).replace(microsecond=0),
        labels=tuple(
            label if label.parent in kept else label.model_copy(update={"parent": None})
            for label in labels
        ),
        input=INPUT,
        threshold=round(float(torch.tensor(height).sigmoid()) - ROUNDING, 4),
        threshold_reason=f"of each thing, at least {PRECISION:.0%} of the tags on labelled photos are right",
        calibration={"method": "fitted on labelled photos", "slope": slope, "height": height},
        training={
            "backbone": origin,
            "thresholds": {quality.thing: quality.threshold for quality in qualities},
        },
        metrics=metrics,
        versions=program_versions(),
    )
