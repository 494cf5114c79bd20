from pathlib import Path

import pytest

from trainer import DataUnusable
from trainer.data import labels_with_landmarks, name_of, read_gazetteer, slug_of, write_gazetteer


@pytest.mark.parametrize(
    ("label", "slug", "name"),
    [
        ("16.Eiffel_Tower", "eiffel-tower", "Eiffel Tower"),
        ("Eiffel Tower", "eiffel-tower", "Eiffel Tower"),
        ("Hội An", "hoi-an", "Hội An"),
        ("Château d'If", "chateau-d-if", "Château d'If"),
        ("2001 Odyssey", "2001-odyssey", "2001 Odyssey"),
        ("42.", "42", "42."),
    ],
)
def test_a_label_names_itself(label, slug, name):
    assert slug_of(label) == slug
    assert name_of(label) == name


def test_a_label_without_any_latin_letter_gets_a_slug_of_its_own():
    first, second = slug_of("富士山"), slug_of("清水寺")

    assert first != second
    assert first.isascii()
    assert first.startswith("label-")


def test_slugs_are_unique(tmp_path):
    labels = labels_with_landmarks(["1.Old Bridge", "2.Old_Bridge", "old-bridge"], tmp_path)

    assert [label.slug for label in labels] == ["old-bridge", "old-bridge-2", "old-bridge-3"]


def test_a_landmarks_file_supplies_facts_names_and_aliases(tmp_path):
    _write(
        tmp_path,
        "label,slug,name,country,latitude,longitude,extent,confidence",
        "03.Arc,arch-of-orange,Arch of Orange,France,44.142,4.8047,point,sure",
    )
    listed, unlisted = labels_with_landmarks(["03.Arc", "04.Other_Place"], tmp_path)

    assert (listed.slug, listed.name, listed.country, listed.city) == (
        "arch-of-orange",
        "Arch of Orange",
        "France",
        None,
    )
    assert (listed.latitude, listed.longitude, listed.extent) == (44.142, 4.8047, "point")
    assert (unlisted.slug, unlisted.name, unlisted.country) == ("other-place", "Other Place", None)
    _write(
        tmp_path,
        "label,name,names,aliases",
        "dom,Cologne Cathedral,de=Kölner Dom; zh-Hant = 科隆主教座堂,Dom zu Köln ;; The Dom",
        "wall,Wall,,",
    )
    dom, wall = landmarks = tuple(read_gazetteer(tmp_path / "landmarks.csv").values())

    assert dom.names == {"de": "Kölner Dom", "zh-Hant": "科隆主教座堂"}
    assert dom.aliases == ("Dom zu Köln", "The Dom")
    assert (wall.names, wall.aliases) == ({}, ())
    write_gazetteer(tmp_path / "landmarks.csv", landmarks)
    assert tuple(read_gazetteer(tmp_path / "landmarks.csv").values()) == landmarks


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("start", ["", "\n\r\n", "\n\ufeff"])
def test_blanks_and_marks_at_the_start_do_not_matter_in_any_encoding(tmp_path, encoding, start):
    path = tmp_path / "landmarks.csv"
    path.write_bytes(f'{start}label,name\nA,"Der Dom\u2019s, Köln"\n'.encode(encoding))

    assert read_gazetteer(path)["A"].name == "Der Dom\u2019s, Köln"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("name,slug", "A,a"), "no column `label`"),
        (("label,latitude", "A,91"), "label A, column latitude"),
        (("label,slug", "A,Not A Slug"), "label A, column slug"),
        (("label,names", "A,Der Dom"), "label A, column names"),
        (("label,names", "A,German=Der Dom"), "label A, column names"),
        (("label,slug", "A,same", "B,same"), "A and B share the slug same"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(tmp_path, lines, reason):
    _write(tmp_path, *lines)

    with pytest.raises(DataUnusable, match=reason):
        labels_with_landmarks(["A", "B"], tmp_path)


def _write(folder: Path, *lines: str) -> None:
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
