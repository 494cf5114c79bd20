"""The report of an inspection: report.md, inspection.json, a summary for the terminal, and sample sheets.

A sample sheet shows a few photos of each label with its name and counts, as PNG.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
from blake3 import blake3
from PIL import Image, ImageDraw, ImageFont

from tagger.errors import PhotoFailed
from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.files import read_photo
from tagger.photos.paths import path_text
from trainer.data.folders import MAX_BYTES, MAX_PIXELS, DatasetPhoto
from trainer.data.inspection import FEW, DuplicateGroup, Inspection
from trainer.errors import writing_to
from trainer.progress import photo_progress

REPORT, DOCUMENT = "report.md", "inspection.json"
LISTED = 50
"""The most lines per kind of problem in the report. inspection.json lists all."""
SAMPLES = 6
CELL = Resize(short_side=112, size=112)
GAP = 6
NAME_WIDTH = 225
LETTERS_PER_LINE = 23
LABELS_PER_SHEET = 32
"""Further labels are on further sheets."""
PAPER, INK, PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def write_inspection(inspection: Inspection, out: Path) -> list[Path]:
    """Write report.md, inspection.json and the sample sheets to `out`; returns the paths of the sheets.

    Raises:
        OutputUnwritable: with the reason.
    """
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        sheets = write_sheets(inspection, out)
        text = json.dumps(inspection_document(inspection), indent=1, ensure_ascii=False)
        (out / DOCUMENT).write_text(text + "\n", encoding="utf-8")
        (out / REPORT).write_text("\n".join(_report(inspection, sheets)) + "\n", encoding="utf-8")
    return sheets


def inspection_document(inspection: Inspection) -> dict[str, Any]:
    """The inspection as JSON; paths are relative to the folder."""
    dataset, sizes, gazetteer = inspection.dataset, inspection.sizes, inspection.gazetteer
    return {
        "folder": path_text(dataset.folder.absolute())[0],
        "splits": list(dataset.splits),
        "photos": len(inspection.photos),
        "labels": [
            {"label": path_text(label)[0], "photos": sum(counts.values()), "splits": _named_splits(counts)}
            for label, counts in inspection.counts.items()
        ],
        "imbalance": inspection.imbalance,
        "few": {path_text(label)[0]: count for label, count in inspection.few.items()},
        "sizes": sizes and {"min": sizes.smallest, "median": sizes.median, "max": sizes.largest},
        "median_bytes": inspection.median_bytes,
        "formats": inspection.formats,
        "broken": inspection.unreadable_document,
        "blank": [dataset.name_of(photo.path) for photo in inspection.blank],
        "not_photos": [dataset.name_of(path) for path in dataset.other_files],
        "outside_labels": [dataset.name_of(path) for path in dataset.unlabelled],
        "passed_over": [dataset.name_of(path) for path in dataset.ignored_folders],
        **_duplicates_document(inspection),
        "landmarks": gazetteer
        and {
            "rows": gazetteer.rows,
            "without_folder": list(gazetteer.without_folder),
            "without_row": list(gazetteer.without_row),
            "problem": gazetteer.problem,
        },
    }


def _duplicates_document(inspection: Inspection) -> dict[str, Any]:
    def documents(groups: Iterable[DuplicateGroup]) -> list[list[dict[str, str | None]]]:
        return [_group_document(inspection, group) for group in groups]

    exact, near = inspection.exact_duplicates, inspection.near_duplicates
    return {
        "exact_duplicates": documents(exact),
        "label_conflicts": documents(group for group in exact if group.has_conflict),
        "near_duplicates": documents(near),
        "leaks": {
            "exact": documents(group for group in exact if group.has_leak),
            "near": documents(group for group in near if group.has_leak),
        },
    }


def inspection_summary(inspection: Inspection) -> dict[str, object]:
    """The most important counts."""
    splits = {
        split: sum(counts[split] for counts in inspection.counts.values())
        for split in inspection.dataset.splits
    }
    return {
        "photos": len(inspection.photos),
        "labels": len(inspection.dataset.labels),
        **splits,
        "broken": len(inspection.unreadable),
        "blank": len(inspection.blank),
        "not_photos": len(inspection.dataset.other_files) + len(inspection.dataset.unlabelled),
        "exact_duplicates": len(inspection.exact_duplicates),
        "label_conflicts": sum(group.has_conflict for group in inspection.exact_duplicates),
        "near_duplicates": len(inspection.near_duplicates),
        "leaks": sum(group.has_leak for group in (*inspection.exact_duplicates, *inspection.near_duplicates)),
        "labels_with_few_photos": len(inspection.few),
    }


def _named_splits(counts: dict[str, int]) -> dict[str, int]:
    return {split: count for split, count in counts.items() if split}


def _group_document(inspection: Inspection, group: DuplicateGroup) -> list[dict[str, str | None]]:
    return [
        {
            "path": inspection.dataset.name_of(photo.path),
            "split": photo.split,
            "label": path_text(photo.label)[0],
        }
        for photo in group.photos
    ]


def _report(inspection: Inspection, sheets: Sequence[Path]) -> Iterator[str]:
    dataset = inspection.dataset
    yield f"# {path_text(dataset.folder.absolute().name)[0]}: inspection"
    yield ""
    yield f"{len(inspection.photos)} photos of {len(dataset.labels)} labels. {_shape(inspection)}"
    yield ""
    yield from (f"![samples of each label]({sheet.name})" for sheet in sheets)
    yield ""
    for title, meaning, lines in _findings(inspection):
        yield from _section(title, meaning, lines)
    yield ""
    yield from _table(inspection)


def _shape(inspection: Inspection) -> str:
    sentences = []
    if inspection.imbalance is not None:
        sentences.append(
            f"The largest label has {inspection.imbalance:.1f} times the photos of the smallest."
        )
    if sizes := inspection.sizes:
        smallest, middle, largest = (f"{w} x {h}" for w, h in (sizes.smallest, sizes.median, sizes.largest))
        sentences.append(f"Images are {smallest} to {largest} pixels, the median {middle}.")
    formats = ", ".join(f"{name} {count}" for name, count in inspection.formats.items())
    sentences.append(f"Formats: {formats or 'none'}; the median file has {inspection.median_bytes} bytes.")
    return " ".join(sentences)


def _findings(inspection: Inspection) -> Iterator[tuple[str, str, list[str]]]:
    """Each kind of problem, the worst first: its title, what it means, and a line for each case."""

    def lines(groups: Iterable[DuplicateGroup]) -> list[str]:
        return [_group_line(inspection, group) for group in groups]

    dataset, exact, near = inspection.dataset, inspection.exact_duplicates, inspection.near_duplicates
    yield (
        "Leaks between splits",
        "The same scene is in several splits, which makes metrics too good. Remove it from all but one, or split again with `trainer data split`.",
        lines(group for group in (*exact, *near) if group.has_leak),
    )
    yield (
        "Label conflicts",
        "The same image has several labels. Keep it under the right one.",
        lines(group for group in exact if group.has_conflict),
    )
    yield (
        "Broken photos",
        "The tagger cannot read them, and training skips them.",
        [f"`{each['path']}`: {each['kind']}. {each['text']}" for each in inspection.unreadable_document],
    )
    yield (
        "Blank photos",
        "They have a single shade, so they are useless for training. Remove them.",
        [f"`{dataset.name_of(photo.path)}`" for photo in inspection.blank],
    )
    yield (
        "Labels with few photos",
        f"They have fewer than {FEW} training photos. Add photos, or remove the label.",
        [f"{path_text(label)[0]}: {count}" for label, count in inspection.few.items()],
    )
    yield (
        "landmarks.csv",
        "Labels without a row are named after their folder. Rows without a folder have no effect.",
        list(_gazetteer_lines(inspection)),
    )
    ignored = (*dataset.other_files, *dataset.unlabelled, *dataset.ignored_folders)
    yield (
        "Ignored files",
        "They do not have the name of a photo, or are not in a label folder.",
        [f"`{dataset.name_of(path)}`" for path in ignored],
    )
    yield (
        "Exact duplicates",
        "Copies of one image. Within a split, training counts them several times, which does little harm.",
        lines(exact),
    )
    yield "Near-duplicates", "Nearly the same image. This is an estimate, so check them.", lines(near)


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


def _group_line(inspection: Inspection, group: DuplicateGroup) -> str:
    shown = [f"`{inspection.dataset.name_of(photo.path)}`" for photo in group.photos[:LISTED]]
    more = len(group.photos) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _gazetteer_lines(inspection: Inspection) -> Iterator[str]:
    gazetteer = inspection.gazetteer
    if gazetteer is None:
        yield "there is no such file: all labels are named after their folders"
        return
    if gazetteer.problem:
        yield gazetteer.problem
    yield from (f"no folder for the row {label}" for label in gazetteer.without_folder)
    yield from (f"no row for the folder {path_text(label)[0]}" for label in gazetteer.without_row)


def _table(inspection: Inspection) -> Iterator[str]:
    splits = inspection.dataset.splits or ("",)
    yield "## Photos of each label"
    yield ""
    yield f"| label | {' | '.join(split or 'photos' for split in splits)} |"
    yield f"|---|{'---:|' * len(splits)}"
    for label, counts in inspection.counts.items():
        cells = " | ".join(str(counts[split]) for split in splits)
        yield f"| {path_text(label)[0].replace('|', chr(92) + '|')} | {cells} |"


def write_sheets(inspection: Inspection, folder: Path) -> list[Path]:
    """Draw sheet.png, and sheet-2.png and so on if there are many labels; returns their paths."""
    samples = _samples(inspection)
    paths = []
    with photo_progress("drawing samples", len(samples)) as advance:
        for first in range(0, len(samples), LABELS_PER_SHEET):
            labels = list(samples)[first : first + LABELS_PER_SHEET]
            sheet = _Sheet(len(labels))
            for position, label in enumerate(labels):
                sheet.draw_row(position, label, _counts_text(inspection, label), samples[label])
                advance(1)
            path = folder / (f"sheet-{first // LABELS_PER_SHEET + 1}.png" if first else "sheet.png")
            sheet.image.save(path)
            paths.append(path)
    return paths


def _samples(inspection: Inspection) -> dict[str, list[DatasetPhoto]]:
    """A few different images of each label, in an order that depends on their digests alone."""
    by_label: dict[str, dict[str, DatasetPhoto]] = defaultdict(dict)
    for photo, facts in zip(inspection.photos, inspection.facts, strict=True):
        by_label[photo.label].setdefault(blake3(facts.digest.encode()).hexdigest(), photo)
    return {
        label: [by_label[label][key] for key in sorted(by_label[label])[:SAMPLES]]
        for label in inspection.dataset.labels
    }


def _counts_text(inspection: Inspection, label: str) -> str:
    by_split = inspection.counts[label]
    return " · ".join(f"{split} {count}".strip() for split, count in by_split.items())


class _Sheet:
    """A sample sheet: one row per label."""

    def __init__(self, labels: int) -> None:
        self._step = CELL.size + GAP
        size = (NAME_WIDTH + SAMPLES * self._step + GAP, labels * self._step + GAP)
        self.image = Image.new("RGB", size, PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._name_font, self._count_font = _font("DejaVuSans-Bold"), _font("DejaVuSans")

    def draw_row(self, row: int, label: str, counts: str, samples: Sequence[DatasetPhoto]) -> None:
        left, top = GAP, row * self._step + GAP
        lines = wrap(path_text(label)[0].replace("_", " "), LETTERS_PER_LINE)[:4]
        name = "\n".join(lines)
        self._draw.text((left, top), name, INK, self._name_font)
        self._draw.text((left, top + 19 * len(lines) + 4), counts, PALE, self._count_font)
        for number, photo in enumerate(samples):
            self.image.paste(_square(photo.path), (left + NAME_WIDTH + number * self._step, top))


def _square(path: Path) -> Image.Image:
    try:
        data = read_photo(path, max_bytes=MAX_BYTES).data
        return Image.fromarray(decode_photo(data, CELL, max_pixels=MAX_PIXELS).pixels)
    except PhotoFailed:  # it was readable before
        return Image.new("RGB", (CELL.size, CELL.size), PALE)


def _font(name: str) -> ImageFont.FreeTypeFont:
    """A font of matplotlib, which covers most scripts."""
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", f"{name}.ttf")), 14)
