"""People's verdicts as photos to train on: what they confirmed under its label, what they rejected as ordinary photos.

Reads the database through `tagger.verdicts.judged`; the photos themselves are only read and copied.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagger.artifact import Label
from tagger.errors import PhotoFailed
from tagger.photos import digest_photo, path_text, read_photo
from tagger.settings import Settings
from tagger.verdicts.judged import Judged, JudgedPicture, judged_by_people
from trainer.datasets.folder import Dataset, read_dataset
from trainer.datasets.placing import Placement, check_out, check_room, place_photos, placed
from trainer.errors import NothingJudged, writing_to
from trainer.photos.gazetteer import COLUMNS, FILE_NAME, labels_with_landmarks
from trainer.photos.limits import MAX_BYTES
from trainer.progress import photo_progress

UNKNOWN = "unknown"


@dataclass
class Corrections:
    """What goes into the new folder, and how many pictures do not, by reason.

    Reasons: several-confirmed, still-tagged, gone, away, changed (the file shows another picture now).
    """

    placements: list[Placement] = field(default_factory=list)
    labels: dict[str, Label] = field(default_factory=dict)
    confirmed: Counter[str] = field(default_factory=Counter)
    """Pictures that people confirmed, by label."""
    ordinary: int = 0
    known: int = 0
    """Confirmed pictures that the earlier folder has already, under that label."""
    relabelled: int = 0
    """Photos of the earlier folder whose label a person has corrected or rejected."""
    earlier: int = 0
    """Photos of the earlier folder, as they were."""
    left_out: Counter[str] = field(default_factory=Counter)
    conflicts: list[str] = field(default_factory=list)
    """A path of each picture that was confirmed for several landmarks."""
    unreadable: list[str] = field(default_factory=list)
    """Photos of the earlier folder that cannot be read."""

    @property
    def document(self) -> dict[str, Any]:
        return {
            "confirmed": self.confirmed.total(),
            "ordinary": self.ordinary,
            "labels": len(self.labels),
            "earlier": self.earlier,
            "known_already": self.known,
            "relabelled": self.relabelled,
            "left_out": dict(self.left_out),
            "by_label": {path_text(label)[0]: count for label, count in sorted(self.confirmed.items())},
            "several_confirmed": self.conflicts,
            "unreadable": self.unreadable,
        }


def collect_corrections(settings: Settings, earlier: Path | None = None) -> Corrections:
    """Find the photos that people's words are about, together with those of an `earlier` folder. Nothing is written.

    Raises:
        NothingJudged: nobody has said anything that a photo can be found for.
        FolderNotFound, DatasetEmpty, LandmarksFileInvalid: the earlier folder is none.
    """
    with judged_by_people(settings) as judged:
        collecting = _Collecting(judged, earlier)
        pictures = list(judged.pictures())
    if not pictures:
        raise NothingJudged(url=judged.shown_url, reason="nobody has confirmed or rejected anything")
    with photo_progress("reading judged photos", len(pictures)) as advance:
        for picture in pictures:
            collecting.add(picture)
            advance(1)
    found = collecting.finish()
    if not found.confirmed and not found.ordinary and not found.known:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(found.left_out.items()))
        raise NothingJudged(url=judged.shown_url, reason=f"no photo is left of {len(pictures)} ({reasons})")
    return found


def write_corrections(found: Corrections, out: Path, earlier: Path | None = None) -> None:
    """Copy the photos to OUT/train/LABEL and OUT/unknown, all of them or nothing, with a landmarks.csv.

    Raises:
        InsidePhotos, FolderNotEmpty, NoRoom, OutputUnwritable: with what to do.
    """
    check_out(out, earlier)
    check_room(out, sum(placement.source.stat().st_size for placement in found.placements))
    with placed(out) as making:
        place_photos(found.placements, making)
        with writing_to(out):
            _write_gazetteer(making / FILE_NAME, found.labels.values())


class _Collecting:
    """Corrections being put together, over the photos of an earlier folder."""

    def __init__(self, judged: Judged, earlier: Path | None) -> None:
        self._landmarks = judged.landmarks()
        self._model_labels = judged.labels()
        self._found = Corrections()
        self._earlier: dict[str, list[Placement]] = {}
        self._label_of: dict[str, str] = {}
        if earlier is not None:
            self._read_earlier(read_dataset(earlier))

    def add(self, picture: JudgedPicture) -> None:
        """Decide what becomes of one picture."""
        if len(picture.confirmed) > 1:
            self._found.conflicts += [path_text(path)[0] for path in picture.paths[:1]] or [picture.digest]
            self._found.left_out["several-confirmed"] += 1
        elif picture.confirmed:
            self._add_confirmed(picture, picture.confirmed[0])
        elif picture.stands:
            self._found.left_out["still-tagged"] += 1
        else:
            self._add_ordinary(picture)

    def finish(self) -> Corrections:
        for placements in self._earlier.values():
            self._found.placements += placements
            self._found.earlier += len(placements)
        return self._found

    def _read_earlier(self, dataset: Dataset) -> None:
        for label in labels_with_landmarks(dataset.labels, dataset.folder):
            self._found.labels[label.label] = label
            self._label_of[label.slug] = label.label
        with photo_progress("reading the earlier folder", len(dataset.members)) as advance:
            for member in dataset.members:
                digest = _digest(member.path)
                if digest is None:
                    self._found.unreadable.append(dataset.name_of(member.path))
                else:
                    place = Placement(member.path, Path(member.split or "train", member.label), digest)
                    self._earlier.setdefault(digest, []).append(place)
                advance(1)

    def _add_confirmed(self, picture: JudgedPicture, slug: str) -> None:
        label = self._label(slug)
        if picture.digest in self._earlier:
            self._correct_earlier(picture.digest, label)
        elif source := self._source(picture):
            self._found.placements.append(Placement(source, Path("train", label), picture.digest))
            self._found.confirmed[label] += 1

    def _correct_earlier(self, digest: str, label: str) -> None:
        """A person's word wins over the folder that a photo lies in; it stays in its split."""
        before = self._earlier.pop(digest)
        wrong = [place for place in before if place.folder.name != label]
        self._found.relabelled += len(wrong)
        self._found.known += not wrong
        self._earlier[digest] = [
            Placement(place.source, place.folder.with_name(label), digest) for place in before
        ]

    def _add_ordinary(self, picture: JudgedPicture) -> None:
        """Nobody may learn from it as one of the labels that were rejected; elsewhere it stays as it is."""
        wrong = {self._label_of.get(slug) for slug in picture.rejected}
        before = self._earlier.pop(picture.digest, [])
        kept = [place for place in before if place.folder.name not in wrong]
        self._found.relabelled += len(before) - len(kept)
        if kept:
            self._earlier[picture.digest] = kept
        elif source := self._source(picture):
            self._found.placements.append(Placement(source, Path(UNKNOWN), picture.digest))
            self._found.ordinary += 1

    def _source(self, picture: JudgedPicture) -> Path | None:
        """A photo that still shows the picture; else the reason is counted."""
        if picture.is_away:
            self._found.left_out["away"] += 1
            return None
        digests = {path: _digest(path) for path in picture.paths}
        for path, digest in digests.items():
            if digest == picture.digest:
                return path
        self._found.left_out["changed" if any(digests.values()) else "gone"] += 1
        return None

    def _label(self, slug: str) -> str:
        """The label of the earlier folder, else the model's, else the slug."""
        if slug not in self._label_of:
            wanted = (self._model_labels.get(slug, slug), slug, *(f"{slug}-{n}" for n in range(2, 100)))
            free = (label for label in wanted if _is_folder_name(label) and label not in self._found.labels)
            label = self._label_of[slug] = next(free)
            facts = {name: getattr(self._landmarks[slug], name) for name in COLUMNS if name != "label"}
            self._found.labels[label] = Label(label=label, **facts)
        return self._label_of[slug]


def _digest(path: Path) -> str | None:
    try:
        return digest_photo(read_photo(path, max_bytes=MAX_BYTES).data)
    except PhotoFailed:
        return None


def _is_folder_name(label: str) -> bool:
    return label.isprintable() and label[0] not in ".@" and not set(label) & set('/\\:*?"<>|')


def _write_gazetteer(path: Path, labels: Iterable[Label]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rows(labels))


def _rows(labels: Iterable[Label]) -> Iterator[Mapping[str, object]]:
    for label in sorted(labels, key=lambda label: label.label):
        if not path_text(label.label)[1]:  # a label that is not UTF-8 can only name itself
            yield label.model_dump()
