"""The report of an inspection: report.md, inspection.json, and sample sheets.

A sample sheet shows a few photos of each label with its name and counts.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from blake3 import blake3

from trainer.data.folders import ExaminedPhotos
from trainer.data.gazetteer import FILE_NAME
from trainer.data.inspection import FEW, Inspection, PhotoGroup
from trainer.data.sheets import SheetRow, draw_sheet
from trainer.errors import writing_to
from trainer.progress import photo_progress

REPORT, DOCUMENT = "report.md", "inspection.json"
LISTED = 50
"""The most lines per kind of problem in the report. inspection.json lists all."""
SAMPLES = 6
LABELS_PER_SHEET = 32
"""Further labels are on further sheets."""


def write_inspection(inspection: Inspection, out: Path) -> list[Path]:
    """Write report.md, inspection.json and the sample sheets to `out`; returns the paths of the sheets.

    Raises:
        OutputUnwritable: with the reason.
    """
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        sheets = _write_sheets(inspection, out)
        text = json.dumps(inspection.document, indent=1, ensure_ascii=False)
        (out / DOCUMENT).write_text(text + "\n", encoding="utf-8")
        (out / REPORT).write_text("\n".join(_report(inspection, sheets)) + "\n", encoding="utf-8")
    return sheets


def _report(inspection: Inspection, sheets: Sequence[Path]) -> Iterator[str]:
    document = inspection.document
    yield f"# {Path(document['folder']).name}: inspection"
    yield ""
    yield f"{document['photos']} photos of {len(document['labels'])} labels. {_shape(document)}"
    yield ""
    yield from (f"![samples of each label]({sheet.name})" for sheet in sheets)
    yield ""
    for title, meaning, lines in findings(inspection):
        yield from _section(title, meaning, lines)
    if document["landmarks"] is None:
        yield f"There is no {FILE_NAME}, so labels are named after their folders."
        yield ""
    yield ""
    yield from _table(document)


def _shape(document: dict[str, Any]) -> str:
    sentences = []
    if document["imbalance"] is not None:
        sentences.append(
            f"The largest label has {document['imbalance']:.1f} times the photos of the smallest."
        )
    if sizes := document["sizes"]:
        smallest, middle, largest = (f"{w} x {h}" for w, h in sizes.values())
        sentences.append(f"Images are {smallest} to {largest} pixels, the median {middle}.")
    formats = ", ".join(f"{name} {count}" for name, count in document["formats"].items())
    sentences.append(f"Formats: {formats or 'none'}; the median file has {document['median_bytes']} bytes.")
    return " ".join(sentences)


def findings(inspection: Inspection) -> Iterator[tuple[str, str, list[str]]]:
    """Each kind of problem, the worst first: its title, what it means, and a line for each case."""
    document = inspection.document
    yield (
        "Leaks between splits",
        "The same scene is in several splits, which makes metrics too good. Remove it from all but one, or split again with `trainer data split`.",
        _group_lines(inspection.leaks),
    )
    yield (
        "Label conflicts",
        "The same image has several labels. Keep it under the right one.",
        _group_lines(document["label_conflicts"]),
    )
    yield (
        "Broken photos",
        "The tagger cannot read them, and training skips them.",
        [f"`{each['path']}`: {each['kind']}. {each['text']}" for each in document["broken"]],
    )
    yield (
        "Blank photos",
        "They have a single shade, so they are useless for training. Remove them.",
        [f"`{path}`" for path in document["blank"]],
    )
    yield (
        "Labels with few photos",
        f"They have fewer than {FEW} training photos. Add photos, or remove the label.",
        [f"{label}: {count}" for label, count in document["few"].items()],
    )
    yield (
        FILE_NAME,
        "Labels without a row are named after their folder. Rows without a folder have no effect.",
        list(_gazetteer_lines(document["landmarks"])) if document["landmarks"] else [],
    )
    yield (
        "Ignored files",
        "They do not have the name of a photo, or are not in a label folder.",
        [f"`{path}`" for kind in ("not_photos", "outside_labels", "passed_over") for path in document[kind]],
    )
    yield (
        "Exact duplicates",
        "Copies of one image. Within a split, training counts them several times, which does little harm.",
        _group_lines(document["exact_duplicates"]),
    )
    yield (
        "Near-duplicates",
        "Nearly the same image. This is an estimate, so check them.",
        _group_lines(document["near_duplicates"]),
    )


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
    yield from (f"no folder for the row {label}" for label in gazetteer["without_folder"])
    yield from (f"no row for the folder {label}" for label in gazetteer["without_row"])


def _table(document: dict[str, Any]) -> Iterator[str]:
    splits = document["splits"] or ["photos"]
    yield "## Photos of each label"
    yield ""
    yield f"| label | {' | '.join(splits)} |"
    yield f"|---|{'---:|' * len(splits)}"
    for each in document["labels"]:
        cells = " | ".join(str(count) for count in _counts(each).values())
        yield f"| {each['label'].replace('|', chr(92) + '|')} | {cells} |"


def _counts(label: dict[str, Any]) -> dict[str, int]:
    """A label's photos by split, or all."""
    return label["splits"] or {"photos": label["photos"]}


def _write_sheets(inspection: Inspection, folder: Path) -> list[Path]:
    """Draw sheet.png, and sheet-2.png and so on if there are many labels; returns their paths."""
    labels = zip(inspection.document["labels"], _samples(inspection.examined), strict=True)
    rows = [
        SheetRow(
            label["label"].replace("_", " "),
            " · ".join(f"{split} {count}" for split, count in _counts(label).items()),
            photos,
        )
        for label, photos in labels
    ]
    paths = []
    with photo_progress("drawing samples", len(rows)) as advance:
        for first in range(0, len(rows), LABELS_PER_SHEET):
            part = rows[first : first + LABELS_PER_SHEET]
            path = folder / (f"sheet-{first // LABELS_PER_SHEET + 1}.png" if first else "sheet.png")
            draw_sheet(part, path)
            paths.append(path)
            advance(len(part))
    return paths


def _samples(examined: ExaminedPhotos) -> list[list[Path]]:
    """A few different images of each label, in an order that depends on their digests alone."""
    by_label: dict[str, dict[str, Path]] = defaultdict(dict)
    for photo, facts in zip(examined.photos, examined.facts, strict=True):
        by_label[photo.label].setdefault(blake3(facts.digest.encode()).hexdigest(), photo.path)
    return [
        [by_label[label][key] for key in sorted(by_label[label])[:SAMPLES]]
        for label in examined.dataset.labels
    ]
