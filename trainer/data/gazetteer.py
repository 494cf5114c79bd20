"""The landmarks that labels stand for: rows of `landmarks.csv`, or names derived from the labels."""

import csv
import logging
import re
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

from pydantic import ValidationError

from tagger.model.artifact import Label, LandmarkFacts
from tagger.photos.paths import path_text
from tagger.texts.names import digest_slug, slug_of_name
from trainer.data.folders import label_of, open_csv
from trainer.errors import DataUnusable

FILE_NAME = "landmarks.csv"
COLUMNS = ("label", *LandmarkFacts.model_fields)
# Between two names of a cell, as in OpenStreetMap's tags.
_SEPARATOR = ";"

log = logging.getLogger("trainer")


def labels_with_landmarks(labels: Iterable[str], folder: Path) -> tuple[Label, ...]:
    """Each label with its landmark from `folder`'s landmarks.csv, or a name derived from itself.

    Raises:
        DataUnusable: a row is invalid, or two labels share a slug.
    """
    path = folder / FILE_NAME
    listed = read_gazetteer(path) if path.is_file() else {}
    labels = list(labels)
    if unused := sorted(set(listed) - set(labels)):
        log.info("%s: rows of other labels: %d, such as %s", path.name, len(unused), unused[0])
    slugs = {landmark.slug for landmark in listed.values()}
    result = []
    for label in labels:
        if listed and label not in listed:
            log.warning("%s has no row for the label %s; using the label as its name", path.name, label)
        own = slug_of(label)
        slug = next(each for each in chain((own,), (f"{own}-{n}" for n in count(2))) if each not in slugs)
        landmark = listed.get(label) or Label(label=label, slug=slug, name=name_of(label))
        slugs.add(landmark.slug)
        result.append(landmark)
    _refuse_shared_slugs(path, result)
    return tuple(result)


def read_gazetteer(path: Path) -> dict[str, Label]:
    """The landmarks of a CSV file with a column `label`, by label.

    Raises:
        DataUnusable: the file cannot be read, a row is invalid, or two labels share a slug.
    """
    landmarks = {label: _from_row(path, row) for label, row in _read_rows(path).items()}
    _refuse_shared_slugs(path, landmarks.values())
    return landmarks


def write_gazetteer(path: Path, landmarks: Iterable[Label]) -> None:
    """Write the landmarks, ordered by label. Those with a label that is not UTF-8 are left out."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for landmark in sorted(landmarks, key=lambda landmark: landmark.label):
            if not path_text(landmark.label)[1]:
                names = _SEPARATOR.join(f"{language}={name}" for language, name in landmark.names.items())
                aliases = _SEPARATOR.join(landmark.aliases)
                facts = landmark.model_dump(exclude={"parent"})
                writer.writerow(facts | {"names": names, "aliases": aliases})


def name_of(label: str) -> str:
    """A readable name for the label: `16.Eiffel_Tower` → `Eiffel Tower`."""
    return re.sub(r"^\d+\.", "", label).replace("_", " ").strip() or label


def slug_of(label: str) -> str:
    """An ASCII identifier for the label: `16.Eiffel_Tower` → `eiffel-tower`."""
    return slug_of_name(name_of(label)) or digest_slug("label", label)


_REMEDY = "Correct it, or remove it to name landmarks after their labels"


def _read_rows(path: Path) -> dict[str, dict[str, str]]:
    """The rows by label. Logs a warning for columns and rows that are left out."""
    rows: dict[str, dict[str, str]] = {}
    with open_csv(path, _REMEDY, strict=False) as table:
        columns = table.fieldnames or ()
        if "label" not in columns:
            raise _invalid(path, "its first line has no column `label`")
        if unknown := [each for each in columns if each and each not in COLUMNS]:
            log.warning("%s: these columns are not used: %s", path.name, ", ".join(unknown))
        for row in table:
            cells = {column: (row[column] or "").strip() for column in columns}
            label = label_of(cells["label"])
            if label in rows:
                log.warning("%s has several rows for the label %s; the last one counts", path.name, label)
            if label:
                rows[label] = cells | {"label": label}
            elif any(cells.values()):
                log.warning("%s, line %d: the row has no label and is skipped", path.name, table.line_num)
    return rows


def _from_row(path: Path, row: dict[str, str]) -> Label:
    label = row["label"]
    values: dict[str, object] = {column: row[column] for column in COLUMNS if row.get(column)}
    names = (entry.partition("=") for entry in _entries(row.get("names")))
    values["names"] = {language.strip(): name.strip() for language, _, name in names}
    values["aliases"] = _entries(row.get("aliases"))
    try:
        return Label.model_validate({"slug": slug_of(label), "name": name_of(label), **values})
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"label {label}, column {first['loc'][0]}: {first['msg'].lower()}"
        raise _invalid(path, reason) from error


def _entries(cell: str | None) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in (cell or "").split(_SEPARATOR) if entry.strip())


def _refuse_shared_slugs(path: Path, labels: Iterable[Label]) -> None:
    labels_by_slug: dict[str, str] = {}
    for label in labels:
        other = labels_by_slug.setdefault(label.slug, label.label)
        if other != label.label:
            raise _invalid(path, f"{other} and {label.label} share the slug {label.slug}")


def _invalid(path: Path, reason: str) -> DataUnusable:
    return DataUnusable(path=path, reason=reason, remedy=_REMEDY)
