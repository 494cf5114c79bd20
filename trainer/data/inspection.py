"""Inspect a folder of labelled photos before training: problems, duplicates, sizes and counts.

The result is report.md, inspection.json, and sheets with a few photos of each label.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.files import read_photo
from tagger.photos.paths import path_text
from trainer import DataUnusable, photo_progress, writing_to
from trainer.data import (
    FILE_NAME,
    MAX_BYTES,
    MAX_PIXELS,
    Dataset,
    ExaminedPhoto,
    ExaminedPhotos,
    LabelledPhoto,
    examine_dataset,
    group_near_duplicates,
    read_gazetteer,
)

# The number of photos per label that transfer learning needs.
FEW = 20
REPORT, DOCUMENT = "report.md", "inspection.json"
# The most lines per kind of problem in the report. inspection.json lists all.
LISTED = 50
SAMPLES = 6
# Further labels are on further sheets.
LABELS_PER_SHEET = 32

# Photos with the same image, or nearly the same: path, split and label of each.
PhotoGroup = list[dict[str, str | None]]


@dataclass(frozen=True)
class Inspection:
    """The photos, and the findings as JSON. Paths are relative to the folder."""

    examined: ExaminedPhotos
    document: dict[str, Any]

    @property
    def leaks(self) -> list[PhotoGroup]:
        return [*self.document["leaks"]["exact"], *self.document["leaks"]["near"]]


def inspect_folder(folder: Path) -> Inspection:
    """Read every photo in the label folders of `folder`.

    Raises:
        PathNotFound, DataUnusable: there are no photos in label folders.
    """
    examined = examine_dataset(folder)
    dataset, photos, facts = examined.dataset, examined.photos, examined.facts
    labels = _labels(examined)
    # Training uses the photos in train/, or all if there are no splits.
    counts = {
        each["label"]: each["splits"].get("train", 0)
        if dataset.splits
        else each["photos"]
        for each in labels
    }
    exact = _groups(dataset, photos, [entry.digest for entry in facts])
    # Near-duplicates are groups with more than one image that is not blank.
    groups = group_near_duplicates([entry.sketch for entry in facts])
    images: dict[int, set[str]] = defaultdict(set)
    for group, entry in zip(groups, facts, strict=True):
        if not entry.sketch.is_blank:
            images[group].add(entry.digest)
    alike = [
        position for position, group in enumerate(groups) if len(images[group]) > 1
    ]
    near = _groups(
        dataset,
        [photos[position] for position in alike],
        [groups[position] for position in alike],
    )
    document = {
        "folder": path_text(dataset.folder.absolute())[0],
        "splits": list(dataset.splits),
        "photos": len(photos),
        "labels": labels,
        "few": {label: count for label, count in counts.items() if count < FEW},
        "sizes": _sizes(facts),
        "broken": examined.unreadable,
        "blank": [
            dataset.name_of(photo.path)
            for photo, entry in zip(photos, facts, strict=True)
            if entry.sketch.is_blank
        ],
        "not_photos": [dataset.name_of(path) for path in dataset.other_files],
        "outside_labels": [dataset.name_of(path) for path in dataset.unlabelled],
        "passed_over": [dataset.name_of(path) for path in dataset.ignored_folders],
        "exact_duplicates": exact,
        "label_conflicts": [each for each in exact if _differ(each, "label")],
        "near_duplicates": near,
        "leaks": {
            "exact": [each for each in exact if _differ(each, "split")],
            "near": [each for each in near if _differ(each, "split")],
        },
        "landmarks": _check_gazetteer(dataset),
    }
    return Inspection(examined, document)


def _labels(examined: ExaminedPhotos) -> list[dict[str, Any]]:
    # The readable photos of each label, in total and by split.
    counts = Counter((photo.label, photo.split) for photo in examined.photos)
    totals = Counter(photo.label for photo in examined.photos)
    return [
        {
            "label": path_text(label)[0],
            "photos": totals[label],
            "splits": {
                split: counts[label, split] for split in examined.dataset.splits
            },
        }
        for label in examined.dataset.labels
    ]


def _sizes(facts: Sequence[ExaminedPhoto]) -> dict[str, tuple[int, int]]:
    # Width and height of the upright images with the fewest, the median and the most pixels.
    if not facts:
        return {}
    ordered = sorted(
        ((entry.width, entry.height) for entry in facts),
        key=lambda size: (size[0] * size[1], size),
    )
    return {
        "min": ordered[0],
        "median": ordered[len(ordered) // 2],
        "max": ordered[-1],
    }


def _groups(
    dataset: Dataset, photos: Sequence[LabelledPhoto], keys: Iterable[object]
) -> list[PhotoGroup]:
    groups: dict[object, PhotoGroup] = defaultdict(list)
    for photo, key in zip(photos, keys, strict=True):
        label = path_text(photo.label)[0]
        groups[key].append(
            {"path": dataset.name_of(photo.path), "split": photo.split, "label": label}
        )
    return [group for group in groups.values() if len(group) > 1]


def _differ(group: PhotoGroup, fact: str) -> bool:
    return len({photo[fact] for photo in group}) > 1


def _check_gazetteer(dataset: Dataset) -> dict[str, Any] | None:
    # How landmarks.csv matches the label folders, or why the file cannot be used; None if there is none.
    if not (dataset.folder / FILE_NAME).is_file():
        return None
    try:
        rows = read_gazetteer(dataset.folder / FILE_NAME)
    except DataUnusable as error:
        return {
            "rows": 0,
            "without_folder": [],
            "without_row": [],
            "problem": str(error),
        }
    return {
        "rows": len(rows),
        "without_folder": [label for label in rows if label not in dataset.labels],
        "without_row": [
            path_text(label)[0] for label in dataset.labels if label not in rows
        ],
        "problem": None,
    }


def write_inspection(inspection: Inspection, out: Path) -> list[Path]:
    """Write report.md, inspection.json and the sample sheets to `out`; returns the paths of the sheets."""
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)

        # Draw sheet.png, and sheet-2.png and so on if there are many labels; returns their paths.
        # A few different images of each label, evenly spread.
        examined = inspection.examined
        by_label: dict[str, dict[str, Path]] = defaultdict(dict)
        for photo, facts in zip(examined.photos, examined.facts, strict=True):
            by_label[photo.label].setdefault(facts.digest, photo.path)
        paths = [list(by_label[label].values()) for label in examined.dataset.labels]
        samples = [path[:: max(1, len(path) // SAMPLES)][:SAMPLES] for path in paths]

        labels = zip(inspection.document["labels"], samples, strict=True)
        rows = [
            SheetRow(
                label["label"].replace("_", " "),
                " · ".join(
                    f"{split} {count}" for split, count in _counts(label).items()
                ),
                photos,
            )
            for label, photos in labels
        ]
        sheets = []
        with photo_progress("drawing samples", len(rows)) as advance:
            for first in range(0, len(rows), LABELS_PER_SHEET):
                part = rows[first : first + LABELS_PER_SHEET]
                path = out / (
                    f"sheet-{first // LABELS_PER_SHEET + 1}.png"
                    if first
                    else "sheet.png"
                )
                draw_sheet(part, path)
                sheets.append(path)
                advance(len(part))

        text = json.dumps(inspection.document, indent=1, ensure_ascii=False)
        (out / DOCUMENT).write_text(text + "\n", encoding="utf-8")
        (out / REPORT).write_text(
            "\n".join(_report(inspection, sheets)) + "\n",
            encoding="utf-8",
        )
    return sheets


def _report(inspection: Inspection, sheets: Sequence[Path]) -> Iterator[str]:
    document = inspection.document
    yield f"# {Path(document['folder']).name}: inspection"
    yield ""
    sizes = [f"{width} x {height}" for width, height in document["sizes"].values()]
    pixels = (
        "Images are {0} to {2} pixels, the median {1}.".format(*sizes) if sizes else ""
    )
    yield f"{document['photos']} photos of {len(document['labels'])} labels. {pixels}"
    yield ""
    yield from (f"![samples of each label]({sheet.name})" for sheet in sheets)
    yield ""
    for title, lines in findings(inspection).items():
        yield from _section(title, MEANINGS[title], lines)
    if document["landmarks"] is None:
        yield f"There is no {FILE_NAME}, so labels are named after their folders."
        yield ""
    yield ""
    splits = document["splits"] or ["photos"]
    yield "## Photos of each label"
    yield ""
    yield f"| label | {' | '.join(splits)} |"
    yield f"|---|{'---:|' * len(splits)}"
    for each in document["labels"]:
        cells = " | ".join(str(count) for count in _counts(each).values())
        yield f"| {each['label'].replace('|', chr(92) + '|')} | {cells} |"


# Each kind of problem, the worst first.
MEANINGS = {
    "Leaks between splits": "The same scene is in several splits, which makes metrics too good. Remove it "
    "from all but one, or split again with `trainer data split`.",
    "Label conflicts": "The same image has several labels. Keep it under the right one.",
    "Broken photos": "The tagger cannot read them, and training skips them.",
    "Blank photos": "They have a single shade, so they are useless for training. Remove them.",
    "Labels with few photos": f"They have fewer than {FEW} training photos. Add photos, or remove the label.",
    FILE_NAME: "Labels without a row are named after their folder. Rows without a folder have no effect.",
    "Ignored files": "They do not have the name of a photo, or are not in a label folder.",
    "Exact duplicates": "Copies of one image. Within a split, training counts them several times, "
    "which does little harm.",
    "Near-duplicates": "Nearly the same image. This is an estimate, so check them.",
}


def findings(inspection: Inspection) -> dict[str, list[str]]:
    document = inspection.document
    lines = (
        _group_lines(inspection.leaks),
        _group_lines(document["label_conflicts"]),
        [
            f"`{each['path']}`: {each['kind']}. {each['text']}"
            for each in document["broken"]
        ],
        [f"`{path}`" for path in document["blank"]],
        [f"{label}: {count}" for label, count in document["few"].items()],
        list(_gazetteer_lines(document["landmarks"])) if document["landmarks"] else [],
        [
            f"`{path}`"
            for kind in ("not_photos", "outside_labels", "passed_over")
            for path in document[kind]
        ],
        _group_lines(document["exact_duplicates"]),
        _group_lines(document["near_duplicates"]),
    )
    return dict(zip(MEANINGS, lines, strict=True))


def _section(title: str, meaning: str, entries: Sequence[str]) -> Iterator[str]:
    if not entries:
        yield f"**{title}:** none."
        yield ""
        return
    yield f"## {title}: {len(entries)}"
    yield ""
    yield meaning
    yield ""
    yield from (f"- {line}" for line in entries[:LISTED])
    if len(entries) > LISTED:
        yield f"- and {len(entries) - LISTED} more, listed in {DOCUMENT}"
    yield ""


def _group_lines(groups: Iterable[PhotoGroup]) -> list[str]:
    lines = []
    for group in groups:
        more = len(group) - LISTED
        paths = ", ".join(f"`{photo['path']}`" for photo in group[:LISTED])
        lines.append(paths + (f" and {more} more" if more > 0 else ""))
    return lines


def _gazetteer_lines(gazetteer: dict[str, Any]) -> Iterator[str]:
    if gazetteer["problem"]:
        yield gazetteer["problem"]
    yield from (
        f"no folder for the row {label}" for label in gazetteer["without_folder"]
    )
    yield from (f"no row for the folder {label}" for label in gazetteer["without_row"])


def _counts(label: dict[str, Any]) -> dict[str, int]:
    # A label's photos by split, or all.
    return label["splits"] or {"photos": label["photos"]}


# Sheets of photos: a PNG with a row of a few photos for each label or mistake, beside its name.

CELL = Resize(short_side=112, size=112)
GAP, COLUMN_GAP = 6, 40
NAME_WIDTH = 225
LETTERS_PER_LINE = 23
MOST_LINES = 4
LINE_HEIGHT = 19
PAPER, INK, PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class SheetRow:
    name: str
    note: str
    photos: Sequence[Path]


def draw_sheet(rows: Sequence[SheetRow], file: Path, *, columns: int = 1) -> None:
    step = CELL.size + GAP
    width = NAME_WIDTH + max(len(row.photos) for row in rows) * step + COLUMN_GAP
    height = math.ceil(len(rows) / columns) * step + GAP
    sheet = Image.new("RGB", (width * columns + GAP - COLUMN_GAP, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    name_font = _font("DejaVuSans-Bold")
    note_font = _font("DejaVuSans")
    for number, row in enumerate(rows):
        sheet_line, sheet_column = divmod(number, columns)
        left, top = sheet_column * width + GAP, sheet_line * step + GAP
        lines = wrap(row.name, LETTERS_PER_LINE)[:MOST_LINES]
        draw.text((left, top), "\n".join(lines), INK, name_font)
        draw.text(
            (left, top + LINE_HEIGHT * len(lines) + 4),
            row.note,
            PALE,
            note_font,
        )
        for column, photo in enumerate(row.photos):
            data = read_photo(photo, max_bytes=MAX_BYTES).data
            square = Image.fromarray(
                decode_photo(data, CELL, max_pixels=MAX_PIXELS).pixels
            )
            sheet.paste(square, (left + NAME_WIDTH + column * step, top))
    sheet.save(file)


def _font(name: str) -> ImageFont.FreeTypeFont:
    # A font of matplotlib, which covers most scripts.
    return ImageFont.truetype(
        str(Path(mpl.get_data_path(), "fonts", "ttf", f"{name}.ttf")),
        14,
    )
