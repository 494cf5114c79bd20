"""An inspection as people and programs read it: report.md, inspection.json, sheet.png, and a few lines for the terminal."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tagger.photos import path_text
from trainer.datasets.inspection import FEW, Alike, Inspection
from trainer.datasets.sheet import write_sheets
from trainer.errors import writing_to

REPORT, DOCUMENT = "report.md", "inspection.json"
LISTED = 50
"""Lines of one kind in the report; all of them are in inspection.json."""


def write_inspection(inspection: Inspection, out: Path) -> list[Path]:
    """Write report.md, inspection.json and the sample sheets into `out`; returns the sheets' paths."""
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        sheets = write_sheets(inspection, out)
        text = json.dumps(document_of(inspection), indent=1, ensure_ascii=False)
        (out / DOCUMENT).write_text(text + "\n", encoding="utf-8")
        (out / REPORT).write_text("\n".join(_report(inspection, sheets)) + "\n", encoding="utf-8")
    return sheets


def document_of(inspection: Inspection) -> dict[str, Any]:
    """Everything found, as JSON; paths are relative to the folder."""
    dataset, sizes, gazetteer = inspection.dataset, inspection.sizes, inspection.gazetteer
    return {
        "folder": path_text(dataset.folder.absolute())[0],
        "splits": list(dataset.splits),
        "photos": len(inspection.members),
        "labels": [
            {"label": path_text(label)[0], "photos": sum(counts.values()), "splits": _named_splits(counts)}
            for label, counts in inspection.counts.items()
        ],
        "imbalance": inspection.imbalance,
        "few": {path_text(label)[0]: count for label, count in inspection.few.items()},
        "sizes": sizes and {"min": sizes.smallest, "median": sizes.median, "max": sizes.largest},
        "median_bytes": inspection.median_bytes,
        "formats": inspection.formats,
        "broken": [
            {"path": dataset.name_of(each.member.path), "kind": each.failure.kind, "text": each.failure.text}
            for each in inspection.broken
        ],
        "blank": [dataset.name_of(member.path) for member in inspection.blank],
        "not_photos": [dataset.name_of(path) for path in dataset.not_photos],
        "outside_labels": [dataset.name_of(path) for path in dataset.outside],
        "passed_over": [dataset.name_of(path) for path in dataset.passed_over],
        "exact_duplicates": [_alike(inspection, each) for each in inspection.same],
        "label_conflicts": [_alike(inspection, each) for each in inspection.same if each.in_conflict],
        "near_duplicates": [_alike(inspection, each) for each in inspection.near],
        "leaks": {
            "exact": [_alike(inspection, each) for each in inspection.same if each.leaks],
            "near": [_alike(inspection, each) for each in inspection.near if each.leaks],
        },
        "landmarks": gazetteer
        and {
            "rows": gazetteer.rows,
            "without_folder": list(gazetteer.without_folder),
            "without_row": list(gazetteer.without_row),
            "problem": gazetteer.problem,
        },
    }


def summary_of(inspection: Inspection) -> dict[str, object]:
    """What a person wants to know first."""
    splits = {
        split: sum(counts[split] for counts in inspection.counts.values())
        for split in inspection.dataset.splits
    }
    return {
        "photos": len(inspection.members),
        "labels": len(inspection.dataset.labels),
        **splits,
        "broken": len(inspection.broken),
        "blank": len(inspection.blank),
        "not_photos": len(inspection.dataset.not_photos) + len(inspection.dataset.outside),
        "exact_duplicates": len(inspection.same),
        "label_conflicts": sum(each.in_conflict for each in inspection.same),
        "near_duplicates": len(inspection.near),
        "leaks": sum(each.leaks for each in (*inspection.same, *inspection.near)),
        "labels_with_few_photos": len(inspection.few),
    }


def _named_splits(counts: dict[str, int]) -> dict[str, int]:
    return {split: count for split, count in counts.items() if split}


def _alike(inspection: Inspection, alike: Alike) -> list[dict[str, str | None]]:
    return [
        {
            "path": inspection.dataset.name_of(member.path),
            "split": member.split,
            "label": path_text(member.label)[0],
        }
        for member in alike.members
    ]


def _report(inspection: Inspection, sheets: Sequence[Path]) -> Iterator[str]:
    dataset = inspection.dataset
    yield f"# {path_text(dataset.folder.absolute().name)[0]}: what is in it"
    yield ""
    yield f"{len(inspection.members)} photos of {len(dataset.labels)} labels. {_shape(inspection)}"
    yield ""
    yield from (f"![samples of each label]({sheet.name})" for sheet in sheets)
    yield ""
    yield from _findings(inspection)
    yield ""
    yield from _table(inspection)


def _shape(inspection: Inspection) -> str:
    said = []
    if inspection.imbalance is not None:
        said.append(f"The largest label has {inspection.imbalance:.1f} times the photos of the smallest.")
    if sizes := inspection.sizes:
        smallest, middle, largest = (f"{w} x {h}" for w, h in (sizes.smallest, sizes.median, sizes.largest))
        said.append(f"Images are {smallest} to {largest} pixels, the median {middle}.")
    formats = ", ".join(f"{name} {count}" for name, count in inspection.formats.items())
    said.append(f"Formats: {formats or 'none'}; the median file has {inspection.median_bytes} bytes.")
    return " ".join(said)


def _findings(inspection: Inspection) -> Iterator[str]:
    """One section per kind of finding, the worst first; a kind that was not found has a line."""
    dataset = inspection.dataset
    leaks = [each for each in (*inspection.same, *inspection.near) if each.leaks]
    yield from _section(
        "Leaks between splits",
        "The same scene is on both sides, so figures measured there are too good. Take them out of one side, or make the splits anew with `trainer data split`.",
        (_group_line(inspection, each) for each in leaks),
    )
    yield from _section(
        "Label conflicts",
        "One picture stands under several labels. Keep it under the right one.",
        (_group_line(inspection, each) for each in inspection.same if each.in_conflict),
    )
    yield from _section(
        "Broken photos",
        "The tagger cannot look at them, and training leaves them out.",
        (
            f"`{dataset.name_of(each.member.path)}`: {each.failure.kind}. {each.failure.text}"
            for each in inspection.broken
        ),
    )
    yield from _section(
        "Blank photos",
        "They are all of one shade, so nothing can be learned from them. Remove them.",
        (f"`{dataset.name_of(member.path)}`" for member in inspection.blank),
    )
    yield from _section(
        "Labels with few photos",
        f"Fewer than {FEW} to learn from. Find more, or leave the label out.",
        (f"{path_text(label)[0]}: {count}" for label, count in inspection.few.items()),
    )
    yield from _section(
        "landmarks.csv",
        "Labels without a row name themselves; rows without a folder do nothing.",
        _gazetteer_lines(inspection),
    )
    yield from _section(
        "Files that are passed over",
        "They are not photos by their names, or lie in no label's folder.",
        (
            f"`{dataset.name_of(path)}`"
            for path in (*dataset.not_photos, *dataset.outside, *dataset.passed_over)
        ),
    )
    yield from _section(
        "Exact duplicates",
        "Copies of one picture within a split. They count twice in training, which does little harm.",
        (_group_line(inspection, each) for each in inspection.same if not each.leaks),
    )
    yield from _section(
        "Near-duplicates",
        "Nearly the same picture within a split; a guess, so look at them.",
        (_group_line(inspection, each) for each in inspection.near if not each.leaks),
    )


def _section(title: str, meaning: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if not found:
        yield f"**{title}:** none."
        yield ""
        return
    yield f"## {title}: {len(found)}"
    yield ""
    yield meaning
    yield ""
    yield from (f"- {line}" for line in found[:LISTED])
    if len(found) > LISTED:
        yield f"- and {len(found) - LISTED} more, in {DOCUMENT}"
    yield ""


def _group_line(inspection: Inspection, alike: Alike) -> str:
    shown = [f"`{inspection.dataset.name_of(member.path)}`" for member in alike.members[:LISTED]]
    more = len(alike.members) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _gazetteer_lines(inspection: Inspection) -> Iterator[str]:
    gazetteer = inspection.gazetteer
    if gazetteer is None:
        yield "there is no such file: all labels name themselves"
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
