"""The names of a region's classes, and the labels that they become: several classes can be one landmark.

Classes of one name are one label, whose slug ends with the region, as names repeat in others.
"""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tagger.errors import LandmarkInvalid
from tagger.geo import regional_slug, world_region_in
from tagger.model.artifact import Label
from tagger.texts.names import clean_name, digest_slug, slug_of_name
from tagger.texts.text_encoding import decoded_text
from trainer.errors import DataUnusable

FORM = (
    'Use the CSV with the columns id and name, or the JSON {"name": {"0": …}}, '
    "that was published with the weights"
)


@dataclass(frozen=True)
class Region:
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
        key = world_region_in(name) or world_region_in(file.name) or slug_of_name(name) or "region"
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
        by_id = {int(number): clean_name(name) if name else None for number, name in rows.items()}
    except OSError as error:
        raise _invalid(file, (error.strerror or str(error)).lower()) from error
    except (ValueError, KeyError, TypeError, AttributeError, LandmarkInvalid, csv.Error) as error:
        raise _invalid(file, f"it has no names of classes ({error})") from error
    if by_id.keys() != set(range(count)):
        missing = next((number for number in range(count) if number not in by_id), count)
        what = f"none for class {missing}" if missing < count else f"one for class {max(by_id)}"
        raise _invalid(file, f"it has {len(by_id)} names for {count} classes, and {what}")
    return [by_id[number] for number in range(count)]


def _invalid(file: Path, reason: str) -> DataUnusable:
    return DataUnusable(path=file, reason=reason, remedy=FORM)


def make_region(key: str, names: Sequence[str | None]) -> Region:
    """Group classes by name, without case, accents and punctuation. Those without a name are left out."""
    classes: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        if name is not None:
            classes.setdefault(slug_of_name(name) or digest_slug("landmark", name), []).append(number)
    groups = sorted(classes.values(), key=len)
    sizes = Counter(map(len, groups))
    return Region(
        key,
        tuple(_label(key, numbers, names) for numbers in groups),
        tuple(number for numbers in groups for number in numbers),
        tuple((sizes[each], each) for each in sorted(sizes)),
    )


def _label(key: str, numbers: Sequence[int], names: Sequence[str | None]) -> Label:
    """The label of classes, named as most of them are: `europe:797` begins with the class 797."""
    (name, _), *_ = Counter(names[number] or "" for number in numbers).most_common(1)
    return Label(label=f"{key}:{numbers[0]}", slug=regional_slug(name, key), name=name)
