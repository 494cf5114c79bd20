"""Training photos from elsewhere: from the verdicts of a library, and Udacity's landmark photos."""

from __future__ import annotations

import csv
import http.client
import json
import re
import shutil
import urllib.request
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import trainer
from tagger.model.artifact import Label, file_digest
from tagger.photos.names import is_photo_name
from tagger.photos.paths import path_text
from tagger.settings import Settings
from tagger.verdicts import LabelledImage, TrainingExport, open_training_export
from trainer import DataUnusable, photo_progress, writing_to
from trainer.data import (
    COLUMNS,
    FILE_NAME,
    SOURCES,
    ExaminedPhoto,
    LabelledPhoto,
    examine_dataset,
    examine_photo,
    group_near_duplicates,
    label_of,
    labels_with_landmarks,
    sources_of,
    write_gazetteer,
)
from trainer.data.split import (
    TRAIN,
    PhotoCopy,
    copy_photos,
    new_folder,
    require_free_folder,
)

TEST, UNKNOWN = "test", "unknown"


@dataclass(frozen=True)
class CandidatePhoto:
    """A readable photo, its label, and where it comes from. Without a label, it is an ordinary photo."""

    photo: LabelledPhoto
    facts: ExaminedPhoto
    label: str | None
    source: str


def collect_corrections(settings: Settings, earlier: Path | None = None) -> Corrections:
    """Find the photos of all verdicts, and those of an `earlier` training folder. Writes nothing.

    Raises:
        DataUnusable: there are no verdicts, or none whose photo can be read.
        PathNotFound, DataUnusable: the earlier folder cannot be used.
    """
    with open_training_export(settings) as export:
        corrections = Corrections(export)
        images = list(export.images())
    if not images:
        raise _without_verdicts(
            export.redacted_url, "no tag has been confirmed or rejected"
        )
    if earlier is not None:
        corrections.read_earlier(earlier)
    with photo_progress("reading photos with verdicts", len(images)) as advance:
        for image in images:
            corrections.add(image)
            advance(1)
    if not corrections.has_effect:
        reasons = ", ".join(
            f"{count} {reason}" for reason, count in sorted(corrections.skipped.items())
        )
        reason = f"none of {len(images)} images can be used ({reasons})"
        raise _without_verdicts(export.redacted_url, reason)
    corrections.plan_copies()
    return corrections


def _without_verdicts(url: str, reason: str) -> DataUnusable:
    remedy = "Give verdicts with `tagger confirm LANDMARK PHOTO` and `tagger reject LANDMARK PHOTO`"
    return DataUnusable(path=url, reason=reason, remedy=remedy)


def write_corrections(corrections: Corrections, out: Path) -> None:
    """Copy the photos to OUT/SPLIT/LABEL and OUT/unknown, with landmarks.csv, all of them or nothing."""
    sources = {
        each.photo.path: each.source
        for each in corrections.photos.values()
        if each.source
    }
    with new_folder(out) as folder:
        targets = copy_photos(corrections.copies, folder)
        with writing_to(out):
            write_gazetteer(folder / FILE_NAME, corrections.labels.values())
            if not sources:
                return
            with (folder / SOURCES).open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(("photo", "source"))
                for photo, copy in targets:
                    name, is_altered = path_text(f"{copy.parent.name}/{copy.name}")
                    # Names that are not UTF-8 are left out.
                    if photo in sources and not is_altered:
                        rows.writerow((name, path_text(sources[photo])[0]))


class Corrections:
    """The photos of the new folder, and the number of skipped images by reason.

    Reasons: several-confirmed, still-tagged, gone, unavailable, changed (the file now shows another image).
    """

    def __init__(self, export: TrainingExport) -> None:
        self.labels: dict[str, Label] = {}
        # The photos by their digests; ordinary ones have no label.
        self.photos: dict[str, CandidatePhoto] = {}
        self.copies: list[PhotoCopy] = []
        # Confirmed images that are already in the earlier folder under that label.
        self.unchanged = 0
        # Photos of the earlier folder whose label was corrected or rejected.
        self.relabelled = 0
        self.skipped: Counter[str] = Counter()
        # Photos of the earlier folder, and those like its photos for testing, by reason.
        self.left_out: Counter[str] = Counter()
        # One path of each image that was confirmed for several landmarks.
        self.conflicts: list[str] = []
        # Photos of the earlier folder that cannot be read.
        self.unreadable: list[str] = []
        self._new: set[str] = set()
        self._landmarks = export.landmarks()
        self._model_labels = export.labels()
        self._label_of: dict[str, str] = {}  # by slug

    @property
    def has_effect(self) -> bool:
        """Whether verdicts agree with photos or change some."""
        return bool(self._new or self.unchanged or self.relabelled)

    @property
    def document(self) -> dict[str, Any]:
        labelled = [copy for copy in self.copies if copy.folder != Path(UNKNOWN)]
        confirmed = Counter(
            copy.folder.name for copy in labelled if copy.digest in self._new
        )
        return {
            "confirmed": confirmed.total(),
            "ordinary": len(self.copies) - len(labelled),
            "labels": len(self.labels),
            "earlier": len(labelled) - confirmed.total(),
            "known_already": self.unchanged,
            "relabelled": self.relabelled,
            "left_out": dict(self.skipped + self.left_out),
            "by_label": {
                path_text(label)[0]: count for label, count in sorted(confirmed.items())
            },
            "several_confirmed": self.conflicts,
            "unreadable": self.unreadable,
        }

    def read_earlier(self, folder: Path) -> None:
        """Add the photos of a training folder. Of copies, one for testing is taken."""
        earlier = examine_dataset(folder)
        self.unreadable = [each["path"] for each in earlier.unreadable]
        for label in labels_with_landmarks(earlier.dataset.labels, folder):
            self.labels[label.label] = label
            landmark = self._landmarks.get(label.slug)
            # The label of a landmark that was merged stands for the other, unless that has its own label.
            if landmark is None or landmark.slug == label.slug:
                self._label_of[label.slug] = label.label
            else:
                self._label_of.setdefault(landmark.slug, label.label)
        sources = sources_of([photo.path for photo in earlier.photos], folder)
        candidates = [
            CandidatePhoto(photo, facts, photo.label, source)
            for photo, facts, source in zip(
                earlier.photos, earlier.facts, sources, strict=True
            )
        ]
        candidates.sort(key=lambda each: each.photo.split != TEST)
        for candidate in candidates:
            first = self.photos.setdefault(candidate.facts.digest, candidate)
            if first is not candidate:
                is_same = candidate.label == first.label
                self.left_out[
                    "a copy" if is_same else "a copy that has another label"
                ] += 1

    def add(self, image: LabelledImage) -> None:
        if len(image.confirmed) > 1:
            paths = [path_text(path)[0] for path in image.paths[:1]]
            self.conflicts += paths or [image.digest]
            self.skipped["several-confirmed"] += 1
        elif image.confirmed:
            self._correct(image, self._label(image.confirmed[0]))
        elif image.has_unreviewed_tag:
            self.skipped["still-tagged"] += 1
        else:
            self._correct(
                image,
                None,
                {self._label_of.get(slug) for slug in image.rejected},
            )

    def _correct(
        self,
        image: LabelledImage,
        label: str | None,
        rejected: Collection[str | None] = (),
    ) -> None:
        # Give an image its label. Without one, it loses a rejected label only.
        photo = self.photos.get(image.digest)
        if photo is None:
            if photo := self._find(image, label):
                self.photos[image.digest] = photo
                self._new.add(image.digest)
        elif label is None and photo.label not in rejected:
            return
        elif photo.label == label:
            self.unchanged += 1
        else:
            self.relabelled += 1
            self.photos[image.digest] = replace(photo, label=label)

    def _find(self, image: LabelledImage, label: str | None) -> CandidatePhoto | None:
        # A photo that still shows the image. If there is none, the reason is counted.
        if image.is_unavailable:
            self.skipped["unavailable"] += 1
            return None
        is_changed = False
        for path in image.paths:
            facts = examine_photo(path)
            if isinstance(facts, ExaminedPhoto):
                if facts.digest == image.digest:
                    return CandidatePhoto(LabelledPhoto(path), facts, label, "")
                is_changed = True
        self.skipped["changed" if is_changed else "gone"] += 1
        return None

    def plan_copies(self) -> None:
        """Plan the copies. Photos for testing keep their split, and nothing like them is trained on."""
        photos = list(self.photos.values())
        groups = group_near_duplicates([each.facts.sketch for each in photos])
        splits = [(each.label and each.photo.split) or TRAIN for each in photos]
        tested = {
            group for group, split in zip(groups, splits, strict=True) if split == TEST
        }
        for photo, group, split in zip(photos, groups, splits, strict=True):
            if split != TEST and group in tested:
                self.left_out["like a photo for testing"] += 1
                continue
            folder = Path(split, photo.label) if photo.label else Path(UNKNOWN)
            self.copies.append(PhotoCopy(photo.photo.path, folder, photo.facts.digest))

    def _label(self, slug: str) -> str:
        # The label in the earlier folder, else the model's, else the slug.
        if slug not in self._label_of:
            name = label_of(self._model_labels.get(slug, slug))
            is_folder = (
                name.isprintable()
                and name[0] not in ".@"
                and not set(name) & set('/\\:*?"<>|')
            )
            label = name if is_folder and name not in self.labels else slug
            self._label_of[slug] = label
            facts = {
                name: getattr(self._landmarks[slug], name)
                for name in COLUMNS
                if name != "label"
            }
            self.labels[label] = Label(label=label, **facts)
        return self._label_of[slug]


# Udacity's landmark photos, a subset of Google Landmarks v2 with 50 labels: download and unpack the
# archive.
#
# The archive is not trusted: only photos are unpacked, only below the folder, and checksums are
# compared.

URL = "https://udacity-dlnfd.s3-us-west-1.amazonaws.com/datasets/landmark_images.zip"
RECORD = "source.json"
GAZETTEER = "udacity-landmarks.csv"

# Matches the path of a photo, perhaps below one top folder. The group is its path in the new
# folder.
_PHOTO = re.compile(
    r"(?:[\w. -]+/)?((?:train|test)/[\w(),'-][\w(),'. -]*/[\w(),'-][\w(),'. -]*)"
)
_PART_BYTES = 1 << 20
_TIMEOUT_S = 30.0
# What the connection, and damaged, unusual and encrypted archives raise.
_FAILURES = (
    OSError,
    http.client.HTTPException,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    ValueError,
)


def fetch_udacity(out: Path, url: str = URL) -> bool:
    """Download and unpack the archive to OUT/{train,test}/LABEL. Returns False if `out` is complete already.

    Raises:
        DataUnusable, OutputUnwritable: with what to do. There is nothing in `out` then.
    """
    if (out / RECORD).is_file():
        return False
    require_free_folder(out)
    with new_folder(out) as folder:
        archive = folder / "archive.zip"
        try:
            _download(url, archive)
            unpack_photos(archive, folder)
            record = {
                "url": url,
                "size_bytes": archive.stat().st_size,
                "digest": file_digest(archive),
            }
            archive.unlink()
            (folder / FILE_NAME).write_bytes(
                files("trainer.data").joinpath(GAZETTEER).read_bytes()
            )
            (folder / RECORD).write_text(
                json.dumps(record, indent=1) + "\n", encoding="utf-8"
            )
        except _FAILURES as error:
            remedy = "Run the same command again, or name another copy of the archive with --url"
            reason = f"it cannot be downloaded: {str(error) or type(error).__name__}"
            raise DataUnusable(path=url, reason=reason, remedy=remedy) from error
    return True


def _download(url: str, file: Path) -> None:
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response,  # noqa: S310 - a file may be named too
        file.open("wb") as out,
        trainer.display("downloading, MB") as show,
    ):
        total = int(response.headers.get("Content-Length") or 0)
        while part := response.read(_PART_BYTES):
            out.write(part)
            show(out.tell() >> 20, (total >> 20) or None)


def unpack_photos(archive: Path, folder: Path) -> None:
    """Unpack the photos of `archive` into `folder`, without a top folder that holds everything."""
    with zipfile.ZipFile(archive) as file:
        photos = photo_entries(file.infolist())
        if not any(path.startswith("train/") for path in photos):
            raise zipfile.BadZipFile("it has no train/LABEL/photo.jpg")
        with photo_progress("unpacking photos", len(photos)) as advance:
            for path, info in photos.items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(info) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out)
                advance(1)


def photo_entries(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The photos among an archive's entries, by their paths below the folder; other files are skipped."""
    matches = ((_PHOTO.fullmatch(info.filename), info) for info in infos)
    return {
        match[1]: info for match, info in matches if match and is_photo_name(match[1])
    }
