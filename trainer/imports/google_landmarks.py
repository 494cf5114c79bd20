"""Google's on-device landmark classifiers, published for TensorFlow.js, as one model file."""

import csv
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.errors import LandmarkInvalid
from tagger.geo import regional_slug, world_region_in
from tagger.model.artifact import (
    BackgroundStatistics,
    Embedding,
    InputRule,
    Label,
    Manifest,
    file_digest,
)
from tagger.photos.decoding import Resize
from tagger.photos.files import new_file
from tagger.texts import decoded_text
from tagger.texts.names import clean_name, digest_slug, slug_of_name
from trainer import DataUnusable, photo_progress, writing_to
from trainer.data import find_ordinary_photos
from trainer.data.preparation import decode_batches
from trainer.export.artifact import WrittenModel, program_versions, write_program
from trainer.imports.tensorflow_js import (
    DIMENSION,
    SIZE,
    LandmarkNetwork,
    network_of,
    read_graph,
)
from trainer.learning.classifier import LEAST_CONTRAST, SUM_LIMIT, contrast_of

# At a similarity of 0.05 more than the threshold of 0.9, a score of 0.9 becomes 0.985, at 0.05 less
# 0.55.
SLOPE = 40.0
LEAST_SUM = 1e-30


class Curve(NamedTuple):
    """score = 1 / (1 + exp(-`slope` · (similarity - `midpoint`)))."""

    slope: float
    midpoint: float

    @classmethod
    def through(cls, similarity: float) -> "Curve":
        return cls(SLOPE, similarity - math.log(similarity / (1 - similarity)) / SLOPE)

    def score(self, similarity: float) -> float:
        return 1 / (1 + math.exp(-self.slope * (similarity - self.midpoint)))


class LabelGroup(nn.Module):
    """Labels with the same number of classes, side by side: similarities of classes → of labels."""

    first: Final[int]
    last: Final[int]
    each: Final[int]

    def __init__(self, first: int, labels: int, each: int) -> None:
        super().__init__()
        self.first = first
        self.last = first + labels * each
        self.each = each

    def forward(self, similarities: Tensor) -> Tensor:
        """(B, C) → (B, labels)."""
        own = similarities[:, self.first : self.last]
        return (
            own if self.each == 1 else own.reshape(len(own), -1, self.each).amax(dim=2)
        )


class RegionalNetwork(nn.Module):
    """The classifier of one region: its network, and its class vectors in the order of the labels.

    `counts`: for each block of labels, their number, and the number of classes of each.
    """

    level_factor: Final[float]
    level_offset: Final[float]
    factor: Final[float]
    offset: Final[float]

    def __init__(
        self,
        network: LandmarkNetwork,
        order: Sequence[int],
        counts: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.level_factor, self.level_offset = (
            network.scaling.level_factor,
            network.scaling.level_offset,
        )
        self.factor, self.offset = network.scaling.factor, network.scaling.offset
        self.features = network.features
        self.hidden = network.hidden
        self.embed = network.embed
        # The vectors of C classes, of dimension D.
        self.classes = nn.Parameter(
            torch.from_numpy(network.classes[list(order)]), requires_grad=False
        )
        blocks, first = [], 0
        for labels, each in counts:
            blocks.append(LabelGroup(first, labels, each))
            first += labels * each
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → similarities of labels (B, L), and unit embeddings (B, D), float32."""
        levels = (images.float() / 255.0 * self.level_factor + self.level_offset).to(
            torch.int32
        )
        pixels = levels.float() * self.factor + self.offset
        features = self.features(pixels.to(self.classes.dtype)).mean(dim=[2, 3])
        hidden = functional.hardswish(self.hidden(features)).clamp(
            min=1e-6
        )  # GeM, over one cell
        embedded = self.embed(hidden).float()
        unit = (
            embedded
            * embedded.square().sum(dim=1, keepdim=True).clamp(min=1e-12).rsqrt()
        )
        of_classes = unit @ self.classes.float().t()
        return torch.cat(
            [block(of_classes) for block in self.blocks],
            dim=1,
        ), unit


class SimilarityClassifier(nn.Module):
    """The classifiers of several regions, on one scale."""

    slope: Final[float]
    midpoint: Final[float]
    limit: Final[float]
    least_sum: Final[float]
    least_contrast: Final[float]

    def __init__(self, trunks: Sequence[RegionalNetwork], curve: Curve) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)
        self.slope = curve.slope
        self.midpoint = curve.midpoint
        self.limit = SUM_LIMIT
        self.least_sum = LEAST_SUM
        self.least_contrast = LEAST_CONTRAST

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → scores (B, L), whose rows sum to at most 1, and embeddings, float32.

        A picture with nothing in it gets scores of 0.
        """
        similarities, embeddings = self.similarities(images)
        shows_something = contrast_of(images) >= self.least_contrast
        return self.scores_of(similarities) * shows_something[:, None], embeddings

    def similarities(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → similarities of all labels, float32 (B, L), and embeddings."""
        similarities: list[
            Tensor
        ] = []  # a list of pairs is more than OpenVINO converts
        embeddings: list[Tensor] = []
        for trunk in self.trunks:
            of_region, embedding = trunk(images)
            similarities.append(of_region)
            embeddings.append(embedding)
        return torch.cat(similarities, dim=1), torch.cat(embeddings, dim=1)

    def scores_of(self, similarities: Tensor) -> Tensor:
        """(B, L) → scores, in the same order."""
        scores = torch.sigmoid(self.slope * (similarities - self.midpoint))
        best, position = scores.max(dim=1, keepdim=True)
        others = (scores.sum(dim=1, keepdim=True) - best).clamp(min=self.least_sum)
        share = ((1.0 - best) / others).clamp(max=1.0)
        return (scores * share).scatter(1, position, best) * self.limit


# The names of a region's classes, and the labels that they become: several classes can be one
# landmark.
#
# Classes of one name are one label, whose slug ends with the region, as names repeat in others.

FORM = (
    'Use the CSV with the columns id and name, or the JSON {"name": {"0": …}}, '
    "that was published with the weights"
)


@dataclass(frozen=True)
class RegionClasses:
    """The labels of a region, and the classes of each.

    `order`: the classes by label. `counts`: for each block of labels, their number, and the number of classes
    of each; a block's labels are in the order of their first class.
    """

    key: str
    labels: tuple[Label, ...]
    order: tuple[int, ...]
    counts: tuple[tuple[int, int], ...]


def region_keys(folders: Sequence[Path], files: Sequence[Path]) -> list[str]:
    """A key for each folder, which its slugs end with: a part of the world, or else its name."""
    keys: list[str] = []
    for folder, file in zip(folders, files, strict=True):
        name = folder.absolute().name
        key = (
            world_region_in(name)
            or world_region_in(file.name)
            or slug_of_name(name)
            or "region"
        )
        repeats = sum(each == key or each.startswith(f"{key}-") for each in keys)
        keys.append(f"{key}-{repeats + 1}" if repeats else key)
    return keys


def read_names(file: Path, count: int) -> list[str | None]:
    """The name of each class. The published names of Asia lack one.

    Raises:
        DataUnusable: the file cannot be read, lacks a class, or has more than `count`.
    """
    try:
        text = decoded_text(file.read_bytes())
        rows = (
            json.loads(text)["name"]
            if text.startswith("{")
            else {row["id"]: row["name"] for row in csv.DictReader(text.splitlines())}
        )
        by_id = {
            int(number): clean_name(name) if name else None
            for number, name in rows.items()
        }
    except OSError as error:
        raise _invalid(file, (error.strerror or str(error)).lower()) from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        LandmarkInvalid,
        csv.Error,
    ) as error:
        raise _invalid(file, f"it has no names of classes ({error})") from error
    if by_id.keys() != set(range(count)):
        missing = set(range(count)) - by_id.keys()
        what = (
            f"none for class {min(missing)}"
            if missing
            else f"one for class {max(by_id)}"
        )
        raise _invalid(
            file, f"it has {len(by_id)} names for {count} classes, and {what}"
        )
    return [by_id[number] for number in range(count)]


def _invalid(file: Path, reason: str) -> DataUnusable:
    return DataUnusable(path=file, reason=reason, remedy=FORM)


def make_region(key: str, names: Sequence[str | None]) -> RegionClasses:
    """Group classes by name, without case, accents and punctuation. Those without a name are left out."""
    classes: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        if name is not None:
            classes.setdefault(
                slug_of_name(name) or digest_slug("landmark", name),
                [],
            ).append(number)
    groups = sorted(classes.values(), key=len)
    sizes = Counter(map(len, groups))
    return RegionClasses(
        key,
        tuple(_label(key, numbers, names) for numbers in groups),
        tuple(number for numbers in groups for number in numbers),
        tuple((sizes[size], size) for size in sorted(sizes)),
    )


def _label(
    key: str,
    numbers: Sequence[int],
    names: Sequence[str | None],
) -> Label:
    # The label of classes, named as most of them are: `europe:797` begins with the class 797.
    (name, _), *_ = Counter(names[number] or "" for number in numbers).most_common(1)
    return Label(
        label=f"{key}:{numbers[0]}",
        slug=regional_slug(name, key),
        name=name,
    )


# The threshold: the documented similarity, one that was given, or one from ordinary photos.
#
# A similarity is no probability. Without photos, the threshold is 0.9, as in Nextcloud Recognize.

THRESHOLD = 0.9
# The share of ordinary photos that may get a name.
FALSE_NAMES = 0.01
# Thresholds from photos are rounded up to this.
STEP = 0.001
BATCH_SIZE = 8
# Ordinary photos that are enough for a share of false names and for background statistics.
LEAST_UNKNOWN = 100

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Calibration:
    """`similarity`: the threshold, and why. `background`: that of ordinary photos, if there are enough."""

    similarity: float
    source: str
    reason: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    background: BackgroundStatistics | None = None


def calibrate(
    classifier: SimilarityClassifier, threshold: float | None, unknown: Path | None
) -> Calibration:
    """Choose the threshold, unless a similarity was given, with the photos of the folder `unknown`, if any.

    Raises:
        PathNotFound, DataUnusable: the photos cannot be used.
    """
    source = "from ordinary photos" if unknown else "as documented"
    if threshold:
        source = "as given"
    if unknown is None:
        similarity = threshold or THRESHOLD
        reason = (
            f"a similarity of {similarity:g}; no photos were given, so the share of false "
            "names is unknown"
        )
        return Calibration(similarity, source, reason)
    similarities, embeddings = _score_photos(classifier, unknown)
    similarity = threshold or lowest_threshold(similarities, FALSE_NAMES)
    named_share, count = (
        float((similarities >= similarity).double().mean()),
        len(similarities),
    )
    limit_text = "as given" if threshold else f"at most {FALSE_NAMES:.1%} are allowed"
    named_text = f"at which {named_share:.1%} of {count} ordinary photos get a name"
    reason = f"a similarity of {similarity:g}, {named_text} ({limit_text})"
    metrics = {
        "unknown_photos": float(count),
        "unknown_false_names_at_threshold": named_share,
    }
    background = (
        BackgroundStatistics.measured(embeddings.numpy())
        if count >= LEAST_UNKNOWN
        else None
    )
    return Calibration(similarity, source, reason, metrics, background)


def lowest_threshold(similarities: Tensor, false_names: float) -> float:
    """The lowest similarity at which no more than a share of ordinary photos, float64 (N,), get a name."""
    highest = similarities.sort(descending=True).values
    allowed = min(math.floor(false_names * len(highest)), len(highest) - 1)
    above = (math.floor(highest[allowed].item() / STEP) + 1) * STEP
    return min(max(round(above, 6), STEP), 1 - STEP)


@torch.inference_mode()
def _score_photos(
    classifier: SimilarityClassifier, folder: Path
) -> tuple[Tensor, Tensor]:
    # The highest similarity of each readable photo, float64 (N,), and the embeddings, float32 (N, D).
    paths = [photo.path for photo in find_ordinary_photos(folder)]
    highest, embeddings = [], []
    with photo_progress("ordinary photos", len(paths)) as advance:
        for batch in decode_batches(paths, Resize(SIZE, SIZE, "stretch"), BATCH_SIZE):
            similarities, embedded = classifier.similarities(batch.images)
            highest.append(similarities.amax(dim=1))
            embeddings.append(embedded)
            advance(len(batch.positions))
    count = sum(map(len, highest))
    if count == 0:
        remedy = "Name a folder with a few hundred ordinary photos"
        raise DataUnusable(
            path=folder, reason="it has no readable photo", remedy=remedy
        )
    if count < LEAST_UNKNOWN:
        log.warning("%d ordinary photos say little: use a few hundred", count)
    return torch.cat(highest).double(), torch.cat(embeddings)


SOURCE = "Google's on-device landmark classifiers, Apache-2.0, as published for TensorFlow.js"


@dataclass(frozen=True)
class ImportResult(WrittenModel):
    """A written model file. `classes`: of all regions; classes of one name are one label."""

    classes: int
    similarity: float


def import_landmarks(
    folders: Sequence[Path],
    files: Sequence[Path],
    out: Path,
    *,
    name: str | None,
    threshold: float | None,
    unknown: Path | None,
) -> ImportResult:
    """Read a classifier and the names of its classes from each folder and file, and write one model of all.

    Raises:
        DataUnusable, PathNotFound, OutputUnwritable, ExportImpossible: with what to do.
    """
    regions, trunks = list[RegionClasses](), list[RegionalNetwork]()
    for key, folder, file in zip(
        region_keys(folders, files),
        folders,
        files,
        strict=True,
    ):
        log.info("reading %s", folder)
        network = network_of(read_graph(folder))
        region = make_region(key, read_names(file, len(network.classes)))
        log.info(
            "%s: %d classes, %d names",
            key,
            len(network.classes),
            len(region.labels),
        )
        regions.append(region)
        trunks.append(RegionalNetwork(network, region.order, region.counts))
    calibration = calibrate(
        SimilarityClassifier(trunks, Curve.through(0.5)).eval(), threshold, unknown
    )
    curve = Curve.through(calibration.similarity)
    background = calibration.background or _background_of_classes(trunks)
    manifest = _manifest(
        name or out.stem,
        regions,
        calibration,
        curve,
        background.photos,
    )
    log.info("compiling the model")
    with writing_to(out), new_file(out) as partial:
        write_program(
            SimilarityClassifier(trunks, curve), manifest, partial, background
        )
    classes = sum(len(region.order) for region in regions)
    return ImportResult(
        out,
        file_digest(out),
        out.stat().st_size,
        manifest,
        classes,
        calibration.similarity,
    )


def _manifest(
    name: str,
    regions: Sequence[RegionClasses],
    calibration: Calibration,
    curve: Curve,
    background_photos: int,
) -> Manifest:
    return Manifest(
        format=2,
        name=name,
        created_at=datetime.now(UTC).replace(microsecond=0),
        labels=tuple(label for region in regions for label in region.labels),
        input=InputRule(size=SIZE, short_side=SIZE, fit="stretch"),
        embedding=Embedding(
            dimension=DIMENSION * len(regions),
            layer="the unit vector of each region that is compared with its class vectors",
            background_photos=background_photos,
        ),
        threshold=round(curve.score(calibration.similarity), 6),
        threshold_reason=calibration.reason,
        calibration={
            "method": f"documented curve, threshold {calibration.source}",
            "similarity": calibration.similarity,
            **curve._asdict(),
        },
        training={
            "source": SOURCE,
            "background": "ordinary photos"
            if calibration.background
            else "class vectors",
            "regions": [
                {
                    "region": region.key,
                    "classes": len(region.order),
                    "labels": len(region.labels),
                }
                for region in regions
            ],
        },
        metrics=dict(calibration.metrics),
        versions=program_versions(),
    )


def _background_of_classes(trunks: Sequence[RegionalNetwork]) -> BackgroundStatistics:
    # Statistics that take the class vectors for photos of strangers. Regions are independent.
    parts = [
        BackgroundStatistics.measured(trunk.classes.detach().numpy())
        for trunk in trunks
    ]
    covariance = np.zeros((DIMENSION * len(parts),) * 2, np.float32)
    for number, part in enumerate(parts):
        own = slice(DIMENSION * number, DIMENSION * (number + 1))
        covariance[own, own] = part.covariance
    means = np.concatenate([part.mean for part in parts])
    return BackgroundStatistics(
        sum(part.photos for part in parts),
        means,
        covariance,
    )
