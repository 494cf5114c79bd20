"""Verdicts as training data: confirmed photos under their labels, rejected ones as ordinary photos.

Reads the database through `tagger.verdicts.listing`. Photos are only read and copied.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from tagger.model.artifact import Label
from tagger.photos.paths import path_text
from tagger.settings import Settings
from tagger.verdicts.listing import LabelledImage, TrainingExport, open_training_export
from trainer.data.folders import (
    Dataset,
    LabelledPhoto,
    image_digest,
    label_of,
    read_dataset,
    warn_of_label_conflicts,
)
from trainer.data.gazetteer import COLUMNS, FILE_NAME, labels_with_landmarks, write_gazetteer
from trainer.data.output_folder import PhotoCopy, copy_photos, new_folder
from trainer.errors import DataUnusable, writing_to
from trainer.progress import photo_progress

UNKNOWN = "unknown"


def collect_corrections(settings: Settings, earlier: Path | None = None) -> Corrections:
    """Find the photos of all verdicts, and those of an `earlier` training folder. Writes nothing.

    Raises:
        DataUnusable: there are no verdicts, or none whose photo can be read.
        PathNotFound, DataUnusable: the earlier folder cannot be used.
    """
    with open_training_export(settings) as export:
        corrections = Corrections(export, earlier)
        images = list(export.images())
    if not images:
        raise _without_verdicts(export.redacted_url, "no tag has been confirmed or rejected")
    with photo_progress("reading photos with verdicts", len(images)) as advance:
        for image in images:
            corrections.add(image)
            advance(1)
    if not corrections.confirmed and not corrections.ordinary and not corrections.unchanged:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(corrections.skipped.items()))
        reason = f"none of {len(images)} images can be used ({reasons})"
        raise _without_verdicts(export.redacted_url, reason)
    warn_of_label_conflicts(
        (copy.digest, LabelledPhoto(copy.source, copy.folder.name)) for copy in corrections.copies
    )
    return corrections


def _without_verdicts(url: str, reason: str) -> DataUnusable:
    remedy = "Give verdicts with `tagger confirm LANDMARK PHOTO` and `tagger reject LANDMARK PHOTO`"
    return DataUnusable(path=url, reason=reason, remedy=remedy)


def write_corrections(corrections: Corrections, out: Path) -> None:
    """Copy the photos to OUT/train/LABEL and OUT/unknown, with a landmarks.csv, all of them or nothing."""
    with new_folder(out) as folder:
        copy_photos(corrections.copies, folder)
        with writing_to(out):
            write_gazetteer(folder / FILE_NAME, corrections.labels.values())


class Corrections:
    """The photos of the new folder, and the number of skipped images by reason.

    Reasons: several-confirmed, still-tagged, gone, unavailable, changed (the file now shows another image).
    """

    def __init__(self, export: TrainingExport, earlier: Path | None) -> None:
        self.labels: dict[str, Label] = {}
        self.confirmed: Counter[str] = Counter()
        """Confirmed images by label."""
        self.ordinary = 0
        self.unchanged = 0
        """Confirmed images that are already in the earlier folder under that label."""
        self.relabelled = 0
        """Photos of the earlier folder whose label was corrected or rejected."""
        self.skipped: Counter[str] = Counter()
        self.conflicts: list[str] = []
        """One path of each image that was confirmed for several landmarks."""
        self.unreadable: list[str] = []
        """Photos of the earlier folder that cannot be read."""
        self._landmarks = export.landmarks()
        self._model_labels = export.labels()
        self._new: list[PhotoCopy] = []
        self._earlier: dict[str, list[PhotoCopy]] = {}  # by digest
        self._label_of: dict[str, str] = {}  # by slug
        if earlier is not None:
            self._read_earlier(read_dataset(earlier))

    @property
    def copies(self) -> list[PhotoCopy]:
        """The photos with verdicts, and those of the earlier folder."""
        return [*self._new, *chain.from_iterable(self._earlier.values())]

    @property
    def document(self) -> dict[str, Any]:
        """The result of `trainer data from-verdicts` as JSON."""
        return {
            "confirmed": self.confirmed.total(),
            "ordinary": self.ordinary,
            "labels": len(self.labels),
            "earlier": len(self.copies) - len(self._new),
            "known_already": self.unchanged,
            "relabelled": self.relabelled,
            "left_out": dict(self.skipped),
            "by_label": {path_text(label)[0]: count for label, count in sorted(self.confirmed.items())},
            "several_confirmed": self.conflicts,
            "unreadable": self.unreadable,
        }

    def add(self, image: LabelledImage) -> None:
        """Add one image with verdicts, or count why it is skipped."""
        if len(image.confirmed) > 1:
            paths = [path_text(path)[0] for path in image.paths[:1]]
            self.conflicts += paths or [image.digest]
            self.skipped["several-confirmed"] += 1
        elif image.confirmed:
            self._add_confirmed(image, image.confirmed[0])
        elif image.has_unreviewed_tag:
            self.skipped["still-tagged"] += 1
        else:
            self._add_ordinary(image)

    def _read_earlier(self, dataset: Dataset) -> None:
        for label in labels_with_landmarks(dataset.labels, dataset.folder):
            self.labels[label.label] = label
            landmark = self._landmarks.get(label.slug)
            # The label of a landmark that was merged stands for the other, unless that has its own label.
            if landmark is None or landmark.slug == label.slug:
                self._label_of[label.slug] = label.label
            else:
                self._label_of.setdefault(landmark.slug, label.label)
        with photo_progress("reading the earlier folder", len(dataset.photos)) as advance:
            for photo in dataset.photos:
                digest = image_digest(photo.path)
                if digest is None:
                    self.unreadable.append(dataset.name_of(photo.path))
                else:
                    copy = PhotoCopy(photo.path, Path(photo.split or "train", photo.label), digest)
                    self._earlier.setdefault(digest, []).append(copy)
                advance(1)

    def _add_confirmed(self, image: LabelledImage, slug: str) -> None:
        label = self._label(slug)
        if image.digest in self._earlier:
            # Move copies of the image to the confirmed label, within their split.
            copies = self._earlier[image.digest]
            wrong = [copy for copy in copies if copy.folder.name != label]
            self.relabelled += len(wrong)
            self.unchanged += not wrong
            self._earlier[image.digest] = [
                replace(copy, folder=copy.folder.with_name(label)) for copy in copies
            ]
        elif source := self._source(image):
            self._new.append(PhotoCopy(source, Path("train", label), image.digest))
            self.confirmed[label] += 1

    def _add_ordinary(self, image: LabelledImage) -> None:
        """Remove the image from its rejected labels. If it has no other label, it is an ordinary photo."""
        wrong = {self._label_of.get(slug) for slug in image.rejected}
        copies = self._earlier.pop(image.digest, [])
        remaining = [copy for copy in copies if copy.folder.name not in wrong]
        self.relabelled += len(copies) - len(remaining)
        if remaining:
            self._earlier[image.digest] = remaining
        elif source := self._source(image):
            self._new.append(PhotoCopy(source, Path(UNKNOWN), image.digest))
            self.ordinary += 1

    def _source(self, image: LabelledImage) -> Path | None:
        """A photo that still shows the image. If there is none, the reason is counted."""
        if image.is_unavailable:
            self.skipped["unavailable"] += 1
            return None
        is_changed = False
        for path in image.paths:
            digest = image_digest(path)
            if digest == image.digest:
                return path
            is_changed = is_changed or digest is not None
        self.skipped["changed" if is_changed else "gone"] += 1
        return None

    def _label(self, slug: str) -> str:
        """The label in the earlier folder, else the model's, else the slug."""
        if slug not in self._label_of:
            name = label_of(self._model_labels.get(slug, slug))
            is_folder = name.isprintable() and name[0] not in ".@" and not set(name) & set('/\\:*?"<>|')
            label = name if is_folder and name not in self.labels else slug
            self._label_of[slug] = label
            facts = {name: getattr(self._landmarks[slug], name) for name in COLUMNS if name != "label"}
            self.labels[label] = Label(label=label, **facts)
        return self._label_of[slug]
