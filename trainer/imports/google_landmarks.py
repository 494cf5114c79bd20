"""Google's on-device landmark classifiers, published for TensorFlow.js, as one model file."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tagger.model.artifact import BackgroundStatistics, Embedding, InputRule, Manifest, file_digest
from tagger.photos.files import new_file
from trainer.errors import writing_to
from trainer.export.artifact import write_program
from trainer.export.run import program_versions
from trainer.imports.calibration import Calibration, calibrate
from trainer.imports.landmark_graph import DIMENSION, SIZE, network_of
from trainer.imports.regions import Region, make_region, read_names, region_keys
from trainer.imports.similarity import Curve, SimilarityClassifier, Trunk
from trainer.imports.tensorflow_js import read_graph

LAYER = "the unit vector of each region that is compared with its class vectors"
SOURCE = "Google's on-device landmark classifiers, Apache-2.0, as published for TensorFlow.js"

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class ImportResult:
    """A written model file. `classes`: of all regions; classes of one name are one label."""

    path: Path
    digest: str
    size_bytes: int
    manifest: Manifest
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
    regions, trunks = list[Region](), list[Trunk]()
    for key, folder, file in zip(region_keys(folders, files), folders, files, strict=True):
        log.info("reading %s", folder)
        network = network_of(read_graph(folder))
        region = make_region(key, read_names(file, len(network.classes)))
        log.info("%s: %d classes, %d names", key, len(network.classes), len(region.labels))
        regions.append(region)
        trunks.append(Trunk(network, region.order, region.counts))
    calibration = calibrate(SimilarityClassifier(trunks, Curve.through(0.5)).eval(), threshold, unknown)
    curve = Curve.through(calibration.similarity)
    background = calibration.background or _background_of_classes(trunks)
    manifest = _manifest(name or out.stem, regions, calibration, curve, background.photos)
    log.info("compiling the model")
    with writing_to(out), new_file(out) as partial:
        write_program(SimilarityClassifier(trunks, curve), manifest, partial, background)
    classes = sum(len(region.order) for region in regions)
    return ImportResult(out, file_digest(out), out.stat().st_size, manifest, classes, calibration.similarity)


def _manifest(
    name: str, regions: Sequence[Region], calibration: Calibration, curve: Curve, background_photos: int
) -> Manifest:
    return Manifest(
        format=2,
        name=name,
        created_at=datetime.now(UTC).replace(microsecond=0),
        labels=tuple(label for region in regions for label in region.labels),
        input=InputRule(size=SIZE, short_side=SIZE, fit="stretch"),
        embedding=Embedding(
            dimension=DIMENSION * len(regions), layer=LAYER, background_photos=background_photos
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
            "background": "ordinary photos" if calibration.background else "class vectors",
            "regions": [
                {"region": region.key, "classes": len(region.order), "labels": len(region.labels)}
                for region in regions
            ],
        },
        metrics=dict(calibration.metrics),
        versions=program_versions(),
    )


def _background_of_classes(trunks: Sequence[Trunk]) -> BackgroundStatistics:
    """Statistics that take the class vectors for photos of strangers. Regions are independent."""
    parts = [BackgroundStatistics.measured(trunk.classes.detach().numpy()) for trunk in trunks]
    covariance = np.zeros((DIMENSION * len(parts),) * 2, np.float32)
    for number, part in enumerate(parts):
        own = slice(DIMENSION * number, DIMENSION * (number + 1))
        covariance[own, own] = part.covariance
    means = np.concatenate([part.mean for part in parts])
    return BackgroundStatistics(sum(part.photos for part in parts), means, covariance)
